"""The planner's working copy: what one pass decides, the next one sees; in the end it tells what changed."""

from collections.abc import Iterator
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
from swarm_manager.core.kinds import KINDS, Stored, wrap
from swarm_manager.core.snapshot import View
from swarm_manager.core.times import ns

S = TypeVar("S", bound=Stored)

#: The order of changes: each beginning of it is a valid state. Tasks come after what they refer to.
_RANK = {
    NETWORK: 0,
    SERVICE: 1,
    TASK: 2,
}


class Scratch(Draft):
    """A draft that remembers what was touched, and for whom time has to pass."""

    __slots__ = ("_wakes_ns", "base", "fresh_ids", "now", "now_ns", "touched")

    def __init__(self, base: View, now: Timestamp, ids: Iterator[str]) -> None:
        super().__init__(base)
        self.base = base
        self.now = now
        self.now_ns = ns(now)
        self.fresh_ids = ids
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
        ranked = [
            (_rank(change), number, change)
            for number, key in enumerate(self.touched)
            if (change := self._change(*key)) is not None
        ]
        return [change for _, _, change in sorted(ranked, key=lambda item: item[:2])]

    def _change(self, kind: int, object_id: str) -> Change | None:
        old, new = self.base.get(kind, object_id), self.get(kind, object_id)
        if new is None and old is None:
            return None
        version = 0 if old is None else old.meta.version.index
        if new is None:
            return Change(kind=kind, id=object_id, delete=True, expected_version=version)  # type: ignore[arg-type]  # an ObjectKind
        if old == new:
            return None
        return Change(kind=kind, id=object_id, object=wrap(KINDS[kind], new), expected_version=version)  # type: ignore[arg-type]  # an ObjectKind


def copy_of(obj: S) -> S:
    """A copy that may be changed."""
    new = type(obj)()
    new.CopyFrom(obj)  # type: ignore[arg-type]  # of the same type
    return new


def _rank(change: Change) -> int:
    if change.delete:
        return 9
    return _RANK.get(change.kind, 4) + (change.kind == TASK and not change.expected_version)
