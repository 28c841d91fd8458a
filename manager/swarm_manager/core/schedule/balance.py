"""Which tasks to move where to even out the load: decided on counts, one move after the other.

Theory of operation
    A move is worth it when it makes the first thing that it changes more even: the values of the service's spread
    preferences, then the tasks of the service a node, then all tasks a node.  More even: the difference between where a
    task goes away and where it comes to is two or more; one would only turn it round.  Each move makes the sum of the
    squared counts smaller, so moving comes to an end, whoever does it and however often it is begun anew.

    Counted is what is wanted: a task that is being replaced counts where its replacement goes.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from swarm_api.objects_pb2 import Node, Service, Task
from swarm_api.specs_pb2 import Placement
from swarm_api.types_pb2 import RUNNING

from swarm_manager.core.draft import is_live
from swarm_manager.core.schedule.affinities import besides
from swarm_manager.core.schedule.filters import Filter, filters_for, wishes_for
from swarm_manager.core.schedule.nodes import NodeInfo, demand_of, take
from swarm_manager.core.schedule.preferences import path_of, preference_keys
from swarm_manager.core.schedule.strategies import FAILURES_TO_AVOID
from swarm_manager.core.snapshot import View

#: So many tasks that do not run yet may a node have before it is given further ones.
MOST_ARRIVING = 4
#: So many of the emptiest nodes are looked at for each move.
_NODES_TRIED = 16


class Move(NamedTuple):
    """A task, and where its replacement is to run."""

    task: Task
    to_node_id: str


class Balance:
    """The nodes with what is wanted on them; each move that is found is counted in."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._infos = {i: NodeInfo(i, facts, view.load_of(i)) for i, facts in view.facts.items()}
        self.arriving: Counter[str] = Counter()
        tasks = Counter(task.node_id for task in self._wanted(view.tasks.values()))
        for info in self._infos.values():
            info.tasks = tasks[info.id]

    def _wanted(self, tasks: Iterable[Task]) -> Iterator[Task]:
        wanted = [task for task in tasks if task.desired_state <= RUNNING and is_live(task) and task.node_id]
        replaced = {task.replaces for task in wanted if task.replaces}
        for task in wanted:
            if task.id not in replaced:
                self.arriving[task.node_id] += task.status.state < RUNNING
                yield task

    def moves(
        self, service: Service, movable: Sequence[Task], least_gain: int, may_take: Callable[[Node], bool]
    ) -> Iterator[Move]:
        """The moves of a service's tasks, the one that gains most first.

        `least_gain`: how many more tasks in all the one node must have than the other, where the service's own are
        spread evenly already. `may_take`: whether a node may be given tasks now.
        """
        if not movable:
            return
        spread = _Spread(self._view, service, self._infos)
        left: dict[str, list[Task]] = {task.node_id: [] for task in movable}
        for task in sorted(movable, key=lambda t: t.slot):
            left[task.node_id].append(task)
        while (found := spread.best([n for n, tasks in left.items() if tasks], least_gain, may_take)) is not None:
            source, target = found
            spread.count(source, target)
            self.arriving[target.id] += 1
            yield Move(left[source.id].pop(), target.id)


class _Spread:
    """One service over the nodes."""

    def __init__(self, view: View, service: Service, infos: dict[str, NodeInfo]) -> None:
        sample = Task(service_id=service.id, spec=service.spec.task, service_annotations=service.spec.annotations)
        sample.endpoint.spec.CopyFrom(service.spec.endpoint)
        self._infos = infos
        self._demand = demand_of(sample)
        self._count_service(view, service)
        affinities = besides(view, sample)
        self._filters = filters_for(view, sample, affinities)
        self._wishes = wishes_for(sample, affinities)
        self._keys = preference_keys(service.spec.task.placement)
        self._paths = {info.id: path_of(info.facts.node, self._keys) for info in infos.values()} if self._keys else {}
        self._branches: Counter[tuple[str, ...]] = Counter()
        for info in infos.values():
            self._branch(info, info.of_service)

    def _count_service(self, view: View, service: Service) -> None:
        for info in self._infos.values():
            info.of_service = info.failures = 0
        wanted = [t for t in view.tasks_of_service(service.id).values() if t.desired_state <= RUNNING and is_live(t)]
        replaced = {task.replaces for task in wanted if task.replaces}
        for task in wanted:
            if task.id not in replaced and (mine := self._infos.get(task.node_id)) is not None:
                mine.of_service += 1

    def _branch(self, info: NodeInfo, tasks: int) -> None:
        path = self._paths.get(info.id, ())
        for depth in range(len(path)):
            self._branches[path[: depth + 1]] += tasks

    def best(
        self, from_ids: Sequence[str], least_gain: int, may_take: Callable[[Node], bool]
    ) -> tuple[NodeInfo, NodeInfo] | None:
        """The fullest and the emptiest node that a move between would make more even."""
        sources = sorted((self._infos[i] for i in from_ids if i in self._infos), key=self._fullness, reverse=True)
        targets = (info for info in self._infos.values() if self._may_take(info, may_take))
        for target in heapq.nsmallest(_NODES_TRIED, targets, key=self._fullness):
            for source in sources:
                if source is not target and self._is_better(source, target, least_gain):
                    return source, target
        return None

    def _fullness(self, info: NodeInfo) -> tuple[list[int], int, int, str]:
        path = self._paths.get(info.id, ())
        branches = [self._branches[path[: depth + 1]] for depth in range(len(path))]
        return (branches, info.of_service, info.tasks, info.id)

    def _may_take(self, info: NodeInfo, may_take: Callable[[Node], bool]) -> bool:
        if info.facts.refusal or info.failures >= FAILURES_TO_AVOID or not may_take(info.facts.node):
            return False
        return _admits(info, self._filters)

    def _is_better(self, source: NodeInfo, target: NodeInfo, least_gain: int) -> bool:
        if sum(not wish(target) for wish in self._wishes) > sum(not wish(source) for wish in self._wishes):
            return False
        one, other = self._paths.get(source.id, ()), self._paths.get(target.id, ())
        for depth in range(len(one)):
            if one[: depth + 1] != other[: depth + 1]:
                difference = self._branches[one[: depth + 1]] - self._branches[other[: depth + 1]]
                if difference != 1:
                    return difference > 1
        difference = source.of_service - target.of_service
        return difference > 1 if difference != 1 else source.tasks - target.tasks >= least_gain

    def count(self, source: NodeInfo, target: NodeInfo) -> None:
        """Counts a move in. What the task reserves stays taken on both nodes: it runs on both for a while."""
        take(target, self._demand)
        source.tasks -= 1
        source.of_service -= 1
        self._branch(target, 1)
        self._branch(source, -1)


def _admits(info: NodeInfo, filters: Sequence[Filter]) -> bool:
    return all(test.admits(info) for test in filters)


def is_spread(view: View, service: Service) -> bool:
    """Whether the service's strategy is to spread: by the others an uneven load is wanted."""
    default = view.cluster.spec.default_strategy if view.cluster is not None else Placement.SPREAD
    return (service.spec.task.placement.strategy or default or Placement.SPREAD) == Placement.SPREAD
