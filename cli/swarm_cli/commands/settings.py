"""`swarm-cli cluster`: the cluster's own settings."""

from typing import Any

import click
from google.protobuf.duration_pb2 import Duration
from swarm_api.specs_pb2 import ClusterSpec, Placement

from swarm_cli.commands.unlocking import unlock_text
from swarm_cli.options import reading_options
from swarm_cli.parsed import Parsed
from swarm_cli.quantities import parse_duration
from swarm_cli.render.inspect import show_objects
from swarm_cli.session import current

_DURATION = Parsed("duration", parse_duration)
_DURATIONS = (
    ("cert_expiry", "certificate_validity"),
    ("orphan_after", "orphan_after"),
    ("autopilot", "remove_dead_managers_after"),
)
_AUTOPILOT_ON = "24h"
_STRATEGIES = {"spread": Placement.SPREAD, "binpack": Placement.BINPACK, "random": Placement.RANDOM}


def parse_autopilot(text: str) -> Duration:
    """`on`, `off`, or after how long; off is 0."""
    if text.strip().lower() == "off":
        return Duration()
    return parse_duration(_AUTOPILOT_ON if text.strip().lower() == "on" else text)


@click.group()
def cluster() -> None:
    """The cluster's settings."""


@cluster.command("inspect")
@reading_options
def inspect() -> None:
    """Show the cluster's settings."""
    session = current()
    show_objects([session.client.cluster()], session.format)


@cluster.command("update")
@click.option(
    "--allow-privileged/--no-allow-privileged",
    default=None,
    help="Whether services may have power over their nodes: privileged, devices, host namespaces and the like.",
)
@click.option("--task-history-limit", type=click.IntRange(min=1, max=1000), help="Ended tasks kept for each slot.")
@click.option("--cert-expiry", type=_DURATION, help="How long nodes' certificates are valid, such as 2160h.")
@click.option("--orphan-after", type=_DURATION, help="When tasks of a node that stays down are given up, such as 24h.")
@click.option(
    "--autopilot",
    type=Parsed("on|off|duration", parse_autopilot),
    help="Demote managers that nobody has reached for that long (on: 24h), where a safe quorum is left. Default: off.",
)
@click.option(
    "--autolock",
    type=click.Choice(["on", "off"]),
    help="Whether managers that start wait for 'swarm-cli unlock'. On: the key is printed.",
)
@click.option("--strategy", type=click.Choice(list(_STRATEGIES)), help="Where tasks go, unless their service says.")
def update(**given: Any) -> None:
    """Change the cluster's settings: only what the flags name."""
    if all(value is None for value in given.values()):
        raise click.UsageError("Nothing to change: name a setting, such as --allow-privileged.")
    client = current().client
    client.edit_cluster(lambda spec: _apply(spec, given))
    click.echo("The cluster's settings are changed.")
    if given["autolock"] == "on":
        click.echo(unlock_text(client.unlock_key()))


def _apply(spec: ClusterSpec, given: dict[str, Any]) -> None:
    if given["allow_privileged"] is not None:
        spec.allow_privileged = given["allow_privileged"]
    if given["task_history_limit"] is not None:
        spec.task_history_limit = given["task_history_limit"]
    for flag, attribute in _DURATIONS:
        if given[flag] is not None:
            getattr(spec, attribute).CopyFrom(given[flag])
    if given["autolock"] is not None:
        spec.autolock = given["autolock"] == "on"
    if given["strategy"] is not None:
        spec.default_strategy = _STRATEGIES[given["strategy"]]
