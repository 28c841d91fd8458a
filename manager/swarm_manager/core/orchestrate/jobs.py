"""Jobs: tasks that run to their end, so many times (replicated job) or once on every node (global job).

Theory of operation
    Each run of a job is an *iteration* (`Service.job_iteration`); its tasks carry its number.  A slot is one of the
    iteration's runs.  It is done when a task of it is COMPLETE, and stays done: a completed task remains wanted, so
    that nothing takes its place.  A failed one is replaced as the restart policy says, `any` meaning `on-failure`, for
    a completed task is never run again.

    `service update --force` begins the next iteration: the state machine counts it up.  A schedule does it, too
    (cron.py).  The tasks of other iterations are stopped and become history, unless the schedule allows runs side
    by side: then each unfinished iteration goes on in slots of its own.  A change of the spec that does not ask for
    another run leaves the tasks alone; what is started from then on is of the new spec.
"""

from collections.abc import Iterable
from typing import NamedTuple

from swarm_api.objects_pb2 import Service, Task
from swarm_api.specs_pb2 import CronSchedule, ServiceSpec
from swarm_api.types_pb2 import COMPLETE, REMOVE, RUNNING, SHUTDOWN

from swarm_manager.core.draft import is_live
from swarm_manager.core.orchestrate.enforce import NodeRules
from swarm_manager.core.orchestrate.global_ import forget_removed_nodes
from swarm_manager.core.orchestrate.healing import heal, heal_in_place
from swarm_manager.core.orchestrate.restart import verdict
from swarm_manager.core.orchestrate.slots import Desk, Slot, SlotKey, restart_policy, slot_key
from swarm_manager.core.snapshot import View


class Standing(NamedTuple):
    """How far an iteration of a job is, in slots."""

    wanted: int
    running: int
    completed: int
    failed: int  # failed, and not tried again

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will run any more."""
        return self.completed + self.failed >= self.wanted


def is_job(spec: ServiceSpec) -> bool:
    """Whether the service's tasks run to their end."""
    return spec.WhichOneof("mode") in ("replicated_job", "global_job")


def may_overlap(spec: ServiceSpec) -> bool:
    """Whether a run may begin while the one before is still under way."""
    return spec.HasField("schedule") and spec.schedule.concurrency == CronSchedule.ALLOW


def has_begun(service: Service) -> bool:
    """Whether the job is to run at all: one with a schedule waits for its first time."""
    return service.job_iteration.index > 0 or not service.spec.HasField("schedule")


# Looking


def standing(view: View, service: Service, iteration: int | None = None) -> Standing:
    """How far an iteration is; the present one unless another is named."""
    number = service.job_iteration.index if iteration is None else iteration
    slots: dict[SlotKey, Slot] = {}
    for task in view.tasks_of_service(service.id).values():
        if task.job_iteration.index == number:
            slots.setdefault(slot_key(task), Slot(slot_key(task))).tasks[task.id] = task
    done = sum(1 for slot in slots.values() if is_done(slot, number))
    failed = sum(1 for slot in slots.values() if not is_done(slot, number) and _has_given_up(slot, service))
    running = sum(1 for slot in slots.values() if any(_runs(view, task) for task in slot.tasks.values()))
    return Standing(_runs_wanted(view, service, slots.values()), running, done, failed)


def is_done(slot: Slot, iteration: int) -> bool:
    """Whether the slot's run is complete; also when that was reported of a task that was to be stopped."""
    return any(
        task.status.state == COMPLETE and task.desired_state < REMOVE and task.job_iteration.index == iteration
        for task in slot.tasks.values()
    )


def _runs(view: View, task: Task) -> bool:
    return task.status.state == RUNNING and task.desired_state == RUNNING and not view.node_is_gone(task.node_id)


def _has_given_up(slot: Slot, service: Service) -> bool:
    newest = slot.newest()
    if newest is None or is_live(newest):
        return False
    return not verdict(slot, newest, restart_policy(service), lambda _: False).replace


