"""What placing needs to know of each node, kept up to date with each change instead of being counted anew."""

from collections.abc import Mapping
from typing import NamedTuple

from swarm_api.objects_pb2 import Node, Task
from swarm_api.types_pb2 import NodeAvailability, NodeState

#: Why a node takes no tasks at all: the words of the explanation, "2 nodes are not ready".
NOT_READY = "not ready"
PAUSED = "paused"
DRAINED = "drained"
NO_ENGINE = "without a usable engine"


class NodeFacts(NamedTuple):
    """What a node offers."""

    node: Node
    refusal: str  # empty: it takes tasks
    nano_cpus: int
    memory_bytes: int


class NodeLoad(NamedTuple):
    """What the tasks assigned to a node take of it."""

    tasks: int = 0
    nano_cpus: int = 0
    memory_bytes: int = 0
    generic: tuple[tuple[str, int], ...] = ()


NO_LOAD = NodeLoad()


def facts_of(node: Node) -> NodeFacts:
    """What `node` offers, and whether it takes tasks."""
    resources = node.description.resources
    return NodeFacts(node, _refusal(node), resources.nano_cpus, resources.memory_bytes)


def _refusal(node: Node) -> str:
    if node.status.state != NodeState.READY_STATE:
        return NOT_READY
    availability = node.spec.availability
    if availability == NodeAvailability.DRAIN:
        return DRAINED
    if availability == NodeAvailability.PAUSE:
        return PAUSED
    return NO_ENGINE if node.description.engine_error else ""


def add_task(load: NodeLoad, task: Task, sign: int) -> NodeLoad:
    """The load with the task added (`sign` 1) or taken away (`sign` -1)."""
    tasks = load.tasks + sign
    if not task.spec.HasField("resources"):
        return NodeLoad(tasks, load.nano_cpus, load.memory_bytes, load.generic)
    wanted = task.spec.resources.reservations
    return NodeLoad(
        tasks,
        load.nano_cpus + sign * wanted.nano_cpus,
        load.memory_bytes + sign * wanted.memory_bytes,
        add_generic(load.generic, wanted.generic, sign) if wanted.generic else load.generic,
    )


def add_generic(have: tuple[tuple[str, int], ...], wanted: Mapping[str, int], sign: int) -> tuple[tuple[str, int], ...]:
    """Counted things, added up by name; names that come to nothing are left out."""
    total = dict(have)
    for name, count in wanted.items():
        total[name] = total.get(name, 0) + sign * count
    return tuple(sorted((name, count) for name, count in total.items() if count))
