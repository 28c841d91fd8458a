"""Which of the nodes that will do is best: the one with the least key."""

import hashlib
from collections.abc import Callable, Sequence

from swarm_api.specs_pb2 import Placement

from swarm_manager.core.schedule.nodes import NodeInfo

Key = tuple[int, ...]
Strategy = Callable[[NodeInfo], Key]

#: A node where a service failed this often lately comes last.
FAILURES_TO_AVOID = 3


def spread(info: NodeInfo) -> Key:
    """The fewest tasks of this service, then the fewest in all, then the most memory that is left."""
    return (info.failures >= FAILURES_TO_AVOID, info.of_service, info.tasks, -info.memory_bytes)


def binpack(info: NodeInfo) -> Key:
    """The fullest node that still has room."""
    return (info.failures >= FAILURES_TO_AVOID, -info.tasks, info.memory_bytes, info.nano_cpus)


def shuffled(seed: str) -> Strategy:
    """Any node, by lot. The lots are drawn from the ids, so that every manager draws the same."""

    def drawn(info: NodeInfo) -> Key:
        lot = hashlib.blake2b(f"{seed}/{info.id}/{info.of_service}".encode(), digest_size=8).digest()
        return (info.failures >= FAILURES_TO_AVOID, int.from_bytes(lot))

    return drawn


_STRATEGIES: dict[int, Strategy] = {Placement.SPREAD: spread, Placement.BINPACK: binpack}


def strategy_for(wanted: int, default: int, seed: str) -> Strategy:
    """The strategy a service asks for, else the cluster's, else spread. `seed`: the id that lots are drawn from."""
    chosen = wanted or default
    return shuffled(seed) if chosen == Placement.RANDOM else _STRATEGIES.get(chosen, spread)


def softened(strategy: Strategy, wishes: Sequence[Callable[[NodeInfo], bool]]) -> Strategy:
    """The strategy among those nodes that meet the most wishes; a node where the service keeps failing comes last."""
    if not wishes:
        return strategy

    def key(info: NodeInfo) -> Key:
        unmet = sum(not wish(info) for wish in wishes)
        return (info.failures >= FAILURES_TO_AVOID, unmet, *strategy(info))

    return key
