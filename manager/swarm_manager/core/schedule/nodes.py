"""What the scheduler knows of a node while it places tasks."""

from typing import NamedTuple

from swarm_api.objects_pb2 import Task
from swarm_api.types_pb2 import PortConfig

from swarm_manager.core.draft import port_key
from swarm_manager.core.nodefacts import NodeFacts, NodeLoad, add_generic


class NodeInfo:
    """A node, what is left of it, and how many tasks it has: in all, and of the service that is being placed."""

    __slots__ = ("facts", "failures", "generic", "id", "memory_bytes", "nano_cpus", "of_service", "ports", "tasks")

    def __init__(self, node_id: str, facts: NodeFacts, load: NodeLoad) -> None:
        self.id = node_id
        self.facts = facts
        self.tasks = load.tasks
        self.nano_cpus = facts.nano_cpus - load.nano_cpus
        self.memory_bytes = facts.memory_bytes - load.memory_bytes
        self.generic = load.generic
        self.of_service = 0
        self.failures = 0
        self.ports: tuple[str, ...] = ()  # host ports that this plan gave away on it


class Demand(NamedTuple):
    """What one task takes of a node."""

    nano_cpus: int
    memory_bytes: int
    generic: tuple[tuple[str, int], ...]
    host_ports: tuple[str, ...]


def demand_of(task: Task) -> Demand:
    """What the task reserves."""
    wanted = task.spec.resources.reservations
    generic = tuple(sorted(wanted.generic.items()))
    return Demand(wanted.nano_cpus, wanted.memory_bytes, generic, host_ports_of(task))


def host_ports_of(task: Task) -> tuple[str, ...]:
    """The ports of its node that a task asks for, by `port_key`; not those that the engine is to choose."""
    ports = task.endpoint.spec.ports
    return tuple(port_key(p) for p in ports if p.publish_mode == PortConfig.HOST and p.published_port)


def take(info: NodeInfo, demand: Demand) -> None:
    """Counts a task in."""
    info.tasks += 1
    info.of_service += 1
    info.nano_cpus -= demand.nano_cpus
    info.memory_bytes -= demand.memory_bytes
    if demand.generic:
        info.generic = add_generic(info.generic, dict(demand.generic), 1)
    info.ports += demand.host_ports
