"""Rolling updates and rollbacks: tasks that are not what the service wants any more are replaced, few at a time.

Where an update stands is read from the tasks: a slot is *outdated* until its newest task is of the present spec,
then *busy* until that task runs and the delay has passed.  `Service.update_status` keeps only what tasks cannot tell:
that an update is on, since when, and that it was paused or turned back.

A failure is a slot in which a task of the present spec, made since the update began, failed or was rejected before it
ran, or within `monitor` of running.  What failed before a person resumed the update has been seen, and counts no more.

Start first, a new task may find no room beside the old one (host ports, reservations).  Where it would fit were the old
one gone, that slot goes stop first instead, and the update says so: it must not wait for what never happens.

Of a canary (see `canary`) only as many slots are replaced as its share says; once watched they wait to be promoted,
and go on being watched: a replacement of theirs that fails is a failure of the update, however late.
"""

from collections.abc import Iterator
from enum import Enum

from swarm_api.defaults import UPDATE_MONITOR_S
from swarm_api.objects_pb2 import (
    SERVICE,
    Task,
    UpdateStatus,
)
from swarm_api.types_pb2 import (
    FAILED,
    REJECTED,
    RUNNING,
    SHUTDOWN,
    UpdateConfig,
)

from swarm_manager.core.draft import is_live
from swarm_manager.core.orchestrate.canary import size_of
from swarm_manager.core.orchestrate.healing import replace
from swarm_manager.core.orchestrate.outdated import is_replacing
from swarm_manager.core.orchestrate.restart import earliest_start_ns
from swarm_manager.core.orchestrate.room import waits_for_node, would_fit_without
from swarm_manager.core.orchestrate.slots import Desk, Slot, SlotKey, created_ns
from swarm_manager.core.orchestrate.turn_back import spec_before_update
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.times import duration_ns, ns, seconds_ns

_ROLLING_BACK = frozenset(
    {UpdateStatus.ROLLBACK_STARTED, UpdateStatus.ROLLBACK_PAUSED, UpdateStatus.ROLLBACK_COMPLETED}
)
_RUNNING = frozenset({UpdateStatus.UPDATING, UpdateStatus.CANARY, UpdateStatus.ROLLBACK_STARTED})
_PAUSED = frozenset({UpdateStatus.PAUSED, UpdateStatus.ROLLBACK_PAUSED})
_FAILURES = frozenset({FAILED, REJECTED})

#: Who changed the spec, where nobody did.
AUTOMATIC_ROLLBACK = "automatic rollback"


class _Kind(Enum):
    """What a task is, seen from the update."""

    PRESENT = "as the service's spec says"
    STABLE = "as it was before, and as it stays outside a canary"
    OTHER = "neither: to be replaced"


