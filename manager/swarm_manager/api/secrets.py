"""Secrets: their data goes in and never comes out again, except to workers that run a task which uses it."""

from typing import Any

from swarm_api.control_pb2 import (
    CreateSecretRequest,
    CreateSecretResponse,
    GetRequest,
    GetSecretResponse,
    ListRequest,
    ListSecretsResponse,
    RemoveRequest,
    RemoveResponse,
    UpdateSecretRequest,
    UpdateSecretResponse,
)
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import ObjectKind, Secret

from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find, select
from swarm_manager.api.redact import redacted
from swarm_manager.api.references import refuse_in_use, refuse_taken_name, users_of_secret
from swarm_manager.api.versions import renewed, versions_of, wanted_spec
from swarm_manager.api.writes import Edit, check_spec, write
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import timestamp


class SecretRpcs(Desk):
    """ListSecrets, GetSecret, CreateSecret, UpdateSecret, RemoveSecret."""

    async def ListSecrets(self, request: ListRequest, context: Any) -> ListSecretsResponse:  # noqa: N802, ARG002 - gRPC's
        """All secrets, without their data."""
        view = await self._view(stale=request.stale)
        chosen = select(view.secrets.values(), request.filter)
        return ListSecretsResponse(secrets=[redacted(secret) for secret in chosen])

    async def GetSecret(self, request: GetRequest, context: Any) -> GetSecretResponse:  # noqa: N802, ARG002 - gRPC's
        """One secret, without its data."""
        view = await self._view(stale=request.stale)
        return GetSecretResponse(secret=redacted(find(view, ObjectKind.SECRET, request.id, Secret)))

    async def CreateSecret(self, request: CreateSecretRequest, context: Any) -> CreateSecretResponse:  # noqa: N802, ARG002 - gRPC's
        """Store a secret under a new name."""
        check_spec(request.spec)

        def decide(snapshot: Snapshot, edit: Edit) -> CreateSecretResponse:
            refuse_taken_name(snapshot, ObjectKind.SECRET, request.spec.annotations.name)
            secret = Secret(id=new_id(), spec=request.spec)
            edit.create(secret)
            return CreateSecretResponse(secret=redacted(secret))

        return await write(self._store, request.request_id, CreateSecretResponse, decide)

    async def UpdateSecret(self, request: UpdateSecretRequest, context: Any) -> UpdateSecretResponse:  # noqa: N802, ARG002 - gRPC's
        """Give a secret other data or labels; other data replaces the tasks that use it."""

        def decide(snapshot: Snapshot, edit: Edit) -> UpdateSecretResponse:
            existing = find(snapshot, ObjectKind.SECRET, request.id, Secret)
            spec = wanted_spec(existing, request.spec)
            if spec == existing.spec:
                return UpdateSecretResponse(secret=redacted(existing))
            renewal = renewed(snapshot, existing, spec, timestamp(edit.at_ns))
            renewal.record(edit, snapshot)
            for service in renewal.users:
                edit.update(service)
            return UpdateSecretResponse(secret=redacted(renewal.current), service_ids=[s.id for s in renewal.users])

        return await write(self._store, request.request_id, UpdateSecretResponse, decide)

    async def RemoveSecret(self, request: RemoveRequest, context: Any) -> RemoveResponse:  # noqa: N802, ARG002 - gRPC's
        """Forget a secret that no service uses."""

        def decide(snapshot: Snapshot, edit: Edit) -> RemoveResponse:
            secret = find(snapshot, ObjectKind.SECRET, request.id, Secret)
            versions = [secret, *versions_of(snapshot, secret)]
            users = [user for version in versions for user in users_of_secret(snapshot, version.id)]
            refuse_in_use(f"secret {secret.spec.annotations.name}", users)
            for version in versions:
                edit.delete(version)
            return RemoveResponse(id=secret.id)

        return await write(self._store, request.request_id, RemoveResponse, decide)
