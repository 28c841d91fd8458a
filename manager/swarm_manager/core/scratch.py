"""The planner's working copy: what one pass decides, the next one sees; in the end it tells what changed."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.objects_pb2 import (
    NETWORK,
    SERVICE,
    TASK,
    Task,
)
from swarm_api.store_pb2 import Change
from swarm_api.types_pb2 import TaskState

from swarm_manager.core.draft import Draft
from swarm_manager.core.kinds import KINDS, Stored
from swarm_manager.core.snapshot import View
from swarm_manager.core.times import Zones, ns, only_utc

S = TypeVar("S", bound=Stored)

#: The order of changes: each beginning of it is a valid state. Tasks come after what they refer to.
_RANK = {
    NETWORK: 0,
    SERVICE: 1,
    TASK: 2,
}


class Scratch(Draft):
    """A draft that remembers what was touched, and for whom time has to pass."""

    __slots__ = ("_wakes_ns", "base", "fresh_ids", "now", "now_ns", "touched", "zone_of")

    def __init__(self, base: View, now: Timestamp, ids: Iterator[str], zone_of: Zones = only_utc) -> None:
        super().__init__(base)
        self.base = base
        self.now = now
        self.now_ns = ns(now)
        self.fresh_ids = ids
        self.zone_of = zone_of
        self.touched: dict[tuple[int, str], None] = {}
        self._wakes_ns: dict[str, int] = {}

    def put(self, kind: int, obj: Stored) -> None:
        self.touched[kind, obj.id] = None
        super().put(kind, obj)

    def delete(self, kind: int, object_id: str) -> None:
        self.touched[kind, object_id] = None
        super().delete(kind, object_id)

    def wake(self, object_id: str, at_ns: int) -> None:
        """Asks for another look at the object at `at_ns`, or earlier when somebody asked for that."""
        self._wakes_ns[object_id] = min(at_ns, self._wakes_ns.get(object_id, at_ns))

    def wakes_ns(self) -> dict[str, int]:
        """When each object wants another look, in nanoseconds since the epoch."""
        return dict(self._wakes_ns)

    # Tasks

    def assign_all(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.touched[TASK, task.id] = None
        super().assign_all(tasks)

    def set_desired(self, task: Task, state: TaskState.ValueType) -> Task:
        """The task with its desired state moved forward to `state`; as it is when it is there already."""
        if task.desired_state >= state:
            return task
        new = copy_of(task)
        new.desired_state = state
        self.put(TASK, new)
        return new

    def set_status(self, task: Task, state: TaskState.ValueType, message: str, err: str = "") -> Task:
        """The task with another observed state, by the manager itself; as it is when it says that already."""
        status = task.status
        if status.state == state and status.message == message and status.err == err:
            return task
        new = copy_of(task)
        if status.state != state:
            new.status.timestamp.CopyFrom(self.now)
        new.status.state = state
        new.status.message = message
        new.status.err = err
        self.put(TASK, new)
        return new

    # The result

    def changes(self) -> list[Change]:
        """What differs from the base, with the versions it was decided on; new tasks after all else, deletions last."""
        ranked: dict[int, list[Change]] = {}
        for kind, object_id in self.touched:
            if (change := self._change(kind, object_id)) is not None:
                ranked.setdefault(_rank(change), []).append(change)
        return [change for rank in sorted(ranked) for change in ranked[rank]]

    def _change(self, kind: int, object_id: str) -> Change | None:
        old, new = self.base.get(kind, object_id), self.get(kind, object_id)
        if old is None and new is None:
            return None
        version = 0 if old is None else old.meta.version.index
        if new is None:
            return Change(kind=kind, id=object_id, delete=True, expected_version=version)  # type: ignore[arg-type]  # an ObjectKind
        if old is not None and old == new:
            return None
        change = Change(kind=kind, id=object_id, expected_version=version)  # type: ignore[arg-type]  # an ObjectKind
        getattr(change.object, KINDS[kind].noun).CopyFrom(new)
        return change


def copy_of(obj: S) -> S:
    """A copy that may be changed."""
    new = type(obj)()
    new.CopyFrom(obj)  # type: ignore[arg-type]  # of the same type
    return new


def _rank(change: Change) -> int:
    if change.delete:
        return 9
    return _RANK.get(change.kind, 4) + (change.kind == TASK and not change.expected_version)
