"""A user's write: decide on a fresh snapshot, propose, and decide again when somebody was faster.

The change set carries the request's id and the reply.  Where that id is known already, the first reply comes back
and nothing is done, so that a request may be repeated through a failover.  Objects in a reply are shown as they are
after the commit, with the version it gave them.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from swarm_api import validation
from swarm_api.differences import changed_fields
from swarm_api.store_pb2 import ChangeSet

from swarm_manager.api.redact import redacted
from swarm_manager.core.codec import SCHEMA_VERSION
from swarm_manager.core.kinds import KIND_OF_NOUN, Stored, wrap
from swarm_manager.core.machine import Committed, Conflict
from swarm_manager.core.snapshot import Snapshot, View
from swarm_manager.core.times import timestamp
from swarm_manager.errors import BadRequestError, RefusedError, VersionConflictError
from swarm_manager.ports import Store

M = TypeVar("M", bound=Message)
_ATTEMPTS = 10


class Edit:
    """The changes one request makes."""

    def __init__(self, request_id: str = "") -> None:
        self.at_ns = time.time_ns()
        self.change_set = ChangeSet(schema_version=SCHEMA_VERSION, request_id=request_id)
        self.change_set.proposed_at.CopyFrom(timestamp(self.at_ns))

    def create(self, obj: Any) -> None:
        """Store a new object."""
        self._put(obj, 0)

    def update(self, obj: Any) -> None:
        """Store a changed copy of an object, on condition that nobody else changed it since it was read."""
        self._put(obj, obj.meta.version.index)

    def delete(self, obj: Any) -> None:
        """Remove an object, on the same condition."""
        change = self.change_set.changes.add(id=obj.id, delete=True, expected_version=obj.meta.version.index)
        change.kind = _kind_of(obj).number

    def _put(self, obj: Any, expected_version: int) -> None:
        kind = _kind_of(obj)
        change = self.change_set.changes.add(id=obj.id, expected_version=expected_version)
        change.kind = kind.number
        change.object.CopyFrom(wrap(kind, obj))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be changed."""
        return not self.change_set.changes


def _kind_of(obj: Message) -> Any:
    return KIND_OF_NOUN[obj.DESCRIPTOR.name.lower()]


#: Looks at a snapshot, records changes in the edit, returns the reply; raises ManagerError to refuse.
Decide = Callable[[Snapshot, Edit], M]


async def write(store: Store, request_id: str, reply_type: type[M], decide: Decide[M]) -> M:
    """The reply of a request that was decided and committed, now or by an earlier call with the same id."""
    refused: Conflict | None = None
    for _ in range(_ATTEMPTS):
        snapshot = await store.read()
        known = snapshot.requests.get(request_id) if request_id else None
        if known is not None:
            return _as_committed(reply_type.FromString(known.reply), snapshot)
        edit = Edit(request_id)
        reply = decide(snapshot, edit)
        if edit.is_empty:
            return reply
        edit.change_set.reply = _remembered(reply)
        outcome = await store.propose(edit.change_set)
        if isinstance(outcome, Committed):
            return _as_committed(reply_type.FromString(outcome.reply), store.snapshot)
        refused = outcome
    raise _give_up(refused)


def _give_up(refused: Conflict | None) -> Exception:
    reason = refused.reason if refused is not None else ""
    return VersionConflictError(reason) if refused is not None and refused.stale else RefusedError(reason)


def _remembered(reply: Message) -> bytes:
    """The reply as it is kept: of objects only the ids, for they are in the state themselves."""
    kept = copy_of(reply)
    for field, value in kept.ListFields():
        kind = KIND_OF_NOUN.get(field.name)
        if kind is not None and isinstance(value, kind.message):
            value.CopyFrom(kind.message(id=value.id))  # type: ignore[arg-type]  # of the same kind
    return kept.SerializeToString()


def _as_committed(reply: M, view: View) -> M:
    for field, value in reply.ListFields():
        kind = KIND_OF_NOUN.get(field.name)
        if kind is None or not isinstance(value, kind.message):
            continue
        stored = view.get(kind.number, value.id)
        if stored is not None:
            value.ParseFromString(redacted(stored).SerializeToString())
    return reply


def copy_of(message: M) -> M:
    """A copy that may be changed (what is in a snapshot may not)."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def check_spec(spec: Message) -> None:
    """Raise BadRequestError with everything that is wrong with a spec."""
    found = validation.problems(spec)
    if found:
        raise BadRequestError(" ".join(found))


def refuse_stale(store: Store, current: Stored, decided_on: int, what: str) -> None:
    """Raise VersionConflictError when the *spec* of a node or the cluster changed after version `decided_on`.

    The rest of the object may have changed: its status takes nothing away from anybody's decision.
    """
    version = current.meta.version.index
    if not decided_on or decided_on == version:
        return
    before = store.object_at(_kind_of(current).number, current.id, decided_on)
    if before is not None and _spec(before) == _spec(current):
        return
    changed = f" ({changed_fields(_spec(before), _spec(current))})" if before is not None else ""
    raise VersionConflictError(
        f"{what} was changed by somebody else{changed} after version {decided_on}, which this update was decided on; "
        f"look at version {version} and update again."
    )


def _spec(obj: Any) -> Message:
    spec: Message = obj.spec
    return spec
