"""Spread preferences: tasks are spread over the values of a label first (racks, zones), over the nodes of each then.

The preferences make a tree: the branches of the first level are the values of the first label, and so on; nodes without
a label share a branch.  Each task goes down the branch that has the fewest tasks of its service, as in Docker Swarm.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from swarm_api.constraints import ConstraintError, known_key, value_of
from swarm_api.objects_pb2 import Node
from swarm_api.specs_pb2 import Placement

from swarm_manager.core.schedule.nodes import NodeInfo
from swarm_manager.core.schedule.strategies import Strategy

Path = tuple[str, ...]


@dataclass(slots=True)
class _Branch:
    tasks: int = 0
    branches: dict[str, "_Branch"] = field(default_factory=dict)
    heap: list[tuple[object, ...]] = field(default_factory=list)
    has_room: bool = False


class Tree:
    """The nodes that may take a service's tasks, in branches; those that may not count for what they have."""

    def __init__(self, keys: Sequence[str], strategy: Strategy) -> None:
        self._keys = keys
        self._strategy = strategy
        self._root = _Branch()

    def count(self, infos: Iterable[NodeInfo]) -> None:
        """Takes in how many tasks of the service each branch has."""
        for info in infos:
            if info.of_service:
                for branch in self._way(info):
                    branch.tasks += info.of_service

    def offer(self, info: NodeInfo) -> None:
        """The node may take a task."""
        *_, leaf = way = self._way(info)
        heapq.heappush(leaf.heap, (*self._strategy(info), info.id))
        for branch in way:
            branch.has_room = True

    def took(self, info: NodeInfo) -> None:
        """The node that was taken got a task."""
        for branch in self._way(info):
            branch.tasks += 1

    def take(self) -> str | None:
        """The id of the best node of the emptiest branch, which is offered no more; None when there is none."""
        way = [self._root]
        while way[-1].branches:
            open_ones = ((b.tasks, value) for value, b in way[-1].branches.items() if b.has_room)
            if (least := min(open_ones, default=None)) is None:
                break
            way.append(way[-1].branches[least[1]])
        leaf = way[-1]
        if not leaf.heap:
            return None
        node_id = str(heapq.heappop(leaf.heap)[-1])
        for branch in reversed(way):
            branch.has_room = bool(branch.heap) or any(b.has_room for b in branch.branches.values())
        return node_id

    def _way(self, info: NodeInfo) -> list[_Branch]:
        way = [self._root]
        for value in path_of(info.facts.node, self._keys):
            way.append(way[-1].branches.setdefault(value, _Branch()))
        return way


def preference_keys(placement: Placement) -> list[str]:
    """The labels to spread over; those that cannot be read are left out: a preference holds nothing up."""
    keys = []
    for preference in placement.preferences:
        try:
            keys.append(known_key(preference.descriptor, ""))
        except ConstraintError:
            continue
    return keys


def path_of(node: Node, keys: Sequence[str]) -> Path:
    """The branch a node belongs to."""
    return tuple(value_of(node, key) or "" for key in keys)
