"""The cluster as one thing: its settings, its join tokens and its unlock key."""

from typing import Any

from swarm_api.control_pb2 import (
    GetClusterRequest,
    GetClusterResponse,
    GetJoinTokensRequest,
    GetJoinTokensResponse,
    GetUnlockKeyRequest,
    GetUnlockKeyResponse,
    UnlockRequest,
    UnlockResponse,
    UpdateClusterRequest,
    UpdateClusterResponse,
)
from swarm_api.identity import make_token
from swarm_api.objects_pb2 import Cluster

from swarm_manager import pki
from swarm_manager.api.desk import Desk
from swarm_manager.api.managers import peers
from swarm_manager.api.redact import redacted
from swarm_manager.api.writes import Edit, check_spec, copy_of, refuse_stale, write
from swarm_manager.core.snapshot import Snapshot, View
from swarm_manager.errors import RefusedError, UnavailableError
from swarm_manager.unlock_key import new_unlock_key


class ClusterRpcs(Desk):
    """GetCluster, UpdateCluster, GetJoinTokens, GetUnlockKey, Unlock."""

    async def GetCluster(self, request: GetClusterRequest, context: Any) -> GetClusterResponse:  # noqa: N802, ARG002 - gRPC's
        """The cluster, without keys and tokens."""
        return GetClusterResponse(cluster=redacted(cluster_of(await self._view(stale=request.stale))))

    async def UpdateCluster(self, request: UpdateClusterRequest, context: Any) -> UpdateClusterResponse:  # noqa: N802, ARG002 - gRPC's
        """Change settings, and make new join tokens (an old one admits nobody any more) or a new unlock key."""
        if request.HasField("spec"):
            check_spec(request.spec)

        def decide(snapshot: Snapshot, edit: Edit) -> UpdateClusterResponse:
            cluster = cluster_of(snapshot)
            if request.HasField("spec"):
                refuse_stale(self._store, cluster, request.version.index, "The cluster")
            changed = _updated(cluster, request)
            if changed != cluster:
                edit.update(changed)
            return UpdateClusterResponse(cluster=redacted(changed))

        return await write(self._store, request.request_id, UpdateClusterResponse, decide)

    async def GetJoinTokens(self, request: GetJoinTokensRequest, context: Any) -> GetJoinTokensResponse:  # noqa: N802, ARG002 - gRPC's
        """The tokens in force, and where to join."""
        view = await self._view()
        raft = self._store.raft
        leader_first = sorted(peers(raft), key=lambda peer: peer.node_id != raft.leader_id)
        addresses = [peer.address for peer in leader_first]
        return GetJoinTokensResponse(tokens=cluster_of(view).root_ca.join_tokens, manager_addresses=addresses)

    async def GetUnlockKey(self, request: GetUnlockKeyRequest, context: Any) -> GetUnlockKeyResponse:  # noqa: N802, ARG002 - gRPC's
        """The unlock key in force; empty when autolock is off."""
        return GetUnlockKeyResponse(unlock_key=cluster_of(await self._view()).unlock_key)

    async def Unlock(self, request: UnlockRequest, context: Any) -> UnlockResponse:  # noqa: N802, ARG002 - gRPC's
        """A manager that is locked is not yet here (locking.py)."""
        raise RefusedError("This manager is not locked.")


def cluster_of(view: View) -> Cluster:
    """The cluster object; UnavailableError in the first moments, before it is committed."""
    if view.cluster is None:
        raise UnavailableError("The cluster is being made; try again in a moment.")
    return view.cluster


def _updated(cluster: Cluster, request: UpdateClusterRequest) -> Cluster:
    changed = copy_of(cluster)
    if request.HasField("spec"):
        changed.spec.CopyFrom(request.spec)
    tokens = changed.root_ca.join_tokens
    if request.rotate_worker_token:
        tokens.worker = _new_token(cluster)
    if request.rotate_manager_token:
        tokens.manager = _new_token(cluster)
    changed.unlock_key = _unlock_key(changed, rotate=request.rotate_unlock_key)
    return changed


def _unlock_key(cluster: Cluster, *, rotate: bool) -> str:
    """What the cluster's settings want for an unlock key."""
    if rotate and not cluster.spec.autolock:
        raise RefusedError(
            "There is no unlock key to rotate: turn autolock on with 'swarm-cli cluster update --autolock on'."
        )
    if not cluster.spec.autolock:
        return ""
    return new_unlock_key() if rotate or not cluster.unlock_key else cluster.unlock_key


def _new_token(cluster: Cluster) -> str:
    return str(make_token(cluster.root_ca.certificate_pem, pki.new_secret()))
