"""Whether a task that found no node would find one were another task gone: what stop first gains over start first."""

from swarm_api.objects_pb2 import TASK, Task
from swarm_api.types_pb2 import ASSIGNED, RUNNING, SHUTDOWN

from swarm_manager.core.draft import Draft, is_assigned, is_live
from swarm_manager.core.schedule.filters import filters_for
from swarm_manager.core.schedule.nodes import NodeInfo
from swarm_manager.core.schedule.pipeline import WAITS_FOR_NODE
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import View


def waits_for_node(task: Task) -> bool:
    """Whether the scheduler looked for a node and found none."""
    return task.status.state < ASSIGNED and task.status.message == WAITS_FOR_NODE


def would_fit_without(view: View, task: Task, other: Task) -> bool:
    """Whether the other task's node would take the task as soon as the other one is over."""
    facts = view.facts.get(other.node_id)
    if facts is None or facts.refusal or not (is_live(other) and is_assigned(other)):
        return False
    without = _as_if_over(view, other)
    info = NodeInfo(other.node_id, facts, without.load_of(other.node_id))
    info.of_service = _count(without, task, other.node_id)
    return all(test.admits(info) for test in filters_for(without, task))


def _as_if_over(view: View, task: Task) -> View:
    draft, over = Draft(view), copy_of(task)
    over.status.state = SHUTDOWN
    draft.put(TASK, over)
    return draft


def _count(view: View, task: Task, node_id: str) -> int:
    """The wanted tasks that the service has on the node, as the scheduler counts them."""
    siblings = view.tasks_of_service(task.service_id).values()
    return sum(1 for t in siblings if t.node_id == node_id and t.desired_state <= RUNNING and is_live(t))