class Update:
    """The update of one service, as it stands now."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._is_outdated = desk.is_outdated
        self._slots = [(slot, newest) for slot in desk.in_order() if (newest := slot.newest()) is not None]

    def advance(self) -> None:
        """Takes the update its next step: begins it, replaces the next tasks, pauses, turns back or finishes it."""
        if not self._is_on() or self._stopped_by_failures():
            return
        self._make_room()
        busy = sum(1 for slot, task in self._slots if self._is_busy(slot, task))
        room = (self._parallelism() or len(self._slots)) - busy
        due = list(self._due())
        for slot, task, renews in due:
            if room <= 0:
                break
            room -= self._replace(slot, task, renews=renews)
        if due:
            self._go_on()
        elif not busy:
            self._finish_when_watched()

    def _is_on(self) -> bool:
        state = self._status.state
        if state in _RUNNING:
            return True
        if state in _PAUSED or not any(self._is_outdated(task) for _, task in self._slots):
            return False
        self._set_status(UpdateStatus.UPDATING, "update in progress", begins=True)
        return True

    def _kind(self, task: Task) -> _Kind:
        if not self._is_outdated(task):
            return _Kind.PRESENT
        return _Kind.OTHER if self._desk.stable is None or self._desk.is_unstable(task) else _Kind.STABLE

    def _due(self) -> Iterator[tuple[Slot, Task, bool]]:
        """The slots to be replaced, in order, and whether each gets the present spec: those outside a canary do not."""
        kinds = {slot.key: self._kind(task) for slot, task in self._slots}
        chosen = {slot.key for slot, _ in self._slots if kinds[slot.key] is _Kind.PRESENT or self._was_tried(slot)}
        missing = self._wanted() - len(chosen)

        def order(item: tuple[Slot, Task]) -> tuple[bool, bool, SlotKey]:
            slot, task = item
            return (kinds[slot.key] is _Kind.STABLE, task.status.state == RUNNING, slot.key)

        for slot, task in sorted(self._slots, key=order):
            if kinds[slot.key] is _Kind.PRESENT:
                continue
            if slot.key in chosen or missing > 0:
                missing -= slot.key not in chosen
                yield slot, task, True
            elif kinds[slot.key] is _Kind.OTHER:
                yield slot, task, False

    def _was_tried(self, slot: Slot) -> bool:
        """Whether the present spec was given to a slot by this update, and failed beside the task that still runs."""
        return any(self._is_of_update(task) and task.status.state in _FAILURES for task in slot.tasks.values())

    def _wanted(self) -> int:
        """How many slots are to have the present spec."""
        total = len(self._slots)
        return total if self._desk.stable is None else size_of(self._desk.service.canary.share, total)

    @property
    def _status(self) -> UpdateStatus:
        return self._desk.service.update_status

    @property
    def _config(self) -> UpdateConfig:
        spec = self._desk.service.spec
        return spec.rollback if self._status.state in _ROLLING_BACK else spec.update

    def _parallelism(self) -> int:
        """Tasks at once; 0: all. Nothing said: one, as in Docker Swarm."""
        spec = self._desk.service.spec
        said = spec.HasField("rollback" if self._status.state in _ROLLING_BACK else "update")
        return int(self._config.parallelism) if said else 1

    def _is_busy(self, slot: Slot, task: Task) -> bool:
        """Whether the slot's new task is still on its way, or so fresh that the delay has not passed."""
        replaced = slot.tasks.get(task.replaces)
        if replaced is None or not self._is_step(replaced, task):
            return False
        if is_live(task) and task.status.state < RUNNING:
            return True
        free_at_ns = ns(task.status.timestamp) + duration_ns(self._config.delay)
        return self._desk.must_wait(free_at_ns)

    def _is_step(self, old: Task, new: Task) -> bool:
        """Whether one task replaces the other for the sake of the update, and not because it ended or moved."""
        return self._kind(new) is not _Kind.OTHER and self._kind(new) is not self._kind(old)

    def _replace(self, slot: Slot, task: Task, *, renews: bool) -> bool:
        """Whether a replacement was made: not when one has just failed, or too often, beside the running task."""
        is_outdated = self._is_outdated if renews else self._desk.is_unstable
        not_before_ns = earliest_start_ns(slot, self._desk.service.spec.task.restart, is_outdated)
        if not_before_ns is None or self._desk.must_wait(not_before_ns):
            return False
        replace(self._desk, slot, task, self._config.order, renews=renews)
        return True

    def _make_room(self) -> None:
        """Stops the old task of a slot whose new one waits for just the place that the old one takes.

        Who asked for all at once did not ask to be without any: then it is one slot after the other.
        """
        pairs = [(slot, new, old) for slot, new in self._slots if (old := slot.tasks.get(new.replaces)) is not None]
        pairs = [pair for pair in pairs if self._is_step(pair[2], pair[1])]
        giving_way = sum(1 for _, new, old in pairs if old.desired_state > RUNNING and new.status.state < RUNNING)
        room = (self._parallelism() or 1) - giving_way
        for slot, new, old in pairs:
            if room <= 0:
                return
            if old.desired_state <= RUNNING and self._is_in_the_way(old, new):
                self._give_way(slot, new, old)
                room -= 1

    def _is_in_the_way(self, old: Task, new: Task) -> bool:
        return waits_for_node(new) and would_fit_without(self._desk.scratch, new, old)

    def _give_way(self, slot: Slot, new: Task, old: Task) -> None:
        place = f"slot {new.slot}" if new.slot else f"node {new.node_id}"
        said = f"update in progress; {place} stops first, as its new task has no room beside the old one: "
        self._set_status(self._status.state, said + new.status.err, keeps_on=True)
        self._desk.desire(slot, old, SHUTDOWN)

    # Failures

    def _stopped_by_failures(self) -> bool:
        failed, watched = list(self._failed_slots()), self._wanted()
        if not failed or len(failed) / watched <= self._config.max_failure_ratio:
            return False
        action = self._config.failure_action
        if action == UpdateConfig.CONTINUE:
            return False
        reason = failed[-1].status.err or failed[-1].status.message or "it ended"
        told = f"{len(failed)} of {watched} tasks failed, the last one because: {reason}"
        if action == UpdateConfig.ROLLBACK and self._can_roll_back():
            self._roll_back(told)
        elif self._status.state == UpdateStatus.ROLLBACK_STARTED:
            self._set_status(UpdateStatus.ROLLBACK_PAUSED, f"rollback paused: {told}")
        else:
            self._set_status(UpdateStatus.PAUSED, f"update paused: {told}")
        return True

    def _failed_slots(self) -> Iterator[Task]:
        """The last failed task of each slot that counts as a failure of this update."""
        for slot, _ in self._slots:
            failed = [t for t in slot.tasks.values() if self._is_failure(t)]
            if failed:
                yield max(failed, key=lambda t: ns(t.status.timestamp))

    def _is_failure(self, task: Task) -> bool:
        if task.status.state not in _FAILURES or not self._is_of_update(task):
            return False
        ended_ns = ns(task.status.timestamp)
        if self._status.HasField("resumed_at") and ended_ns < ns(self._status.resumed_at):
            return False
        return not task.status.HasField("running_since") or ended_ns - _began_ns(task) <= self._monitor_ns()

    def _is_of_update(self, task: Task) -> bool:
        return created_ns(task) >= ns(self._status.started_at) and not self._is_outdated(task)

    def _monitor_ns(self) -> int:
        config = self._config
        return duration_ns(config.monitor) if config.HasField("monitor") else seconds_ns(UPDATE_MONITOR_S)

    def _can_roll_back(self) -> bool:
        is_forward = self._status.state in (UpdateStatus.UPDATING, UpdateStatus.CANARY)
        return is_forward and spec_before_update(self._desk.service) is not None

    def _roll_back(self, told: str) -> None:
        """Puts the spec from before the update back. The tasks follow when that is committed and has its version."""
        new = copy_of(self._desk.service)
        new.spec.CopyFrom(spec_before_update(new) or new.spec)
        new.ClearField("canary")
        new.spec_changed_by = AUTOMATIC_ROLLBACK
        self._desk.service = new
        self._set_status(UpdateStatus.ROLLBACK_STARTED, f"rolling back: {told}", begins=True)

    # The end

    def _go_on(self) -> None:
        """A canary that waited has further tasks to replace: there are more slots, or fewer of it."""
        if self._status.state == UpdateStatus.CANARY:
            self._set_status(UpdateStatus.UPDATING, "update in progress, for the canary only", keeps_on=True)

    def _finish_when_watched(self) -> None:
        """Completes the update when its tasks have run for as long as they are to be watched; a canary then waits."""
        updated = [task for _, task in self._slots if self._kind(task) is _Kind.PRESENT]
        if any(is_live(task) and task.status.state < RUNNING for task in updated):
            return
        started_ns = ns(self._status.started_at)
        fresh = [_began_ns(task) for task in updated if created_ns(task) >= started_ns]
        if fresh and self._desk.must_wait(max(fresh) + self._monitor_ns()):
            return
        if self._is_canary():
            self._hold(len(updated))
        elif self._status.state == UpdateStatus.ROLLBACK_STARTED:
            self._set_status(UpdateStatus.ROLLBACK_COMPLETED, "rollback completed")
        else:
            self._set_status(UpdateStatus.COMPLETED, "update completed")

    def _is_canary(self) -> bool:
        """Whether the change is held back from tasks, or would be if there were more of them."""
        return self._desk.stable is not None and is_replacing(self._desk.stable.spec, self._desk.service.spec)

    def _hold(self, count: int) -> None:
        version = self._desk.service.spec_version.index
        said = f"canary: {count} of {len(self._slots)} on version {version}, waiting for promote"
        if (self._status.state, self._status.message) != (UpdateStatus.CANARY, said):
            self._set_status(UpdateStatus.CANARY, said, keeps_on=True)

    def _set_status(
        self, state: UpdateStatus.State.ValueType, message: str, *, begins: bool = False, keeps_on: bool = False
    ) -> None:
        new = copy_of(self._desk.service)
        status = new.update_status
        status.state = state
        status.message = message
        status.ClearField("completed_at")
        if begins:
            status.started_at.CopyFrom(self._desk.scratch.now)
            status.ClearField("resumed_at")
        elif state not in _PAUSED and not keeps_on:
            status.completed_at.CopyFrom(self._desk.scratch.now)
            new.ClearField("canary")
        self._desk.service = new
        self._desk.scratch.put(SERVICE, new)


def _began_ns(task: Task) -> int:
    """Since when the task is watched."""
    return ns(task.status.running_since) or ns(task.status.timestamp)
