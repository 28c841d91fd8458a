"""Configs: files that services read; unlike secrets, their data may be read back."""

from typing import Any

from swarm_api.control_pb2 import (
    CreateConfigRequest,
    CreateConfigResponse,
    GetConfigResponse,
    GetRequest,
    ListConfigsResponse,
    ListRequest,
    RemoveRequest,
    RemoveResponse,
    UpdateConfigRequest,
    UpdateConfigResponse,
)
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Config, ObjectKind

from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find, select
from swarm_manager.api.references import refuse_in_use, refuse_taken_name, users_of_config
from swarm_manager.api.versions import renewed, versions_of, wanted_spec
from swarm_manager.api.writes import Edit, check_spec, write
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import timestamp


class ConfigRpcs(Desk):
    """ListConfigs, GetConfig, CreateConfig, UpdateConfig, RemoveConfig."""

    async def ListConfigs(self, request: ListRequest, context: Any) -> ListConfigsResponse:  # noqa: N802, ARG002 - gRPC's
        """All configs."""
        view = await self._view(stale=request.stale)
        return ListConfigsResponse(configs=select(view.configs.values(), request.filter))

    async def GetConfig(self, request: GetRequest, context: Any) -> GetConfigResponse:  # noqa: N802, ARG002 - gRPC's
        """One config."""
        view = await self._view(stale=request.stale)
        return GetConfigResponse(config=find(view, ObjectKind.CONFIG, request.id, Config))

    async def CreateConfig(self, request: CreateConfigRequest, context: Any) -> CreateConfigResponse:  # noqa: N802, ARG002 - gRPC's
        """Store a config under a new name."""
        check_spec(request.spec)

        def decide(snapshot: Snapshot, edit: Edit) -> CreateConfigResponse:
            refuse_taken_name(snapshot, ObjectKind.CONFIG, request.spec.annotations.name)
            config = Config(id=new_id(), spec=request.spec)
            edit.create(config)
            return CreateConfigResponse(config=config)

        return await write(self._store, request.request_id, CreateConfigResponse, decide)

    async def UpdateConfig(self, request: UpdateConfigRequest, context: Any) -> UpdateConfigResponse:  # noqa: N802, ARG002 - gRPC's
        """Give a config other data or labels; other data replaces the tasks that use it."""

        def decide(snapshot: Snapshot, edit: Edit) -> UpdateConfigResponse:
            existing = find(snapshot, ObjectKind.CONFIG, request.id, Config)
            spec = wanted_spec(existing, request.spec)
            if spec == existing.spec:
                return UpdateConfigResponse(config=existing)
            renewal = renewed(snapshot, existing, spec, timestamp(edit.at_ns))
            renewal.record(edit, snapshot)
            for service in renewal.users:
                edit.update(service)
            return UpdateConfigResponse(config=renewal.current, service_ids=[s.id for s in renewal.users])

        return await write(self._store, request.request_id, UpdateConfigResponse, decide)

    async def RemoveConfig(self, request: RemoveRequest, context: Any) -> RemoveResponse:  # noqa: N802, ARG002 - gRPC's
        """Forget a config that no service uses."""

        def decide(snapshot: Snapshot, edit: Edit) -> RemoveResponse:
            config = find(snapshot, ObjectKind.CONFIG, request.id, Config)
            versions = [config, *versions_of(snapshot, config)]
            users = [user for version in versions for user in users_of_config(snapshot, version.id)]
            refuse_in_use(f"config {config.spec.annotations.name}", users)
            for version in versions:
                edit.delete(version)
            return RemoveResponse(id=config.id)

        return await write(self._store, request.request_id, RemoveResponse, decide)
