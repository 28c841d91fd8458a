"""What the scheduler knows of a node while it places tasks."""

from typing import NamedTuple

from swarm_api.objects_pb2 import Task

from swarm_manager.core.nodefacts import NodeFacts, NodeLoad, add_generic


class NodeInfo:
    """A node, what is left of it, and how many tasks it has: in all, and of the service that is being placed."""

    __slots__ = ("facts", "failures", "generic", "id", "memory_bytes", "nano_cpus", "of_service", "tasks")

    def __init__(self, node_id: str, facts: NodeFacts, load: NodeLoad) -> None:
        self.id = node_id
        self.facts = facts
        self.tasks = load.tasks
        self.nano_cpus = facts.nano_cpus - load.nano_cpus
        self.memory_bytes = facts.memory_bytes - load.memory_bytes
        self.generic = load.generic
        self.of_service = 0
        self.failures = 0


class Demand(NamedTuple):
    """What one task takes of a node."""

    nano_cpus: int
    memory_bytes: int
    generic: tuple[tuple[str, int], ...]


def demand_of(task: Task) -> Demand:
    """What the task reserves."""
    wanted = task.spec.resources.reservations
    return Demand(wanted.nano_cpus, wanted.memory_bytes, tuple(sorted(wanted.generic.items())))


def take(info: NodeInfo, demand: Demand) -> None:
    """Counts a task in."""
    info.tasks += 1
    info.of_service += 1
    info.nano_cpus -= demand.nano_cpus
    info.memory_bytes -= demand.memory_bytes
    if demand.generic:
        info.generic = add_generic(info.generic, dict(demand.generic), 1)
