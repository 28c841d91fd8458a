"""Slots: the tasks of one place of a service, and the steps that change them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from swarm_api.objects_pb2 import (
    TASK,
    Service,
    Task,
)
from swarm_api.types_pb2 import (
    READY,
    RUNNING,
    RestartPolicy,
    TaskState,
)

from swarm_manager.core.draft import is_assigned, is_live
from swarm_manager.core.orchestrate.canary import is_held_back, stable_side
from swarm_manager.core.orchestrate.making import template
from swarm_manager.core.orchestrate.outdated import outdated_test
from swarm_manager.core.scratch import Scratch
from swarm_manager.core.times import ns, timestamp

#: A slot's name within its service: its number, or the node of a global service's task.
SlotKey = tuple[int, str]

Test = Callable[[Task], bool]


@dataclass(slots=True)
class Slot:
    """One place of a service: its tasks, wanted ones and history, by id."""

    key: SlotKey
    tasks: dict[str, Task] = field(default_factory=dict)

    def wanted(self) -> list[Task]:
        """The tasks that should run, oldest first: none, one, or two while a replacement starts first."""
        wanted = [task for task in self.tasks.values() if task.desired_state <= RUNNING]
        return wanted if len(wanted) < 2 else sorted(wanted, key=lambda t: (self._depth(t), created_ns(t), t.id))

    def newest(self) -> Task | None:
        """The wanted task that no other wanted one replaces."""
        wanted = self.wanted()
        return wanted[-1] if wanted else None

    def history(self) -> list[Task]:
        """The tasks that are not wanted any more, oldest first."""
        old = [task for task in self.tasks.values() if task.desired_state > RUNNING]
        return sorted(old, key=lambda t: (created_ns(t), ns(t.status.timestamp), t.id))

    def _depth(self, task: Task) -> int:
        """How many wanted tasks it replaces, one after the other."""
        depth, seen = 0, {task.id}
        while (before := self.tasks.get(task.replaces)) is not None and before.id not in seen:
            seen.add(before.id)
            depth, task = depth + 1, before
        return depth


def created_ns(task: Task) -> int:
    """When the task was made, in nanoseconds since the epoch."""
    return ns(task.meta.created_at)


class Desk:
    """One service under work: its slots as they are now, after each step that was taken."""

    def __init__(self, scratch: Scratch, service: Service) -> None:
        self.scratch = scratch
        self.service = service
        self.restart = restart_policy(service)
        self.slots: dict[SlotKey, Slot] = {}
        #: What the tasks outside a canary are; None: there is no canary, or it is everywhere.
        self.stable = stable_side(service) if is_held_back(service) else None
        self._templates: dict[int, Task] = {}
        for task in scratch.tasks_of_service(service.id).values():
            self.slot(slot_key(task)).tasks[task.id] = task

    @cached_property
    def is_outdated(self) -> Test:
        """Whether a task is not what the service's spec says."""
        return outdated_test(self.scratch, self.service)

    @cached_property
    def is_unstable(self) -> Test:
        """Whether a task is not what the tasks outside a canary are."""
        return outdated_test(self.scratch, self.stable or self.service)

    def is_of_other_kind(self, slot: Slot) -> Test:
        """Whether a task of the slot is not what its newest one is, to one side of a canary or the other."""
        if self.stable is None:
            return self.is_outdated
        newest = slot.newest()
        is_stable = newest is not None and self.is_outdated(newest)
        return self.is_unstable if is_stable else self.is_outdated

    def slot(self, key: SlotKey) -> Slot:
        """The slot with this key; an empty one when there was none."""
        if (slot := self.slots.get(key)) is None:
            slot = self.slots[key] = Slot(key)
        return slot

    def in_order(self) -> list[Slot]:
        """The slots by number and node."""
        return [self.slots[key] for key in sorted(self.slots)]

    # Steps

    def create(
        self,
        slot: Slot,
        replaces: Task | None = None,
        start_after_ns: int = 0,
        iteration: int | None = None,
        *,
        renews: bool = False,
    ) -> Task:
        """A new task in the slot: to run at once, or READY until it may (see `may_run`).

        `iteration`: of a job; that of the task it replaces unless given.
        `renews`: it joins the canary, when there is one. Others become what the task is that they replace.
        """
        scratch = self.scratch
        task = Task()
        task.CopyFrom(self._new_task(replaces, renews=renews))
        task.id = next(scratch.fresh_ids)
        task.slot, task.node_id = slot.key
        if replaces is not None:
            task.replaces = replaces.id
            iteration = replaces.job_iteration.index if iteration is None else iteration
        if iteration:
            task.job_iteration.index = iteration
        if start_after_ns > scratch.now_ns:
            task.start_after.CopyFrom(timestamp(start_after_ns))
        task.desired_state = RUNNING if self.may_run(slot, task) else READY
        slot.tasks[task.id] = task
        scratch.put(TASK, task)
        return task

    def desire(self, slot: Slot, task: Task, state: TaskState.ValueType) -> Task:
        """Moves a task's desired state forward."""
        new = self.scratch.set_desired(task, state)
        slot.tasks[task.id] = new
        return new

    def observe(self, slot: Slot, task: Task, state: TaskState.ValueType, message: str) -> Task:
        """Sets a task's observed state where no worker can report it."""
        new = self.scratch.set_status(task, state, message, task.status.err)
        slot.tasks[task.id] = new
        return new

    def forget(self, slot: Slot, task: Task) -> None:
        """Deletes a task."""
        del slot.tasks[task.id]
        if not slot.tasks:
            del self.slots[slot.key]
        self.scratch.delete(TASK, task.id)

    def must_wait(self, moment_ns: int) -> bool:
        """Whether the moment has not come yet; asks for another look when it does."""
        if moment_ns <= self.scratch.now_ns:
            return False
        self.scratch.wake(self.service.id, moment_ns)
        return True

    def may_run(self, slot: Slot, task: Task) -> bool:
        """Whether the task may start now: its delay has passed, and nothing of its slot is still being stopped.

        What runs on a node that is down or gone holds nothing up: nobody can stop it now. Asks for another look
        when only time is missing.
        """
        if self.must_wait(ns(task.start_after)):
            return False
        return not any(self._is_stopping(other) for other in slot.tasks.values() if other.id != task.id)

    def _is_stopping(self, task: Task) -> bool:
        return (
            task.desired_state > RUNNING
            and is_live(task)
            and is_assigned(task)
            and not self.scratch.node_is_gone(task.node_id)
        )

    def _new_task(self, replaces: Task | None, *, renews: bool) -> Task:
        side = self.service
        if self.stable is not None and not renews and (replaces is None or self.is_outdated(replaces)):
            side = self.stable
        version = side.spec_version.index
        if version not in self._templates:
            self._templates[version] = template(self.scratch, side)
        return self._templates[version]


def restart_policy(service: Service) -> RestartPolicy:
    """When the service's ended tasks are replaced. Of a job `any` means `on-failure`: what is complete stays so."""
    policy = service.spec.task.restart
    is_job = service.spec.WhichOneof("mode") in ("replicated_job", "global_job")
    if not is_job or policy.condition != RestartPolicy.ANY:
        return policy
    meant = RestartPolicy()
    meant.CopyFrom(policy)
    meant.condition = RestartPolicy.ON_FAILURE
    return meant


def slot_key(task: Task) -> SlotKey:
    """The slot a task belongs to."""
    return (task.slot, "" if task.slot else task.node_id)
