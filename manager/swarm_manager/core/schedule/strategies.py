"""Which of the nodes that will do is best: the one with the least key."""

from collections.abc import Callable

from swarm_api.specs_pb2 import Placement

from swarm_manager.core.schedule.nodes import NodeInfo

Key = tuple[bool, int, int, int]
Strategy = Callable[[NodeInfo], Key]

#: A node where a service failed this often lately comes last.
FAILURES_TO_AVOID = 3


def spread(info: NodeInfo) -> Key:
    """The fewest tasks of this service, then the fewest in all, then the most memory that is left."""
    return (info.failures >= FAILURES_TO_AVOID, info.of_service, info.tasks, -info.memory_bytes)


def binpack(info: NodeInfo) -> Key:
    """The fullest node that still has room."""
    return (info.failures >= FAILURES_TO_AVOID, -info.tasks, info.memory_bytes, info.nano_cpus)


_STRATEGIES: dict[int, Strategy] = {Placement.SPREAD: spread, Placement.BINPACK: binpack}


def strategy_for(wanted: int, default: int) -> Strategy:
    """The strategy a service asks for, else the cluster's, else spread."""
    return _STRATEGIES.get(wanted or default, spread)
