"""What changed between two snapshots, for watchers and for the control loops."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from swarm_api.store_pb2 import ChangeSet

from swarm_manager.core.kinds import KINDS, Stored
from swarm_manager.core.snapshot import View


class Action(Enum):
    """What happened to an object."""

    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Event:
    """One object that changed: `old` is None when created, `new` is None when removed."""

    kind: int
    action: Action
    id: str
    old: Stored | None
    new: Stored | None


def events(old: View, new: View, entry: ChangeSet) -> list[Event]:
    """What the entry changed, old and new being the snapshots before and after it, in the entry's order.

    An entry without effect gives none. The cost is in the size of the entry.
    """
    seen = dict.fromkeys((change.kind, change.id) for change in entry.changes)
    return [event for kind, object_id in seen if (event := _event(kind, object_id, old, new)) is not None]


def events_between(old: View, new: View) -> list[Event]:
    """All that differs between two snapshots however far apart, by kinds. The cost is in the size of the state."""
    return list(_differences(old, new))


def _differences(old: View, new: View) -> Iterator[Event]:
    for kind in KINDS:
        for object_id in _ids(old, kind) | _ids(new, kind):
            if (event := _event(kind, object_id, old, new)) is not None:
                yield event


def _ids(view: View, kind: int) -> set[str]:
    return {obj.id for obj in view.all_of(kind)}


def _event(kind: int, object_id: str, old: View, new: View) -> Event | None:
    if kind not in KINDS:
        return None
    before, after = old.get(kind, object_id), new.get(kind, object_id)
    if before is after:
        return None
    if before is None:
        return Event(kind, Action.CREATE, object_id, None, after)
    if after is None:
        return Event(kind, Action.REMOVE, object_id, before, None)
    if before == after:
        return None
    return Event(kind, Action.UPDATE, object_id, before, after)
