"""One slot: replaces what was lost, ended or must leave its node, and takes replacements to their next step."""

from swarm_api.objects_pb2 import Task
from swarm_api.types_pb2 import (
    COMPLETE,
    FAILED,
    ORPHANED,
    REJECTED,
    RUNNING,
    SHUTDOWN,
    RestartPolicy,
    UpdateConfig,
)

from swarm_manager.core.draft import is_live
from swarm_manager.core.orchestrate.enforce import NodeRules, Stay
from swarm_manager.core.orchestrate.restart import earliest_start_ns, verdict
from swarm_manager.core.orchestrate.slots import Desk, Slot, Test

_ENDED_BY_ITSELF = frozenset({COMPLETE, FAILED, REJECTED})


def heal(desk: Desk, slot: Slot, rules: NodeRules, is_outdated: Test) -> None:
    """Does for a replicated service's slot whatever its tasks' states ask for now."""
    if _is_quiet(desk, slot, rules):
        return
    _replace_lost(desk, slot, rules)
    _replace_ended(desk, slot, is_outdated)
    _move_from_node(desk, slot, rules, is_outdated)
    advance(desk, slot)


def heal_in_place(desk: Desk, slot: Slot, rules: NodeRules, is_outdated: Test) -> None:
    """The same for a global service's slot: its tasks cannot go elsewhere, they end with their node."""
    if _is_quiet(desk, slot, rules):
        return
    for task in slot.wanted():
        if is_live(task) and rules.verdict(desk.scratch, task) is not Stay.MAY_STAY:
            desk.desire(slot, task, SHUTDOWN)
    _replace_ended(desk, slot, is_outdated)
    advance(desk, slot)


def replace(desk: Desk, slot: Slot, old: Task, order: UpdateConfig.Order.ValueType, *, renews: bool = False) -> None:
    """Makes a new task in the slot for the old one, which stops before or after the new one runs.

    `renews`: for the sake of an update (see `Desk.create`).
    """
    wanted = slot.wanted()
    if len(wanted) > 1 and wanted[-1].id == old.id:  # itself a replacement that has not taken over yet: it never does
        desk.desire(slot, old, SHUTDOWN)
        old = wanted[-2]
    if order == UpdateConfig.STOP_FIRST:
        old = desk.desire(slot, old, SHUTDOWN)
    desk.create(slot, replaces=old, renews=renews)


def take_up(desk: Desk, slot: Slot) -> None:
    """Makes the task that a slot without a wanted one lacks, when the pause after a failure has passed."""
    last = slot.history()[-1]
    not_before_ns = 0
    if last.status.state in _ENDED_BY_ITSELF:
        not_before_ns = verdict(slot, last, desk.restart, desk.is_of_other_kind(slot)).not_before_ns
        if _ended_before_it_started(last) and desk.must_wait(not_before_ns):
            return
    desk.create(slot, replaces=last, start_after_ns=not_before_ns)


def advance(desk: Desk, slot: Slot) -> None:
    """Stops what a running replacement replaces; lets a prepared task run when nothing holds it up any more."""
    wanted = slot.wanted()
    if not wanted:
        return
    newest = wanted[-1]
    if newest.status.state == RUNNING:
        for old in wanted[:-1]:
            desk.desire(slot, old, SHUTDOWN)
    if newest.desired_state < RUNNING and is_live(newest) and desk.may_run(slot, newest):
        desk.desire(slot, newest, RUNNING)


def _is_quiet(desk: Desk, slot: Slot, rules: NodeRules) -> bool:
    """Whether the slot holds just one task that runs, or comes to run, where it may: the usual case, made cheap."""
    if len(slot.tasks) != 1:
        return False
    task = next(iter(slot.tasks.values()))
    return task.desired_state == RUNNING and is_live(task) and rules.verdict(desk.scratch, task) is Stay.MAY_STAY


def _replace_lost(desk: Desk, slot: Slot, rules: NodeRules) -> None:
    """Tasks of nodes that are down or gone are given up at once; what of them still runs is stopped on its return."""
    lost = [t for t in slot.wanted() if is_live(t) and rules.verdict(desk.scratch, t) is Stay.LOST]
    if desk.restart.condition == RestartPolicy.NONE:
        _give_up_removed(desk, slot, lost)
        return
    for task in lost:
        desk.desire(slot, task, SHUTDOWN)
    if lost and not slot.wanted():
        desk.create(slot, replaces=lost[-1])


def _give_up_removed(desk: Desk, slot: Slot, lost: list[Task]) -> None:
    """A task that is never to be started again stays what it is while its node may return; a removed one never does."""
    for task in lost:
        if task.node_id not in desk.scratch.nodes:
            desk.observe(slot, task, ORPHANED, "its node was removed")


def _replace_ended(desk: Desk, slot: Slot, is_outdated: Test) -> None:
    wanted = slot.wanted()
    ended = [task for task in wanted if not is_live(task)]
    if not ended:
        return
    if len(ended) < len(wanted):
        for task in ended:
            desk.desire(slot, task, SHUTDOWN)
        return
    last = ended[-1]
    decision = verdict(slot, last, desk.restart, is_outdated)
    if decision.replace and _ended_before_it_started(last) and desk.must_wait(decision.not_before_ns):
        return
    for task in ended if decision.replace else ended[:-1]:
        desk.desire(slot, task, SHUTDOWN)
    if decision.replace:
        desk.create(slot, replaces=last, start_after_ns=decision.not_before_ns)


def _ended_before_it_started(task: Task) -> bool:
    """Whether the task failed while it was still being prepared.

    Its replacement would be prepared at once, during its delay, and fail as fast: the delay has to come first.
    """
    return task.status.state == REJECTED or task.desired_state < RUNNING


def _move_from_node(desk: Desk, slot: Slot, rules: NodeRules, is_outdated: Test) -> None:
    """A task that must leave its node (drain, a constraint) is replaced, if possible before it is stopped."""
    wanted = slot.wanted()
    if not wanted:
        return
    newest = wanted[-1]
    if not is_live(newest) or rules.verdict(desk.scratch, newest) is not Stay.MUST_GO:
        return
    if len(wanted) > 1:
        desk.desire(slot, newest, SHUTDOWN)
        was_moved, newest = newest.moved, wanted[-2]
        if was_moved and rules.verdict(desk.scratch, newest) is Stay.MAY_STAY:
            return  # rebalancing brought it there: the old task can as well stay
    not_before_ns = earliest_start_ns(slot, desk.restart, is_outdated)
    if not_before_ns is not None and not desk.must_wait(not_before_ns):
        replace(desk, slot, newest, order_of_moving(desk))


def order_of_moving(desk: Desk) -> UpdateConfig.Order.ValueType:
    """Start first wherever the service can stand two tasks side by side: it asks for that order, or has replicas.

    A single stop-first task (a database on a shared volume) never meets its double.
    """
    spec = desk.service.spec
    if spec.update.order == UpdateConfig.START_FIRST or spec.replicated.replicas > 1:
        return UpdateConfig.START_FIRST
    return UpdateConfig.STOP_FIRST
