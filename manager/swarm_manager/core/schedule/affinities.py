"""Affinities: which nodes hold tasks that a task must, must not, would like to, or would rather not be beside.

Counted are tasks that are wanted on a node, without those of the same service that are being replaced: a replacement
that starts first is not held up by the task it replaces.  A service's own tasks are counted as they are placed, so
`service != web` of web itself means: never two of them on one node.

A hard anti-affinity holds both ways: a service that wants to be alone is not joined later by what it keeps away from.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from swarm_api.affinities import AffinityError, Rule, parse_affinity
from swarm_api.objects_pb2 import Service, Task
from swarm_api.types_pb2 import RUNNING

from swarm_manager.core.draft import is_live
from swarm_manager.core.schedule.nodes import NodeInfo
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import View

#: A slot that no task has: a pattern that names it means the service's tasks as such, not one of them.
_ANY_SLOT = 10**9


@dataclass(frozen=True, slots=True)
class Beside:
    """One affinity of the task that is being placed, counted on the nodes."""

    rule: Rule
    on_node: Callable[[NodeInfo], int]
    is_first: bool  # it is about the service itself, and no task of it is anywhere yet

    def met(self, info: NodeInfo) -> bool:
        """Whether the node is as the affinity wants it."""
        return (self.on_node(info) == 0) is self.rule.anti


def besides(view: View, task: Task) -> list[Beside]:
    """The task's affinities, hard and soft; those that cannot be read are left to the filters to refuse."""
    return [_count(view, task, rule) for rule in _rules(task)]


def _rules(task: Task) -> Iterator[Rule]:
    for affinity in task.spec.placement.affinities:
        try:
            yield parse_affinity(affinity)
        except AffinityError:
            yield Rule("an affinity that cannot be read", anti=False, soft=False, matches=lambda _: False)


def _count(view: View, task: Task, rule: Rule) -> Beside:
    counts: Counter[str] = Counter()
    means_itself = rule.matches(_any_of_service(task))
    for service_id, tasks in view.tasks_by_service.items():
        if service_id == task.service_id and means_itself:
            continue
        counts.update(other.node_id for other in _wanted(tasks.values()) if rule.matches(other))
    own = (lambda info: counts[info.id] + info.of_service) if means_itself else (lambda info: counts[info.id])
    is_first = means_itself and not counts and not any(_wanted(view.tasks_of_service(task.service_id).values()))
    return Beside(rule, own, is_first)


def _any_of_service(task: Task) -> Task:
    sample = copy_of(task)
    sample.id, sample.slot = "", _ANY_SLOT
    return sample


def _wanted(tasks: Iterable[Task]) -> Iterator[Task]:
    """The wanted tasks that have a node, without those that another wanted one replaces."""
    wanted = [task for task in tasks if task.desired_state <= RUNNING and is_live(task)]
    replaced = {task.replaces for task in wanted if task.replaces}
    return (task for task in wanted if task.node_id and task.id not in replaced)


def avoided_by(view: View, task: Task) -> Iterator[tuple[str, frozenset[str]]]:
    """The other services that keep away from a task such as this, by name, and the nodes they are on."""
    sample = _any_of_service(task)
    for service in view.services.values():
        if service.id != task.service_id and service.spec.task.placement.affinities and _avoids(service, sample):
            tasks = view.tasks_of_service(service.id).values()
            yield service.spec.annotations.name, frozenset(other.node_id for other in _wanted(tasks))


def _avoids(service: Service, task: Task) -> bool:
    rules = _rules(Task(spec=service.spec.task))
    return any(rule.anti and not rule.soft and rule.matches(task) for rule in rules)
