"""Clears away: ended tasks beyond the history limit, removed services and networks, tasks nobody can tell of."""

from collections.abc import Collection

from swarm_api.defaults import ORPHAN_AFTER_S, TASK_HISTORY_LIMIT
from swarm_api.objects_pb2 import (
    NETWORK,
    SERVICE,
    TASK,
    Service,
    Task,
)
from swarm_api.types_pb2 import (
    ORPHANED,
    REMOVE,
    RUNNING,
    NodeState,
)

from swarm_manager.core.draft import is_assigned, is_live
from swarm_manager.core.orchestrate.restart import history_needed
from swarm_manager.core.orchestrate.slots import Desk, Slot
from swarm_manager.core.scratch import Scratch
from swarm_manager.core.snapshot import View
from swarm_manager.core.times import duration_ns, ns, seconds_ns


def reap_slot(desk: Desk, slot: Slot, iterations: Collection[int] | None = None) -> None:
    """Deletes what of the slot is over and not worth keeping; settles what no worker will ever report.

    `iterations`: of a scheduled job the runs that are kept; None: all, as far as the history limit goes.
    """
    limit = max(history_limit(desk.scratch), history_needed(desk.service.spec.task.restart))
    if len(slot.tasks) == 1 and next(iter(slot.tasks.values())).desired_state <= RUNNING:
        return
    ended = []
    for task in slot.history():
        settled = settle_unreachable(desk.scratch, task)
        slot.tasks[task.id] = settled
        if can_go(settled) or (iterations is not None and _is_forgotten(settled, iterations)):
            desk.forget(slot, settled)
        elif not is_live(settled):
            ended.append(settled)
    for task in ended[: max(0, len(ended) - limit)]:
        desk.forget(slot, task)


def _is_forgotten(task: Task, iterations: Collection[int]) -> bool:
    return not is_live(task) and task.job_iteration.index not in iterations


def can_go(task: Task) -> bool:
    """Whether nothing is lost when the task is deleted: it is to be removed and over, or never had a node."""
    if task.desired_state <= RUNNING:
        return False
    if is_live(task):
        return not is_assigned(task)
    return task.desired_state >= REMOVE


def settle_unreachable(scratch: Scratch, task: Task) -> Task:
    """The task ORPHANED when its node was removed, or has been down for too long, and it is not wanted any more."""
    if not is_live(task) or not is_assigned(task) or task.desired_state <= RUNNING:
        return task
    node = scratch.nodes.get(task.node_id)
    if node is None:
        return scratch.set_status(task, ORPHANED, "its node was removed", task.status.err)
    if node.status.state != NodeState.DOWN:
        return task
    orphaned_at_ns = ns(node.status.since) + orphan_after_ns(scratch)
    if orphaned_at_ns <= scratch.now_ns:
        return scratch.set_status(task, ORPHANED, "its node was down for too long", task.status.err)
    scratch.wake(task.service_id, orphaned_at_ns)
    return task


def history_limit(view: View) -> int:
    """How many ended tasks are kept a slot."""
    configured = view.cluster.spec.task_history_limit if view.cluster is not None else 0
    return configured or TASK_HISTORY_LIMIT


def orphan_after_ns(view: View) -> int:
    """How long a node is down before its tasks are given up."""
    if view.cluster is not None and view.cluster.spec.HasField("orphan_after"):
        return duration_ns(view.cluster.spec.orphan_after)
    return seconds_ns(ORPHAN_AFTER_S)


def reap_service(scratch: Scratch, service_id: str, service: Service | None) -> None:
    """Takes down a service that was removed: its tasks first, then itself.

    Tasks on nodes that are down do not hold it up: they stay, to be stopped when their node returns.
    """
    held_up = False
    for task in list(scratch.tasks_of_service(service_id).values()):
        leaving = settle_unreachable(scratch, scratch.set_desired(task, REMOVE))
        if can_go(leaving):
            scratch.delete(TASK, leaving.id)
        elif not scratch.node_is_gone(leaving.node_id):
            held_up = True
    if service is not None and not held_up:
        scratch.delete(SERVICE, service_id)


def reap_networks(scratch: Scratch) -> None:
    """Deletes the networks that were removed and that nothing uses any more."""
    for network_id in sorted(scratch.leaving_networks):
        if not scratch.tasks_in_network(network_id) and not scratch.services_in_network(network_id):
            scratch.delete(NETWORK, network_id)
