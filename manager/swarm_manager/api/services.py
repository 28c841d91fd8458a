"""Services: what users want to run.

An update names the version it was decided on.  It conflicts only when the *spec* changed since then: the planner
writes to a service too (its ports, its update's progress), and that takes nothing away from anybody's decision.
"""

from typing import Any

from swarm_api.control_pb2 import (
    CreateServiceRequest,
    CreateServiceResponse,
    GetRequest,
    GetServiceResponse,
    ListRequest,
    ListServicesResponse,
    RemoveRequest,
    RemoveResponse,
    UpdateServiceRequest,
    UpdateServiceResponse,
)
from swarm_api.differences import changed_fields
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import ObjectKind, Service
from swarm_api.specs_pb2 import ServiceSpec

from swarm_manager.api.auth import caller_name
from swarm_manager.api.canary import canary_asked, respecified
from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find, select
from swarm_manager.api.service_checks import settle
from swarm_manager.api.update_commands import paused, promoted, resumed, rolled_back
from swarm_manager.api.writes import Edit, copy_of, write
from swarm_manager.core import status
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import timestamp
from swarm_manager.errors import RefusedError, VersionConflictError

_COMMANDS = {
    UpdateServiceRequest.PAUSE: paused,
    UpdateServiceRequest.RESUME: resumed,
    UpdateServiceRequest.PROMOTE: promoted,
}


class ServiceRpcs(Desk):
    """ListServices, GetService, CreateService, UpdateService, RemoveService."""

    async def ListServices(self, request: ListRequest, context: Any) -> ListServicesResponse:  # noqa: N802, ARG002 - gRPC's
        """All services that pass the filter, and how each stands."""
        view = await self._view(stale=request.stale)
        chosen = select(view.services.values(), request.filter)
        return ListServicesResponse(services=chosen, progress={s.id: status.progress(view, s.id) for s in chosen})

    async def GetService(self, request: GetRequest, context: Any) -> GetServiceResponse:  # noqa: N802, ARG002 - gRPC's
        """One service, and how it stands."""
        view = await self._view(stale=request.stale)
        service = find(view, ObjectKind.SERVICE, request.id, Service)
        return GetServiceResponse(service=service, progress=status.progress(view, service.id))

    async def CreateService(self, request: CreateServiceRequest, context: Any) -> CreateServiceResponse:  # noqa: N802, ARG002 - gRPC's
        """Make a service; its tasks follow by themselves."""

        def decide(snapshot: Snapshot, edit: Edit) -> CreateServiceResponse:
            service = Service(id=new_id(), spec=settle(snapshot, request.spec), spec_changed_by=caller_name())
            edit.create(service)
            return CreateServiceResponse(service=service)

        return await write(self._store, request.request_id, CreateServiceResponse, decide)

    async def UpdateService(self, request: UpdateServiceRequest, context: Any) -> UpdateServiceResponse:  # noqa: N802, ARG002 - gRPC's
        """Give a service another spec, or an earlier one of its own; or hold its update, or let it go on."""

        def decide(snapshot: Snapshot, edit: Edit) -> UpdateServiceResponse:
            service = find(snapshot, ObjectKind.SERVICE, request.id, Service)
            _refuse_leaving(service)
            _refuse_stale(service, request.version.index)
            changed = _commanded(service, request, edit) or _respecified(snapshot, service, request, edit)
            if changed != service:
                edit.update(changed)
            return UpdateServiceResponse(service=changed)

        return await write(self._store, request.request_id, UpdateServiceResponse, decide)

    async def RemoveService(self, request: RemoveRequest, context: Any) -> RemoveResponse:  # noqa: N802, ARG002 - gRPC's
        """Take a service out; it is gone when its tasks have stopped."""

        def decide(snapshot: Snapshot, edit: Edit) -> RemoveResponse:
            service = find(snapshot, ObjectKind.SERVICE, request.id, Service)
            if not service.pending_delete:
                edit.update(leaving(service))
            return RemoveResponse(id=service.id)

        return await write(self._store, request.request_id, RemoveResponse, decide)


def leaving(service: Service) -> Service:
    """A copy that is marked as removed."""
    copy = copy_of(service)
    copy.pending_delete = True
    return copy


def _commanded(service: Service, request: UpdateServiceRequest, edit: Edit) -> Service | None:
    """The service with its update paused, resumed or promoted; None when the request is about its spec."""
    act = _COMMANDS.get(request.command)
    return act(service, caller_name(), timestamp(edit.at_ns)) if act is not None else None


def _respecified(snapshot: Snapshot, service: Service, request: UpdateServiceRequest, edit: Edit) -> Service:
    if not request.rollback:
        spec = settle(snapshot, request.spec, service)
        asked = canary_asked(snapshot, service, spec, request)
        return respecified(service, spec, timestamp(edit.at_ns), asked)
    changed = rolled_back(service, request.rollback_to, timestamp(edit.at_ns))
    changed.spec.CopyFrom(settle(snapshot, changed.spec, service))
    if changed.spec == service.spec:
        return service
    changed.spec_changed_by = caller_name()
    return changed


def _refuse_leaving(service: Service) -> None:
    if service.pending_delete:
        raise RefusedError(f"Service {service.spec.annotations.name} was removed; its last tasks are being stopped.")


def _refuse_stale(service: Service, decided_on: int) -> None:
    if not decided_on or service.spec_version.index <= decided_on:
        return
    before = _spec_at(service, decided_on)
    what = f" ({changed_fields(before, service.spec)})" if before is not None else ""
    who = service.spec_changed_by or "somebody else"
    raise VersionConflictError(
        f"Service {service.spec.annotations.name} was changed by {who}{what} after version {decided_on}, which "
        f"this update was decided on; look at version {service.meta.version.index} and update again."
    )


def _spec_at(service: Service, version: int) -> ServiceSpec | None:
    revisions = (revision.spec for revision in service.history if revision.version.index <= version)
    return next(revisions, None)
