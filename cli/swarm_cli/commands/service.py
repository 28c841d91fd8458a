"""`swarm-cli service`: create, list, inspect, show the tasks of, scale, update, roll back, remove services."""

from collections.abc import Callable
from typing import Any

import click
from swarm_api.nouns import make_filter
from swarm_api.objects_pb2 import Service, UpdateStatus
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import Share

from swarm_cli import service_flags as flags
from swarm_cli.container_flags import create_list_options, update_list_options
from swarm_cli.errors import InputError
from swarm_cli.naming import SERVICE
from swarm_cli.options import (
    each,
    filter_option,
    format_option,
    parse_labels,
    quiet_option,
    reading_options,
    wait_options,
)
from swarm_cli.rebalancing import rebalance as even_out
from swarm_cli.render.inspect import show_objects
from swarm_cli.render.revisions import revision_table, revisions
from swarm_cli.render.runs import run_table
from swarm_cli.render.services import mode_name, service_table
from swarm_cli.session import current
from swarm_cli.tasks import show_tasks, task_options
from swarm_cli.waiting import Wait, wait_for


@click.group()
def service() -> None:
    """Services: what you want run, and how many of it."""


@service.command("create", context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("args", nargs=-1, metavar="[COMMAND] [ARG]...")
@click.option("--name", help="The service's name. Default: made from the image's.")
@click.option("--mode", type=click.Choice(flags.MODES), default="replicated", show_default=True, help="How it runs.")
@click.option("--publish", "-p", "publish_add", multiple=True, type=flags.PUBLISH, metavar="[PORT:]TARGET[/PROTO]")
@click.option("--env", "-e", "env_add", multiple=True, metavar="NAME=VALUE", help="Set an environment variable.")
@click.option("--env-file", multiple=True, type=click.Path(dir_okay=False), help="Read variables from a file.")
@click.option("--network", "network_add", multiple=True, type=flags.NETWORK, metavar="NAME", help="Join a network.")
@click.option("--constraint", "constraint_add", multiple=True, help="Where it may run: 'node.role == worker'.")
@click.option("--placement-pref", "placement_pref_add", multiple=True, type=flags.PREFERENCE, metavar="spread=LABEL")
@click.option("--affinity", "affinity_add", multiple=True, type=flags.AFFINITY, metavar="EXPR", help="'service==db'.")
@click.option("--generic-resource", "generic_resource_add", multiple=True, type=flags.GENERIC, metavar="NAME=COUNT")
@click.option("--mount", "mount_add", multiple=True, type=flags.MOUNT, metavar="type=...,source=...,target=...")
@click.option("--secret", "secret_add", multiple=True, type=flags.SECRET, metavar="NAME", help="Give it a secret.")
@click.option("--config", "config_add", multiple=True, type=flags.CONFIG, metavar="NAME", help="Give it a config.")
@click.option("--label", "-l", "label_add", multiple=True, type=flags.PAIR, metavar="KEY=VALUE", help="Of the service.")
@click.option("--container-label", "container_label_add", multiple=True, type=flags.PAIR, metavar="KEY=VALUE")
@create_list_options
@flags.shared_options
@wait_options
def create(image: str, args: tuple[str, ...], detach: bool, quiet: bool, timeout_s: float, **given: Any) -> None:
    """Create a service of IMAGE, and wait until it runs.

    Words after IMAGE replace the image's command. Prints the service's id.
    """
    session = current()
    spec = ServiceSpec()
    spec.annotations.name = given.pop("name") or name_from_image(image)
    _apply(spec, {**given, "image": image, "args": args})
    created = session.client.services.create(spec)
    click.echo(created.id)
    wait_for(session, [created.id], Wait(detach, quiet, timeout_s))


def name_from_image(image: str) -> str:
    """`registry/team/web:1` makes `web`; a second one wants --name."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _apply(spec: ServiceSpec, given: dict[str, Any]) -> None:
    try:
        flags.apply_flags(spec, given)
    except ValueError as error:
        raise InputError(str(error)) from error


@service.command("ls")
@reading_options
@quiet_option
@filter_option(("id", "name", "label", "mode"))
def list_(quiet: bool, filters: dict[str, list[str]]) -> None:
    """List services."""
    session = current()
    listed = session.client.services.list_with_progress(
        make_filter(
            id_prefixes=filters.get("id", ()),
            name_prefixes=filters.get("name", ()),
            labels=parse_labels(filters.get("label", ())),
        )
    )
    if filters.get("mode"):
        kept = [one for one in listed.services if mode_name(one).replace(" ", "-") in filters["mode"]]
        del listed.services[:]
        listed.services.extend(kept)
    if quiet:
        for one in listed.services:
            click.echo(one.id)
        return
    session.show(listed, lambda: service_table(listed.services, listed.progress))


@service.command("inspect")
@click.argument("names", nargs=-1, required=True, type=SERVICE, metavar="SERVICE...")
@reading_options
def inspect(names: tuple[str, ...]) -> None:
    """Show all there is to know of services."""
    session = current()
    show_objects([session.client.services.get(name) for name in names], session.format)


@service.command("ps")
@click.argument("names", nargs=-1, required=True, type=SERVICE, metavar="SERVICE...")
@reading_options
@task_options
def ps(names: tuple[str, ...], **options: Any) -> None:
    """Show the tasks of services: where each runs, and why one does not."""
    client = current().client
    ids = [client.services.get(name).id for name in names]
    show_tasks(current(), client.tasks.list(service_ids=ids), **options)


@service.command("scale")
@click.argument("targets", nargs=-1, required=True, metavar="SERVICE=REPLICAS...")
@wait_options
def scale(targets: tuple[str, ...], detach: bool, quiet: bool, timeout_s: float) -> None:
    """Set how many tasks services have, and wait until they run."""
    session = current()
    ids = [scale_one(name, replicas).id for name, replicas in parse_targets(targets)]
    wait_for(session, ids, Wait(detach, quiet, timeout_s))


def parse_targets(targets: tuple[str, ...]) -> list[tuple[str, int]]:
    """`web=3` as ("web", 3); a usage error for anything else."""
    parsed = []
    for target in targets:
        name, _, count = target.rpartition("=")
        if not name or not count.isdecimal():
            raise click.UsageError(f"{target!r} is no SERVICE=REPLICAS, such as web=3")
        parsed.append((name, int(count)))
    return parsed


def scale_one(name: str, replicas: int) -> Service:
    """Set a service's replicas and say so."""
    try:
        scaled = current().client.services.scale(name, replicas)
    except ValueError as error:
        raise InputError(str(error)) from error
    click.echo(f"{name} scaled to {replicas}")
    return scaled


@service.command("update")
@click.argument("name", type=SERVICE, metavar="SERVICE")
@click.option("--image", help="The new image.")
@click.option("--args", help="The new command, as one string.")
@click.option("--force", is_flag=True, help="Replace the tasks though nothing else changes.")
@click.option("--publish-add", multiple=True, type=flags.PUBLISH, metavar="[PORT:]TARGET[/PROTO]")
@click.option("--publish-rm", multiple=True, type=flags.PUBLISH, metavar="TARGET[/PROTO]")
@click.option("--env-add", multiple=True, metavar="NAME=VALUE", help="Set an environment variable.")
@click.option("--env-rm", multiple=True, metavar="NAME", help="Unset one.")
@click.option("--network-add", multiple=True, type=flags.NETWORK, metavar="NAME", help="Join a network.")
@click.option("--network-rm", multiple=True, metavar="NAME", help="Leave one.")
@click.option("--constraint-add", multiple=True, help="Where it may run: 'node.role == worker'.")
@click.option("--constraint-rm", multiple=True, help="Lift a constraint.")
@click.option("--placement-pref-add", multiple=True, type=flags.PREFERENCE, metavar="spread=LABEL")
@click.option("--placement-pref-rm", multiple=True, type=flags.PREFERENCE, metavar="spread=LABEL")
@click.option("--affinity-add", multiple=True, type=flags.AFFINITY, metavar="EXPR", help="'service==db', 'image!=x'.")
@click.option("--affinity-rm", multiple=True, type=flags.AFFINITY, metavar="EXPR", help="Lift an affinity.")
@click.option("--generic-resource-add", multiple=True, type=flags.GENERIC, metavar="NAME=COUNT", help="Reserve it.")
@click.option("--generic-resource-rm", multiple=True, metavar="NAME", help="Reserve it no more.")
@click.option("--mount-add", multiple=True, type=flags.MOUNT, metavar="type=...,source=...,target=...")
@click.option("--mount-rm", multiple=True, metavar="TARGET", help="Remove the mount at a path.")
@click.option("--secret-add", multiple=True, type=flags.SECRET, metavar="NAME", help="Give it a secret.")
@click.option("--secret-rm", multiple=True, metavar="NAME", help="Take one from it.")
@click.option("--config-add", multiple=True, type=flags.CONFIG, metavar="NAME", help="Give it a config.")
@click.option("--config-rm", multiple=True, metavar="NAME", help="Take one from it.")
@click.option("--label-add", multiple=True, type=flags.PAIR, metavar="KEY=VALUE", help="Label the service.")
@click.option("--label-rm", multiple=True, metavar="KEY", help="Remove its label.")
@click.option("--container-label-add", multiple=True, type=flags.PAIR, metavar="KEY=VALUE")
@click.option("--container-label-rm", multiple=True, metavar="KEY")
@update_list_options
@click.option("--rollback", is_flag=True, help="Go back to the previous spec.")
@click.option(
    "--if-version", type=click.IntRange(min=1), default=None, help="Only while this is its version, as history shows."
)
@click.option(
    "--canary", type=flags.SHARE, metavar="N|P%", help="Only so many tasks get the change, until 'service promote'."
)
@flags.shared_options
@wait_options
def update(
    name: str,
    force: bool,
    rollback: bool,
    if_version: int | None,
    canary: Share | None,
    detach: bool,
    quiet: bool,
    timeout_s: float,
    **given: Any,
) -> None:
    """Change a service: only what the flags name changes, and its tasks are replaced a few at a time."""
    session = current()
    if rollback:
        if canary is not None:
            raise click.UsageError("--canary does not go with --rollback, which is for all tasks")
        updated = session.client.services.rollback(name)
    else:
        given["network_rm"] = _network_targets(given["network_rm"])
        change = _change(given, force=force)
        updated = session.client.services.edit(name, change, if_version=if_version or 0, canary=canary)
    click.echo(updated.spec.annotations.name)
    wait_for(session, [updated.id], Wait(detach, quiet, timeout_s))
    if updated.HasField("canary") and not detach:
        _tell_of_canary(updated.id)


def _tell_of_canary(service_id: str) -> None:
    """Say on standard error that the update is not done, and how it goes on."""
    found = current().client.services.get(service_id)
    if found.update_status.state == UpdateStatus.CANARY:
        name = found.spec.annotations.name
        click.echo(
            f"{found.update_status.message}; 'swarm-cli service promote {name}' updates the rest, "
            f"'swarm-cli service rollback {name}' takes it back.",
            err=True,
        )


def _change(given: dict[str, Any], *, force: bool) -> Callable[[ServiceSpec], None]:
    def change(spec: ServiceSpec) -> None:
        _apply(spec, given)
        if force:
            spec.task.force_update += 1

    return change


def _network_targets(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, and the ids behind them: a stored spec holds the id."""
    if not names:
        return ()
    return names + tuple(current().client.networks.get(name).id for name in names)


@service.command("rebalance")
@click.argument("names", nargs=-1, required=True, type=SERVICE, metavar="SERVICE...")
@click.option("--dry-run", is_flag=True, help="Only show what would be moved.")
@wait_options
@format_option
def rebalance(names: tuple[str, ...], dry_run: bool, detach: bool, quiet: bool, timeout_s: float) -> None:
    """Move tasks of services to nodes that have fewer: each one's replacement runs before the old one stops."""
    even_out(current(), names, Wait(detach, quiet, timeout_s), everything=False, dry_run=dry_run)


@service.command("rollback")
@click.argument("name", type=SERVICE, metavar="SERVICE")
@click.option("--to", type=click.IntRange(min=1), help="A kept version, as history shows. Default: the previous.")
@wait_options
def rollback(name: str, to: int | None, detach: bool, quiet: bool, timeout_s: float) -> None:
    """Go back to a service's previous spec, or to any that is kept."""
    session = current()
    rolled_back = session.client.services.rollback(name, to_spec_version=to or 0)
    click.echo(rolled_back.spec.annotations.name)
    wait_for(session, [rolled_back.id], Wait(detach, quiet, timeout_s))


@service.command("history")
@click.argument("name", type=SERVICE, metavar="SERVICE")
@reading_options
def history(name: str) -> None:
    """Show the kept versions of a service: when each came, who made it, what it changed."""
    session = current()
    found = session.client.services.get(name)
    session.show(list(revisions(found)), lambda: revision_table(found))


@service.command("runs")
@click.argument("name", type=SERVICE, metavar="SERVICE")
@reading_options
def runs(name: str) -> None:
    """Show the runs of a job with a schedule: when each was, what became of it, and when the next one is."""
    session = current()
    found = session.client.services.get(name)
    session.show(found.schedule_status, lambda: run_table(found))


@service.command("pause")
@click.argument("name", type=SERVICE, metavar="SERVICE")
def pause(name: str) -> None:
    """Hold a service's update: what was begun is finished, nothing more is replaced."""
    click.echo(current().client.services.pause(name).spec.annotations.name)


@service.command("resume")
@click.argument("name", type=SERVICE, metavar="SERVICE")
@wait_options
def resume(name: str, detach: bool, quiet: bool, timeout_s: float) -> None:
    """Let a service's paused update go on."""
    session = current()
    resumed = session.client.services.resume(name)
    click.echo(resumed.spec.annotations.name)
    wait_for(session, [resumed.id], Wait(detach, quiet, timeout_s))


@service.command("promote")
@click.argument("name", type=SERVICE, metavar="SERVICE")
@wait_options
def promote(name: str, detach: bool, quiet: bool, timeout_s: float) -> None:
    """Give all tasks of a service what its canary has."""
    session = current()
    promoted = session.client.services.promote(name)
    click.echo(promoted.spec.annotations.name)
    wait_for(session, [promoted.id], Wait(detach, quiet, timeout_s))


@service.command("rm")
@click.argument("names", nargs=-1, required=True, type=SERVICE, metavar="SERVICE...")
def remove(names: tuple[str, ...]) -> None:
    """Remove services with all their tasks."""

    def act(name: str) -> None:
        current().client.services.remove(name)
        click.echo(name)

    each(names, "removal", act)
