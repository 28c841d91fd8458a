"""`swarm-cli task`: one slot of a service on one node, and what became of it."""

import click

from swarm_cli.options import format_option
from swarm_cli.render.inspect import show_objects
from swarm_cli.session import current


@click.group()
def task() -> None:
    """Tasks: what services are made of ('service ps' and 'node ps' list them)."""


@task.command("inspect")
@click.argument("ids", nargs=-1, required=True, metavar="TASK...")
@format_option
def inspect(ids: tuple[str, ...]) -> None:
    """Show all there is to know of tasks: when each state began, the container and its end, addresses, the spec.

    TASK is an id, or a unique beginning of one, as 'service ps' shows it.
    """
    session = current()
    show_objects([session.client.tasks.get(one) for one in ids], session.format)
