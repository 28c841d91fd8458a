"""The replicated state machine: one committed `ChangeSet` makes the next snapshot.

Theory of operation
    `apply` is a function of the snapshot, the Raft index and the entry, on every manager the same: it reads no
    clock, draws nothing at random and never raises.  An entry takes effect wholly or not at all; what was wrong with
    it is the `Conflict` its proposer gets.  An entry without effect still moves the snapshot's index.

    What only the commit can know is stamped here, whatever the proposal says: `meta` (version from the index,
    times from `proposed_at`), for tasks since when they are in their state, and for services `spec_version`,
    `previous_spec` and `history`, which change when, and only when, the spec does.  A change of the spec that has
    tasks replaced and says nothing new of the update's progress clears it: a new update never inherits "paused" from
    the one before.  Any other change lets the update that is under way go on.

    Rules that hold whoever proposes: expected versions, unique names and published ports, tasks' states that only
    move forward, and a task's spec, service and slot that never change.
"""

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.defaults import SERVICE_HISTORY_LIMIT
from swarm_api.objects_pb2 import (
    CLUSTER,
    SERVICE,
    TASK,
    Service,
    SpecRevision,
    Task,
    UpdateStatus,
)
from swarm_api.states import may_advance, state_name
from swarm_api.store_pb2 import Change, ChangeSet, RememberedRequest
from swarm_api.types_pb2 import Meta

from swarm_manager.core.codec import REMEMBERED_REQUESTS, SCHEMA_VERSION, SnapshotError, dump, load
from swarm_manager.core.draft import Draft, published_ports
from swarm_manager.core.kinds import KINDS, Kind, Stored, is_leaving, name_of, unwrap
from swarm_manager.core.lifetime import note_state
from swarm_manager.core.orchestrate.outdated import is_replacing
from swarm_manager.core.snapshot import Snapshot

__all__ = ["Committed", "Conflict", "Outcome", "SnapshotError", "apply", "dump", "load"]


@dataclass(frozen=True, slots=True)
class Committed:
    """The entry took effect at `index`; `reply` is what the API answers. `repeated`: it had done so before."""

    index: int
    reply: bytes
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """The entry had no effect; `reason` is a sentence for people. `kind` 0: the entry as a whole was wrong.

    `stale`: the proposer decided on a state that is no longer; deciding anew may succeed.
    """

    kind: int
    id: str
    reason: str
    stale: bool = False


Outcome = Committed | Conflict


def apply(snapshot: Snapshot, index: int, entry: ChangeSet) -> tuple[Snapshot, Outcome]:
    """The snapshot after the entry, and what became of the entry. Never raises."""
    if index <= snapshot.index:
        return snapshot, Conflict(0, "", f"Entry {index} was applied before.")
    draft = Draft(snapshot)
    if (known := draft.requests.get(entry.request_id)) is not None and entry.request_id:
        return draft.snapshot(index), Committed(known.index, known.reply, repeated=True)
    refused = _refused_as_a_whole(entry) or _apply_all(draft, index, entry)
    if refused is not None:
        return Draft(snapshot).snapshot(index), refused
    if entry.request_id:
        draft.remember(_remembered(index, entry), REMEMBERED_REQUESTS)
    return draft.snapshot(index), Committed(index, entry.reply)


def _refused_as_a_whole(entry: ChangeSet) -> Conflict | None:
    if entry.schema_version > SCHEMA_VERSION:
        return Conflict(0, "", f"The entry has schema version {entry.schema_version}; upgrade this manager first.")
    return None


def _apply_all(draft: Draft, index: int, entry: ChangeSet) -> Conflict | None:
    for change in entry.changes:
        if (conflict := _apply_one(draft, index, entry.proposed_at, change)) is not None:
            return conflict
    return None


def _remembered(index: int, entry: ChangeSet) -> RememberedRequest:
    return RememberedRequest(request_id=entry.request_id, index=index, at=entry.proposed_at, reply=entry.reply)


def _apply_one(draft: Draft, index: int, at: Timestamp, change: Change) -> Conflict | None:
    kind = KINDS.get(change.kind)
    if kind is None or not change.id:
        return Conflict(change.kind, change.id, "A change names no kind of object or no id.")
    old = draft.get(kind.number, change.id)
    if (conflict := _version_conflict(kind, change, old)) is not None:
        return conflict
    if change.delete:
        draft.delete(kind.number, change.id)
        return None
    return _put(draft, index, at, kind, change, old)


def _put(draft: Draft, index: int, at: Timestamp, kind: Kind, change: Change, old: Stored | None) -> Conflict | None:
    found = unwrap(change.object)
    if found is None or found[0] is not kind or found[1].id != change.id:
        return Conflict(change.kind, change.id, f"The change of {kind.noun} {change.id} carries another object.")
    new = found[1]
    if (conflict := _rule_broken(draft, kind, old, new)) is not None:
        return conflict
    _stamp(new, old, index, at)
    draft.put(kind.number, new)
    return None


