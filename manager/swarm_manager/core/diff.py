"""What changed between two snapshots, for watchers and for the control loops' dirty sets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from swarm_api.objects_pb2 import (
    CLUSTER,
    NETWORK,
    NODE,
    SERVICE,
    Task,
)
from swarm_api.store_pb2 import ChangeSet
from swarm_api.types_pb2 import ASSIGNED, STARTING

from swarm_manager.core.draft import is_live
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


#: In a dirty set: a task ended or went, so a node, an address or a port has room again.
FREED = "freed"


def dirty_ids(happened: Iterable[Event]) -> set[str]:
    """What the planner has to look at again: ids of services, nodes and networks that changed, and `FREED`.

    A task's change makes its service dirty, not its node: nodes are looked at when they themselves change. A task that
    is being prepared changes nothing for the planner before it starts.
    """
    dirty: set[str] = set()
    for event in happened:
        if _is_being_prepared(event.old, event.new):
            continue
        if event.kind in _PLANNED:
            dirty.add(event.id)
        if isinstance(event.old, Task):
            dirty.add(event.old.service_id)
            if is_live(event.old) and not (isinstance(event.new, Task) and is_live(event.new)):
                dirty.add(FREED)
        if isinstance(event.new, Task):
            dirty.add(event.new.service_id)
    return dirty


def _is_being_prepared(old: Stored | None, new: Stored | None) -> bool:
    """Whether an assigned task is being prepared, and nothing about it changed that is planned for."""
    if not isinstance(old, Task) or not isinstance(new, Task):
        return False
    return ASSIGNED <= old.status.state <= new.status.state < STARTING and old.desired_state == new.desired_state


_PLANNED = frozenset({NODE, SERVICE, NETWORK, CLUSTER})
