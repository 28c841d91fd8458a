"""Places tasks: filter, choose, count in; and say why where nothing is left."""

import heapq
from collections.abc import Iterable, Iterator, Sequence

from swarm_api.objects_pb2 import (
    Task,
)
from swarm_api.types_pb2 import (
    ASSIGNED,
    FAILED,
    PENDING,
    REJECTED,
    RUNNING,
)

from swarm_manager.core.draft import is_assigned, is_live
from swarm_manager.core.nodefacts import NO_LOAD
from swarm_manager.core.schedule.affinities import besides
from swarm_manager.core.schedule.explain import explain
from swarm_manager.core.schedule.filters import Filter, filters_for, wishes_for
from swarm_manager.core.schedule.nodes import Demand, NodeInfo, demand_of, take
from swarm_manager.core.schedule.preferences import Tree, preference_keys
from swarm_manager.core.schedule.strategies import FAILURES_TO_AVOID, Strategy, softened, strategy_for
from swarm_manager.core.scratch import Scratch, copy_of
from swarm_manager.core.times import SECOND_NS, ns

#: How long a failure speaks against a node.
RECENT_NS = 300 * SECOND_NS
WAITS_FOR_NODE = "waits for a node"

#: A failure says little about the node, a rejection (no such image, bad mount) a lot.
_WEIGHTS: dict[int, int] = {FAILED: 1, REJECTED: FAILURES_TO_AVOID}


def place(scratch: Scratch, tasks: Iterable[Task]) -> list[Task]:
    """Assigns each task to a node, or says in its status why not. Returns the assigned ones as they are now."""
    groups: dict[tuple[str, int], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.service_id, task.spec_version.index), []).append(task)
    if not groups:
        return []
    placer = _Placer(scratch)
    for group in groups.values():
        placer.place_group(group)
    return placer.assigned


class _Placer:
    """The nodes as they fill up during one plan. Only those that something happened to are kept as `NodeInfo`s."""

    def __init__(self, scratch: Scratch) -> None:
        self.assigned: list[Task] = []
        self._fresh: list[Task] = []  # of the group in work, to be stored together
        self._scratch = scratch
        self._kept: dict[str, NodeInfo] = {}
        self._facts = scratch.facts
        self._loads = scratch.loads  # as they were before the plan: what it adds is counted in on the kept ones

    def place_group(self, tasks: Sequence[Task]) -> None:
        """Tasks of one service, made from the same spec."""
        first = tasks[0]
        self._count_service(first.service_id)
        affinities = besides(self._scratch, first)
        filters, demand = filters_for(self._scratch, first, affinities), demand_of(first)
        free = [task for task in tasks if not task.node_id]
        if len(free) > 1 and any(beside.is_first for beside in affinities):
            self.place_group([task for task in tasks if task.node_id] + free[:1])
            self.place_group(free[1:])  # they are to go where the first one went
            return
        for task in tasks:
            if task.node_id:
                self._place_pinned(task, filters, demand)
        if free:
            strategy = softened(self._strategy(first), wishes_for(first, affinities))
            if keys := preference_keys(first.spec.placement):
                self._place_in_branches(free, filters, demand, Tree(keys, strategy))
            else:
                self._place_free(free, filters, demand, strategy)
        self._scratch.assign_all(self._fresh)
        self.assigned += self._fresh
        self._fresh = []

    def _info(self, node_id: str) -> NodeInfo | None:
        """The node, kept from now on; None when there is no such node."""
        info = self._kept.get(node_id)
        if info is None and (facts := self._facts.get(node_id)) is not None:
            info = self._kept[node_id] = NodeInfo(node_id, facts, self._loads.get(node_id, NO_LOAD))
        return info

    def _all(self) -> Iterator[NodeInfo]:
        """Every node; those nothing happened to are made for the look and thrown away."""
        kept, loads = self._kept, self._loads
        for node_id, facts in self._facts.items():
            yield kept.get(node_id) or NodeInfo(node_id, facts, loads.get(node_id, NO_LOAD))

    def _count_service(self, service_id: str) -> None:
        """Counts the service's tasks and its late failures on each node; those being replaced do not count."""
        for before in self._kept.values():
            before.of_service = before.failures = 0
        tasks = self._scratch.tasks_of_service(service_id).values()
        replaced = {t.replaces for t in tasks if t.replaces and t.desired_state <= RUNNING}
        for task in tasks:
            if (info := self._info(task.node_id) if task.node_id else None) is None:
                continue
            if is_live(task):
                wanted = task.desired_state <= RUNNING and task.id not in replaced
                info.of_service += wanted and is_assigned(task)
            elif ns(task.status.timestamp) > self._scratch.now_ns - RECENT_NS:
                info.failures += _WEIGHTS.get(task.status.state, 0)

    def _place_pinned(self, task: Task, filters: Sequence[Filter], demand: Demand) -> None:
        info = self._info(task.node_id)
        if info is not None and not info.facts.refusal and _admits(info, filters):
            self._assign(task, info, demand)
        else:
            self._leave([task], explain([info] if info is not None else [], filters))

    def _place_in_branches(self, tasks: Sequence[Task], filters: Sequence[Filter], demand: Demand, tree: Tree) -> None:
        """Each task goes to the branch of the service's preferences that has the fewest, to the best node of it."""
        tree.count(self._kept.values())
        for candidate in self._all():
            if not candidate.facts.refusal and _admits(candidate, filters):
                tree.offer(candidate)
        for number, task in enumerate(tasks):
            node_id = tree.take()
            info = self._info(node_id) if node_id is not None else None
            if info is None:
                self._leave(tasks[number:], explain(self._all(), filters))
                return
            self._assign(task, info, demand)
            tree.took(info)
            if _admits(info, filters):
                tree.offer(info)

    def _place_free(self, tasks: Sequence[Task], filters: Sequence[Filter], demand: Demand, strategy: Strategy) -> None:
        """Each task takes the best node, or a worse one than before: so as many of the best as there are tasks do."""
        heap = heapq.nsmallest(
            len(tasks),
            (
                (*strategy(info), info.id)
                for info in self._all()
                if not info.facts.refusal and (not filters or _admits(info, filters))
            ),
        )
        for number, task in enumerate(tasks):
            info = self._info(str(heap[0][-1])) if heap else None
            if info is None:
                self._leave(tasks[number:], explain(self._all(), filters))
                return
            self._assign(task, info, demand)
            if _admits(info, filters):
                heapq.heapreplace(heap, (*strategy(info), info.id))
            else:
                heapq.heappop(heap)

    def _strategy(self, task: Task) -> Strategy:
        cluster = self._scratch.cluster
        default = cluster.spec.default_strategy if cluster is not None else 0
        return strategy_for(task.spec.placement.strategy, default, task.id)

    def _assign(self, task: Task, info: NodeInfo, demand: Demand) -> None:
        take(info, demand)
        new = copy_of(task)
        new.node_id = info.id
        status = new.status
        status.state = ASSIGNED
        status.timestamp.CopyFrom(self._scratch.now)
        status.message = "assigned to a node"
        status.err = ""
        self._fresh.append(new)

    def _leave(self, tasks: Iterable[Task], reason: str) -> None:
        for task in tasks:
            self._scratch.set_status(task, PENDING, WAITS_FOR_NODE, reason)


def _admits(info: NodeInfo, filters: Sequence[Filter]) -> bool:
    for test in filters:  # noqa: SIM110  # all() with a generator takes three times as long, and this is the inner loop
        if not test.admits(info):
            return False
    return True
