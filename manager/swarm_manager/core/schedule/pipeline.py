"""Places tasks: filter, choose, count in; and say why where nothing is left."""

import heapq
from collections.abc import Iterable, Sequence

from swarm_api.objects_pb2 import ObjectKind, Task
from swarm_api.types_pb2 import TaskState

from swarm_manager.core.draft import is_assigned, is_live
from swarm_manager.core.schedule.explain import explain
from swarm_manager.core.schedule.filters import Filter, filters_for
from swarm_manager.core.schedule.nodes import Demand, NodeInfo, demand_of, node_infos, take
from swarm_manager.core.schedule.strategies import FAILURES_TO_AVOID, Strategy, strategy_for
from swarm_manager.core.scratch import Scratch, copy_of
from swarm_manager.core.times import SECOND_NS, ns

#: How long a failure speaks against a node.
RECENT_NS = 300 * SECOND_NS
WAITS_FOR_NODE = "waits for a node"

#: A failure says little about the node, a rejection (no such image, bad mount) a lot.
_WEIGHTS: dict[int, int] = {TaskState.FAILED: 1, TaskState.REJECTED: FAILURES_TO_AVOID}


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
    """The nodes as they fill up during one plan."""

    def __init__(self, scratch: Scratch) -> None:
        self.assigned: list[Task] = []
        self._scratch = scratch
        self._infos = node_infos(scratch)
        self._counted: list[NodeInfo] = []

    def place_group(self, tasks: Sequence[Task]) -> None:
        """Tasks of one service, made from the same spec."""
        first = tasks[0]
        self._count_service(first.service_id)
        filters, demand = filters_for(self._scratch, first), demand_of(first)
        free = [task for task in tasks if not task.node_id]
        for task in tasks:
            if task.node_id:
                self._place_pinned(task, filters, demand)
        if free:
            self._place_free(free, filters, demand)

    def _count_service(self, service_id: str) -> None:
        """Counts the service's tasks and its late failures on each node; those being replaced do not count."""
        for before in self._counted:
            before.of_service = before.failures = 0
        tasks = self._scratch.tasks_of_service(service_id).values()
        replaced = {t.replaces for t in tasks if t.replaces and t.desired_state <= TaskState.RUNNING}
        counted: dict[str, NodeInfo] = {}
        for task in tasks:
            if (info := self._infos.get(task.node_id)) is None:
                continue
            counted[info.id] = info
            if is_live(task):
                wanted = task.desired_state <= TaskState.RUNNING and task.id not in replaced
                info.of_service += wanted and is_assigned(task)
            elif ns(task.status.timestamp) > self._scratch.now_ns - RECENT_NS:
                info.failures += _WEIGHTS.get(task.status.state, 0)
        self._counted = list(counted.values())

    def _place_pinned(self, task: Task, filters: Sequence[Filter], demand: Demand) -> None:
        info = self._infos.get(task.node_id)
        if info is not None and not info.facts.refusal and _admits(info, filters):
            self._assign(task, info, demand)
        else:
            self._leave([task], explain([info] if info is not None else [], filters))

    def _place_free(self, tasks: Sequence[Task], filters: Sequence[Filter], demand: Demand) -> None:
        strategy = self._strategy(tasks[0])
        heap = [
            (strategy(info), info.id, info)
            for info in self._infos.values()
            if not info.facts.refusal and _admits(info, filters)
        ]
        if len(tasks) > 1:
            heapq.heapify(heap)
        elif heap:
            heap = [min(heap)]
        for number, task in enumerate(tasks):
            if not heap:
                self._leave(tasks[number:], explain(self._infos.values(), filters))
                return
            info = heap[0][2]
            self._assign(task, info, demand)
            if _admits(info, filters):
                heapq.heapreplace(heap, (strategy(info), info.id, info))
            else:
                heapq.heappop(heap)

    def _strategy(self, task: Task) -> Strategy:
        cluster = self._scratch.cluster
        return strategy_for(task.spec.placement.strategy, cluster.spec.default_strategy if cluster is not None else 0)

    def _assign(self, task: Task, info: NodeInfo, demand: Demand) -> None:
        take(info, demand)
        self._counted.append(info)
        new = copy_of(task)
        new.node_id = info.id
        status = new.status
        status.state = TaskState.ASSIGNED
        status.timestamp.CopyFrom(self._scratch.now)
        status.message = "assigned to a node"
        status.err = ""
        self._scratch.put(ObjectKind.TASK, new)
        self.assigned.append(new)

    def _leave(self, tasks: Iterable[Task], reason: str) -> None:
        for task in tasks:
            self._scratch.set_status(task, TaskState.PENDING, WAITS_FOR_NODE, reason)


def _admits(info: NodeInfo, filters: Sequence[Filter]) -> bool:
    for test in filters:  # noqa: SIM110  # all() with a generator takes three times as long, and this is the inner loop
        if not test.admits(info):
            return False
    return True
