"""Nodes for people."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from swarm_api.objects_pb2 import Node, Reachability
from swarm_api.types_pb2 import NodeAvailability, NodeRole, NodeState

from swarm_cli.render.text import Cell, Column, Table
from swarm_cli.render.times import cpus, size

_COLUMNS = (
    Column("ID"),
    Column("HOSTNAME"),
    Column("STATUS"),
    Column("AVAILABILITY"),
    Column("MANAGER"),
    Column("ADDRESS", rank=1),
    Column("CPUS", right=True, rank=3),
    Column("MEMORY", right=True, rank=2),
    Column("ENGINE", rank=4),
)
NO_WARNINGS: Mapping[str, str] = MappingProxyType({})
_STATE_STYLES = {NodeState.READY_STATE: "green", NodeState.DOWN: "red", NodeState.DISCONNECTED: "yellow"}


def node_table(nodes: Iterable[Node], own_id: str = "", warnings: Mapping[str, str] = NO_WARNINGS) -> Table:
    """One line a node, by host name; `*` marks the node that answered; what ails a node stands at the end."""
    nodes = sorted(nodes, key=lambda node: (hostname(node), node.id))
    notes = {node.id: " ".join(text for text in (note(node), warnings.get(node.id)) if text) for node in nodes}
    with_notes = any(notes.values())
    table = Table((*_COLUMNS, Column("NOTE", may_wrap=True)) if with_notes else _COLUMNS)
    for node in nodes:
        row: list[str | Cell] = [
            f"{node.id[:12]} *" if node.id == own_id else node.id[:12],
            hostname(node),
            Cell(state(node), _STATE_STYLES.get(node.status.state, "")),
            NodeAvailability.Name(node.spec.availability).capitalize(),
            Cell(manager(node), "red" if manager(node) == "Unreachable" else ""),
            node.status.address,
            cpus(node.description.resources.nano_cpus) if node.description.resources.nano_cpus else "-",
            size(node.description.resources.memory_bytes) if node.description.resources.memory_bytes else "-",
            node.description.engine.version or "-",
        ]
        table.add(*row, *([Cell(notes[node.id], "yellow")] if with_notes else []))
    return table


def hostname(node: Node) -> str:
    """The name people know a node by."""
    return node.spec.annotations.name or node.description.hostname or node.id[:12]


def state(node: Node) -> str:
    """`Ready`, `Down`, `Disconnected` or `Unknown`."""
    return NodeState.Name(node.status.state).removesuffix("_STATE").capitalize()


def manager(node: Node) -> str:
    """`Leader`, `Reachable`, `Unreachable`; empty for workers."""
    if not node.HasField("manager_status"):
        return "Joining" if node.spec.role == NodeRole.MANAGER else ""
    if node.manager_status.leader:
        return "Leader"
    return Reachability.Name(node.manager_status.reachability).removeprefix("REACHABILITY_").capitalize()


def note(node: Node) -> str:
    """Why the node takes no tasks, or is down."""
    if node.status.state in (NodeState.DOWN, NodeState.DISCONNECTED):
        return node.status.message  # what it said of its engine is old news
    return f"takes no tasks: {node.description.engine_error}" if node.description.engine_error else ""
