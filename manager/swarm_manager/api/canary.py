"""A change of a service's spec as it is written: with the canary that it begins, or that it is a part of."""

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.control_pb2 import UpdateServiceRequest
from swarm_api.objects_pb2 import Service, UpdateStatus
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import Share
from swarm_api.validation_words import share_problems

from swarm_manager.api.auth import caller_name
from swarm_manager.api.writes import copy_of
from swarm_manager.core import status
from swarm_manager.core.orchestrate.canary import follow_change, is_held_back, size_of
from swarm_manager.core.orchestrate.outdated import is_replacing
from swarm_manager.core.snapshot import View
from swarm_manager.errors import BadRequestError, RefusedError

_STOPPED = frozenset({UpdateStatus.PAUSED, UpdateStatus.ROLLBACK_PAUSED})
_MODES = frozenset({None, "replicated", "global"})


def respecified(service: Service, spec: ServiceSpec, at: Timestamp, asked: Share | None = None) -> Service:
    """A copy of the service with another spec, changed by the caller; the service itself when nothing changes.

    `asked`: a user wants the change on this share of the tasks only. Otherwise the spec's own setting counts.
    """
    if spec == service.spec and asked is None:
        return service
    changed = copy_of(service)
    changed.spec.CopyFrom(spec)
    changed.spec_changed_by = caller_name()
    follow_change(service, changed, asked, at)
    return changed


def canary_asked(view: View, service: Service, spec: ServiceSpec, request: UpdateServiceRequest) -> Share | None:
    """The share that a request names, None for none; raises ManagerError where it makes no sense."""
    if not request.HasField("canary"):
        return None
    problems = list(share_problems("canary", request.canary))
    if problems:
        raise BadRequestError(" ".join(problems))
    name = service.spec.annotations.name
    if spec.WhichOneof("mode") not in _MODES:
        raise RefusedError(f"Service {name} is a job, whose tasks are not replaced; update it without a canary.")
    if not is_held_back(service):
        _refuse_beginning(service, spec)
    _refuse_everything(view, service, spec, request.canary)
    return request.canary


def _refuse_beginning(service: Service, spec: ServiceSpec) -> None:
    name = service.spec.annotations.name
    if not is_replacing(service.spec, spec):
        raise RefusedError(
            f"This update of {name} replaces no task, so there is nothing to try on a few; update it without a canary."
        )
    if service.update_status.state in _STOPPED:
        raise RefusedError(
            f"The update of {name} is paused, so its tasks are not of one version; resume it or roll it back before a "
            "canary."
        )


def _refuse_everything(view: View, service: Service, spec: ServiceSpec, share: Share) -> None:
    total = spec.replicated.replicas if spec.HasField("replicated") else status.progress(view, service.id).wanted
    if (share.HasField("tasks") and share.tasks >= total) or size_of(share, total) >= total:
        asked = f"{share.tasks}" if share.HasField("tasks") else f"{share.percent} %"
        raise RefusedError(
            f"A canary of {asked} is all of {service.spec.annotations.name}, which has {total} "
            f"task{'' if total == 1 else 's'}; take fewer, or update it without a canary."
        )