def _runs_wanted(view: View, service: Service, slots: Iterable[Slot]) -> int:
    if not has_begun(service) or service.pending_delete:
        return 0
    if service.spec.HasField("replicated_job"):
        return int(service.spec.replicated_job.total_completions)
    rules = NodeRules(service)
    nodes = {node_id for node_id, facts in view.facts.items() if not facts.refusal and rules.admit(facts.node)}
    return len(nodes | {slot.key[1] for slot in slots if slot.wanted()})


# Doing


def run_job(desk: Desk) -> None:
    """Brings the job's tasks nearer to what it wants."""
    rules, iteration = NodeRules(desk.service), int(desk.service.job_iteration.index)
    is_global = desk.service.spec.HasField("global_job")
    if is_global:
        forget_removed_nodes(desk)
    if not may_overlap(desk.service.spec):
        _retire(desk, [task for task in _wanted(desk) if task.job_iteration.index != iteration])
    for slot in desk.in_order():
        _heal(desk, slot, rules)
    if not has_begun(desk.service):
        return
    if is_global:
        _cover_nodes(desk, rules, iteration)
        return
    for number in sorted({int(task.job_iteration.index) for task in _wanted(desk)} | {iteration}):
        _fill(desk, number)
        if number != iteration:
            _retire_when_over(desk, number)


def _wanted(desk: Desk) -> list[Task]:
    return [task for slot in desk.in_order() for task in slot.wanted()]


def _retire(desk: Desk, tasks: Iterable[Task]) -> None:
    for task in tasks:
        desk.desire(desk.slot(slot_key(task)), task, SHUTDOWN)


def _heal(desk: Desk, slot: Slot, rules: NodeRules) -> None:
    newest = slot.newest()
    if newest is None:
        return
    iteration = newest.job_iteration.index
    if is_done(slot, iteration):
        _retire(desk, [task for task in slot.wanted() if task.status.state != COMPLETE])
        return
    mend = heal_in_place if desk.service.spec.HasField("global_job") else heal
    mend(desk, slot, rules, lambda task: task.job_iteration.index != iteration)


def _cover_nodes(desk: Desk, rules: NodeRules, iteration: int) -> None:
    for node_id in sorted(desk.scratch.facts):
        facts = desk.scratch.facts[node_id]
        slot = desk.slots.get((0, node_id)) or Slot((0, node_id))
        if facts.refusal or not rules.admit(facts.node) or slot.wanted() or is_done(slot, iteration):
            continue
        desk.create(desk.slot((0, node_id)), iteration=iteration)


def _fill(desk: Desk, iteration: int) -> None:
    """Begins as many runs of the iteration as are missing, and as may run at once; takes back what is too many."""
    wanted = desk.service.spec.replicated_job
    own = [slot for slot in desk.in_order() if _belongs(slot, iteration)]
    missing = int(wanted.total_completions) - len(own)
    busy = sum(1 for slot in own if any(is_live(task) for task in slot.wanted()))
    for _ in range(min(missing, (wanted.max_concurrent or wanted.total_completions) - busy)):
        desk.create(_free_slot(desk, iteration), iteration=iteration)
    for slot in sorted(own, key=lambda slot: (is_done(slot, iteration), -slot.key[0]))[: max(0, -missing)]:
        for task in list(slot.tasks.values()):
            desk.desire(slot, task, REMOVE)


def _belongs(slot: Slot, iteration: int) -> bool:
    return is_done(slot, iteration) or any(task.job_iteration.index == iteration for task in slot.wanted())


def _free_slot(desk: Desk, iteration: int) -> Slot:
    """The slot of the lowest number that nobody wants, and in which nothing of the iteration was done yet."""
    number = 1
    while (slot := desk.slots.get((number, ""))) is not None and (slot.wanted() or is_done(slot, iteration)):
        number += 1
    return desk.slot((number, ""))


def _retire_when_over(desk: Desk, iteration: int) -> None:
    tasks = [task for task in _wanted(desk) if task.job_iteration.index == iteration]
    if not any(is_live(task) for task in tasks):
        _retire(desk, tasks)
