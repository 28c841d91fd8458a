"""What users tell an update to do: to pause, to go on, to promote its canary, to turn back."""

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.objects_pb2 import Service, UpdateStatus
from swarm_api.specs_pb2 import ServiceSpec

from swarm_manager.api.writes import copy_of
from swarm_manager.core.orchestrate.canary import is_held_back, promote
from swarm_manager.core.orchestrate.turn_back import spec_before_update
from swarm_manager.errors import NotFoundError, RefusedError

_PAUSED = {
    UpdateStatus.UPDATING: UpdateStatus.PAUSED,
    UpdateStatus.ROLLBACK_STARTED: UpdateStatus.ROLLBACK_PAUSED,
}
_RESUMED = {paused: running for running, paused in _PAUSED.items()}
_UNDER_WAY = frozenset({UpdateStatus.UPDATING, UpdateStatus.PAUSED, UpdateStatus.CANARY})
_WORDS = {UpdateStatus.UPDATING: "update", UpdateStatus.ROLLBACK_STARTED: "rollback"}


def paused(service: Service, who: str, at: Timestamp) -> Service:
    """The service with its update held: what was begun is finished, nothing more is replaced. Twice is once."""
    state = service.update_status.state
    if state in _RESUMED:
        return service
    if state not in _PAUSED:
        why = " (its canary waits to be promoted)" if state == UpdateStatus.CANARY else ""
        raise RefusedError(
            f"Service {service.spec.annotations.name} has no update under way that could be paused{why}."
        )
    changed = copy_of(service)
    changed.update_status.state = _PAUSED[state]
    changed.update_status.message = f"{_WORDS[state]} paused by {who or 'a user'} at {at.ToJsonString()}"
    return changed


def resumed(service: Service, who: str, at: Timestamp) -> Service:
    """The service with its paused update going on; failures from before do not pause it again. Twice is once."""
    state = service.update_status.state
    if state in _PAUSED:
        return service
    if state not in _RESUMED:
        raise RefusedError(f"Service {service.spec.annotations.name} has no paused update to resume.")
    changed = copy_of(service)
    running = _RESUMED[state]
    changed.update_status.state = running
    changed.update_status.resumed_at.CopyFrom(at)
    changed.update_status.message = f"{_WORDS[running]} resumed by {who or 'a user'}"
    return changed


def promoted(service: Service, who: str, at: Timestamp) -> Service:
    """The service with its canary's change on the way to all tasks. Twice is once."""
    if not service.HasField("canary"):
        raise RefusedError(f"Service {service.spec.annotations.name} has no canary that could be promoted.")
    if not is_held_back(service):
        return service
    changed = copy_of(service)
    promote(changed, who, at)
    return changed


def rolled_back(service: Service, to_version: int, at: Timestamp) -> Service:
    """The service with the spec it had before, or at a kept version, and a rollback to it begun; a canary is over."""
    changed = copy_of(service)
    changed.spec.CopyFrom(_kept_spec(service, to_version) if to_version else _spec_before(service))
    changed.ClearField("canary")
    changed.update_status.CopyFrom(
        UpdateStatus(state=UpdateStatus.ROLLBACK_STARTED, started_at=at, message="Rollback asked for by a user.")
    )
    return changed


def _kept_spec(service: Service, version: int) -> ServiceSpec:
    kept = {revision.version.index: revision.spec for revision in service.history}
    if version not in kept:
        known = ", ".join(str(index) for index in kept) or "none"
        name = service.spec.annotations.name
        raise NotFoundError(f"Service {name} has no kept version {version}; kept are: {known}.")
    return kept[version]


def _spec_before(service: Service) -> ServiceSpec:
    """Of a service whose update is under way: what it was before; else the previous spec."""
    before = spec_before_update(service) if service.update_status.state in _UNDER_WAY else None
    if before is not None:
        return before
    if not service.HasField("previous_spec"):
        raise RefusedError(f"Service {service.spec.annotations.name} has no earlier version to go back to.")
    return service.previous_spec
