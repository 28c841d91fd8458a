"""Pausing an update that is under way, and letting a paused one go on."""

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.objects_pb2 import Service, UpdateStatus

from swarm_manager.api.writes import copy_of
from swarm_manager.errors import RefusedError

_PAUSED = {
    UpdateStatus.UPDATING: UpdateStatus.PAUSED,
    UpdateStatus.ROLLBACK_STARTED: UpdateStatus.ROLLBACK_PAUSED,
}
_RESUMED = {paused: running for running, paused in _PAUSED.items()}
_WORDS = {UpdateStatus.UPDATING: "update", UpdateStatus.ROLLBACK_STARTED: "rollback"}


def paused(service: Service, who: str, at: Timestamp) -> Service:
    """The service with its update held: what was begun is finished, nothing more is replaced. Twice is once."""
    state = service.update_status.state
    if state in _RESUMED:
        return service
    if state not in _PAUSED:
        raise RefusedError(f"Service {service.spec.annotations.name} has no update under way that could be paused.")
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
