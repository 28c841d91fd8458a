"""`swarm-cli node`: the machines of the cluster."""

from typing import Any

import click
from swarm_api.control_pb2 import ListNodesResponse
from swarm_api.nouns import make_filter
from swarm_api.objects_pb2 import Node
from swarm_api.specs_pb2 import NodeSpec
from swarm_api.types_pb2 import NodeAvailability, NodeRole

from swarm_cli.commands.rebalance import rebalance
from swarm_cli.naming import NODE
from swarm_cli.options import each, filter_option, parse_labels, quiet_option, reading_options, wait_limits
from swarm_cli.quorum import role_warning
from swarm_cli.rebalancing import wait_drained
from swarm_cli.render.inspect import show_objects
from swarm_cli.render.nodes import hostname, node_table
from swarm_cli.service_flags import PAIR
from swarm_cli.session import current
from swarm_cli.tasks import show_tasks, task_options
from swarm_cli.waiting import Wait


@click.group()
def node() -> None:
    """Nodes: the machines of the cluster."""


@node.command("ls")
@reading_options
@quiet_option
@filter_option(("id", "name", "label", "role", "availability"))
def list_(quiet: bool, filters: dict[str, list[str]]) -> None:
    """List nodes, with what each has and what ails it."""
    session = current()
    listed = session.client.nodes.list_with_warnings(
        make_filter(id_prefixes=filters.get("id", ()), labels=parse_labels(filters.get("label", ())))
    )
    nodes = [one for one in listed.nodes if _matches(one, filters)]
    warnings = {one.id: listed.warnings[one.id] for one in nodes if one.id in listed.warnings}
    if quiet:
        for one in nodes:
            click.echo(one.id)
        return
    document = ListNodesResponse(nodes=nodes, warnings=warnings)
    session.show(document, lambda: node_table(nodes, _own_id(), warnings))


def _own_id() -> str:
    """The node this command runs on, when it is one."""
    from swarm_cli.daemon import local_node_id

    return local_node_id(current())


def _matches(one: Node, filters: dict[str, list[str]]) -> bool:
    role = NodeRole.Name(one.role).lower()
    availability = NodeAvailability.Name(one.spec.availability).lower()
    return (
        ("name" not in filters or any(hostname(one).startswith(name) for name in filters["name"]))
        and ("role" not in filters or role in filters["role"])
        and ("availability" not in filters or availability in filters["availability"])
    )


@node.command("inspect")
@click.argument("names", nargs=-1, required=True, type=NODE, metavar="NODE...")
@reading_options
def inspect(names: tuple[str, ...]) -> None:
    """Show all there is to know of nodes."""
    session = current()
    show_objects([session.client.nodes.get(name) for name in names], session.format)


@node.command("ps")
@click.argument("names", nargs=-1, required=True, type=NODE, metavar="NODE...")
@reading_options
@task_options
def ps(names: tuple[str, ...], **options: Any) -> None:
    """Show the tasks on nodes."""
    client = current().client
    ids = [client.nodes.get(name).id for name in names]
    show_tasks(current(), client.tasks.list(node_ids=ids), **options)


@node.command("update")
@click.argument("name", type=NODE, metavar="NODE")
@click.option(
    "--availability",
    type=click.Choice(["active", "pause", "drain"]),
    help="active: takes tasks; pause: takes no new ones; drain: gives its tasks away.",
)
@click.option("--role", type=click.Choice(["worker", "manager"]), help="What it is to be.")
@click.option("--label-add", multiple=True, type=PAIR, metavar="KEY=VALUE", help="Label it (node.labels.KEY).")
@click.option("--label-rm", multiple=True, metavar="KEY", help="Remove a label.")
def update(
    name: str,
    availability: str | None,
    role: str | None,
    label_add: tuple[tuple[str, str], ...],
    label_rm: tuple[str, ...],
) -> None:
    """Change a node: what it takes, what it is, its labels."""
    if availability is None and role is None and not label_add and not label_rm:
        raise click.UsageError("nothing to change: give --availability, --role, --label-add or --label-rm")

    def change(spec: NodeSpec) -> None:
        if availability is not None:
            spec.availability = NodeAvailability.Value(availability.upper())
        if role is not None:
            spec.role = NodeRole.Value(role.upper())
        for key in label_rm:
            spec.annotations.labels.pop(key, None)
        spec.annotations.labels.update(label_add)

    current().client.nodes.edit(name, change)
    click.echo(name)


@node.command("drain")
@click.argument("names", nargs=-1, required=True, type=NODE, metavar="NODE...")
@click.option("--wait", is_flag=True, help="Return when nothing runs there any more.")
@wait_limits
def drain(names: tuple[str, ...], wait: bool, quiet: bool, timeout_s: float) -> None:
    """Give a node's tasks away: each one's replacement runs before the old one stops, where the service can stand two.

    The node takes no tasks until 'swarm-cli node activate'.
    """
    session = current()
    drained = [(name, _set_availability(name, NodeAvailability.DRAIN)) for name in names]
    for name, one in drained:
        if wait:
            wait_drained(session, one, Wait(quiet=quiet, timeout_s=timeout_s))
        click.echo(name)


@node.command("activate")
@click.argument("names", nargs=-1, required=True, type=NODE, metavar="NODE...")
def activate(names: tuple[str, ...]) -> None:
    """Let nodes take tasks again."""

    def act(name: str) -> None:
        _set_availability(name, NodeAvailability.ACTIVE)
        click.echo(name)

    each(names, "change", act)


def _set_availability(name: str, availability: NodeAvailability.ValueType) -> Node:
    def change(spec: NodeSpec) -> None:
        spec.availability = availability

    return current().client.nodes.edit(name, change)


node.add_command(rebalance)


@node.command("promote")
@click.argument("names", nargs=-1, required=True, type=NODE, metavar="NODE...")
def promote(names: tuple[str, ...]) -> None:
    """Make nodes managers."""
    _set_role(names, NodeRole.MANAGER, "promoted to a manager")


@node.command("demote")
@click.argument("names", nargs=-1, required=True, type=NODE, metavar="NODE...")
def demote(names: tuple[str, ...]) -> None:
    """Make managers mere workers."""
    _set_role(names, NodeRole.WORKER, "demoted to a worker")


def _set_role(names: tuple[str, ...], role: NodeRole.ValueType, done: str) -> None:
    warning = role_warning(current().client.info(), len(names), role)
    if warning:
        click.echo(f"Warning: {warning}", err=True)

    def act(name: str) -> None:
        def change(spec: NodeSpec) -> None:
            spec.role = role

        current().client.nodes.edit(name, change)
        click.echo(f"{name} {done}.")

    each(names, "change", act)


@node.command("rm")
@click.argument("names", nargs=-1, required=True, type=NODE, metavar="NODE...")
@click.option("--force", "-f", is_flag=True, help="Also when the node is not down.")
def remove(names: tuple[str, ...], force: bool) -> None:
    """Remove nodes from the cluster; their certificates admit them nowhere any more."""

    def act(name: str) -> None:
        current().client.nodes.remove(name, force=force)
        click.echo(name)

    each(names, "removal", act)