def _version_conflict(kind: Kind, change: Change, old: Stored | None) -> Conflict | None:
    if not change.HasField("expected_version"):
        return None
    have = 0 if old is None else _version(old)
    if have == change.expected_version:
        return None
    if have == 0:
        reason = f"The {kind.noun} {change.id} is gone."
    elif change.expected_version == 0:
        reason = f"The {kind.noun} {change.id} exists already."
    else:
        reason = (
            f"The {kind.noun} {name_of(old) if old else ''} ({change.id}) was changed by somebody else: "
            f"it is at version {have}, the change was decided on version {change.expected_version}."
        )
    return Conflict(kind.number, change.id, reason, stale=True)


def _version(obj: Stored) -> int:
    version: int = obj.meta.version.index
    return version


def _rule_broken(draft: Draft, kind: Kind, old: Stored | None, new: Stored) -> Conflict | None:
    if isinstance(new, Task):
        return _task_rule_broken(old if isinstance(old, Task) else None, new)
    if kind.number == CLUSTER and draft.cluster is not None and draft.cluster.id != new.id:
        return Conflict(kind.number, draft.cluster.id, "There is a cluster already.")
    if kind.unique_names and (conflict := _name_taken(draft, kind, new)) is not None:
        return conflict
    return _port_taken(draft, new) if isinstance(new, Service) else None


def _name_taken(draft: Draft, kind: Kind, new: Stored) -> Conflict | None:
    name = name_of(new)
    if not name:
        return Conflict(kind.number, new.id, f"A {kind.noun} needs a name.")
    owner = draft.id_of_name(kind.number, name)
    if owner is None or owner == new.id or is_leaving(new):
        return None
    return Conflict(kind.number, owner, f"A {kind.noun} named {name} exists already.")


def _port_taken(draft: Draft, new: Service) -> Conflict | None:
    for key in published_ports(new):
        owner = draft.published.get(key)
        if owner is not None and owner != new.id:
            protocol, number = key.split("/")
            name = draft.services[owner].spec.annotations.name
            reason = f"Port {number}/{protocol} is already published by service {name}."
            return Conflict(SERVICE, owner, reason)
    return None


def _task_rule_broken(old: Task | None, new: Task) -> Conflict | None:
    if old is None:
        return None
    if old.service_id != new.service_id or old.slot != new.slot or old.spec != new.spec:
        return Conflict(TASK, new.id, f"The spec, service and slot of task {new.id} cannot change.")
    if new.desired_state < old.desired_state:
        return _backwards(new, "desired", old.desired_state, new.desired_state)
    if new.status.state != old.status.state and not may_advance(old.status.state, new.status.state):
        return _backwards(new, "observed", old.status.state, new.status.state)
    if old.node_id and new.node_id != old.node_id:
        return Conflict(TASK, new.id, f"Task {new.id} cannot move to another node; it can be replaced.")
    return None


def _backwards(task: Task, which: str, old: int, new: int) -> Conflict:
    reason = f"The {which} state of task {task.id} cannot go from {state_name(old)} to {state_name(new)}."
    return Conflict(TASK, task.id, reason, stale=True)


def _stamp(new: Stored, old: Stored | None, index: int, at: Timestamp) -> None:
    meta: Meta = new.meta
    meta.CopyFrom(Meta(created_at=at if old is None else old.meta.created_at, updated_at=at))
    meta.version.index = index
    if isinstance(new, Task):
        note_state(new.status, at)
    elif isinstance(new, Service):
        _stamp_service(new, old if isinstance(old, Service) else None, index, at)


def _stamp_service(new: Service, old: Service | None, index: int, at: Timestamp) -> None:
    if old is None:
        new.spec_version.index = index
        new.ClearField("previous_spec")
        new.ClearField("history")
        return
    _keep_revisions(new, old)
    _count_iteration(new, old)
    if new.spec == old.spec:
        return
    new.spec_version.index = index
    new.previous_spec.CopyFrom(old.spec)
    replaced = SpecRevision(version=old.spec_version, spec=old.spec, replaced_at=at, changed_by=old.spec_changed_by)
    kept = [replaced, *old.history]
    new.ClearField("history")
    new.history.extend(kept[:SERVICE_HISTORY_LIMIT])
    if new.update_status == old.update_status and is_replacing(old.spec, new.spec):
        new.update_status.CopyFrom(UpdateStatus())


def _count_iteration(new: Service, old: Service) -> None:
    """A job that is forced runs once more."""
    is_job = new.spec.WhichOneof("mode") in ("replicated_job", "global_job")
    if is_job and new.spec.task.force_update > old.spec.task.force_update:
        new.job_iteration.index = old.job_iteration.index + 1


def _keep_revisions(new: Service, old: Service) -> None:
    new.spec_version.CopyFrom(old.spec_version)
    new.ClearField("history")
    new.history.extend(old.history)
    if old.HasField("previous_spec"):
        new.previous_spec.CopyFrom(old.previous_spec)
    else:
        new.ClearField("previous_spec")
