"""What is observed: workers' reports merged into tasks, nodes' states, and how far each service has come.

Times are the manager's: a status is stamped with the time at which the leader took it in, because delays and monitoring
are measured against the leader's clock and workers' clocks may differ.
"""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.control_pb2 import ServiceProgress
from swarm_api.dispatcher_pb2 import TaskReport
from swarm_api.objects_pb2 import Node, NodeDescription, Service, Task, TaskStatus
from swarm_api.states import may_advance, state_name
from swarm_api.store_pb2 import Change
from swarm_api.types_pb2 import (
    COMPLETE,
    RUNNING,
    NodeState,
)

from swarm_manager.core.draft import is_assigned, is_live
from swarm_manager.core.kinds import KINDS, Stored, wrap
from swarm_manager.core.lifetime import note_state
from swarm_manager.core.orchestrate import jobs
from swarm_manager.core.orchestrate.replicated import replicas_of
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import View


def _change(old: Stored, new: Stored) -> list[Change]:
    if old == new:
        return []
    kind = next(kind for kind in KINDS.values() if kind.message is type(new))
    version = old.meta.version.index
    return [Change(kind=kind.number, id=new.id, object=wrap(kind, new), expected_version=version)]  # type: ignore[arg-type]  # an ObjectKind


# Tasks


def merge_reports(view: View, node_id: str, reports: Iterable[TaskReport], now: Timestamp) -> list[Change]:
    """The changes that a node's reports make, at most one a task; late, repeated and foreign ones make none.

    Of several reports about one task the furthest counts, whatever their order.
    """
    merged: dict[str, Task] = {}
    for report in reports:
        task = merged.get(report.task_id) or view.tasks.get(report.task_id)
        if task is not None and task.node_id == node_id and is_assigned(task):
            merged[task.id] = _merged(task, report.status, now)
    return [change for task_id, task in merged.items() for change in _change(view.tasks[task_id], task)]


def _merged(task: Task, status: TaskStatus, now: Timestamp) -> Task:
    """The task with a report taken in; itself when the report says nothing new."""
    current = task.status.state
    same_state = status.state == current and is_live(task)
    if not same_state and not may_advance(current, status.state):
        return task
    new = copy_of(task)
    new.status.CopyFrom(status)
    new.status.timestamp.CopyFrom(task.status.timestamp if same_state else now)
    new.status.applied_by = task.node_id
    del new.status.states[:]
    new.status.states.extend(task.status.states)
    note_state(new.status, now)
    _keep_running_since(new.status, task.status, now)
    return task if new.status == task.status else new


def _keep_running_since(new: TaskStatus, old: TaskStatus, now: Timestamp) -> None:
    """When the task was first known to run: whatever a worker says of it, and also after the task's end."""
    new.ClearField("running_since")
    if old.HasField("running_since"):
        new.running_since.CopyFrom(old.running_since)
    elif new.state == RUNNING:
        new.running_since.CopyFrom(now)


# Nodes


def node_seen(view: View, node_id: str, description: NodeDescription, address: str, now: Timestamp) -> list[Change]:
    """The node opened a session or described itself anew: READY, with this description and underlay address.

    An empty `address` leaves the one it had. None when the node is not known, or when nothing changed.
    """
    node = view.nodes.get(node_id)
    if node is None:
        return []
    new = copy_of(node)
    new.description.CopyFrom(description)
    if address:
        new.status.address = address
    _enter(new, NodeState.READY_STATE, "", now)
    return _change(node, new)


def node_lost(view: View, node_id: str, state: NodeState.ValueType, message: str, now: Timestamp) -> list[Change]:
    """The node is DOWN or DISCONNECTED (`state`), and why. Nothing when it is so already, or not known."""
    node = view.nodes.get(node_id)
    if node is None or node.status.state == state:
        return []
    new = copy_of(node)
    _enter(new, state, message, now)
    return _change(node, new)


def _enter(node: Node, state: NodeState.ValueType, message: str, now: Timestamp) -> None:
    if node.status.state != state:
        node.status.since.CopyFrom(now)
    node.status.state = state
    node.status.message = message


# Services


def progress(view: View, service_id: str) -> ServiceProgress:
    """How many tasks a service wants and has, and what the first one that does not run waits for."""
    service = view.services.get(service_id)
    if service is None:
        return ServiceProgress()
    wanted = [t for t in view.tasks_of_service(service_id).values() if t.desired_state <= RUNNING]
    if jobs.is_job(service.spec):
        return _job_progress(view, service, wanted)
    running = sum(1 for t in wanted if _runs(view, t))
    return ServiceProgress(
        wanted=_wanted(service, wanted),
        running=running,
        completed=sum(1 for t in wanted if t.status.state == COMPLETE),
        waiting_for=_waiting_for(view, wanted),
    )


def _job_progress(view: View, service: Service, wanted: list[Task]) -> ServiceProgress:
    at = jobs.standing(view, service)
    return ServiceProgress(
        wanted=at.wanted,
        running=at.running,
        completed=at.completed,
        failed=at.failed,
        waiting_for=_waiting_for(view, [t for t in wanted if t.job_iteration.index == service.job_iteration.index]),
    )


def _wanted(service: Service, wanted: list[Task]) -> int:
    if service.pending_delete:
        return 0
    if service.spec.HasField("global"):
        return len({t.node_id for t in wanted})
    return replicas_of(service)


def _runs(view: View, task: Task) -> bool:
    """Whether the task is known to run: of a node that is not back since a restoration nothing is known yet."""
    node = view.nodes.get(task.node_id)
    is_heard_of = node is not None and node.status.state not in (NodeState.DOWN, NodeState.DISCONNECTED)
    return task.status.state == RUNNING and task.desired_state == RUNNING and is_heard_of


def _waiting_for(view: View, wanted: list[Task]) -> str:
    waiting = (t for t in wanted if not _runs(view, t) and t.status.state != COMPLETE)
    task = min(waiting, key=lambda t: (t.slot, t.node_id, t.id), default=None)
    if task is None:
        return ""
    if task.status.state == RUNNING and (node := view.nodes.get(task.node_id)) is not None:
        why = "down" if node.status.state == NodeState.DOWN else "not back since the cluster was restored"
        return f"task {task.slot or task.node_id} waits for its node {_name(node)}, which is {why}"
    why = task.status.err or _last_error(view, task) or _holding_up(view, task) or task.status.message
    said = f"task {task.slot or task.node_id} is {state_name(task.status.state)}"
    return f"{said}: {why}" if why else said


def _name(node: Node) -> str:
    return node.spec.annotations.name or node.description.hostname or node.id


def _holding_up(view: View, task: Task) -> str:
    """That the task before it in its slot is still being stopped, on a node whose engine may have stopped answering."""
    before = view.tasks.get(task.replaces)
    if task.desired_state >= RUNNING or before is None or before.desired_state <= RUNNING or not is_live(before):
        return ""
    node = view.nodes.get(before.node_id)
    return "" if node is None else f"the task before it is still being stopped on {_name(node)}"


def _last_error(view: View, task: Task) -> str:
    """Why the task before it in its slot ended: what a person wants to know of one that is tried again and again."""
    before = view.tasks.get(task.replaces)
    return "" if before is None or is_live(before) else before.status.err
