"""Nodes: the machines, their wanted role and availability."""

import asyncio
import time
from typing import Any

from swarm_api.control_pb2 import (
    GetNodeResponse,
    GetRequest,
    ListNodesResponse,
    ListRequest,
    RemoveNodeRequest,
    RemoveResponse,
    UpdateNodeRequest,
    UpdateNodeResponse,
)
from swarm_api.defaults import CERTIFICATE_VALIDITY_S
from swarm_api.objects_pb2 import Cluster, Node, ObjectKind
from swarm_api.types_pb2 import NodeRole, NodeState

from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find, select, shown_name
from swarm_manager.api.managers import health, refuse_losing_quorum, with_manager_status
from swarm_manager.api.writes import Edit, check_spec, copy_of, refuse_stale, write
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import SECOND_NS, duration_ns, ns, timestamp
from swarm_manager.core.warnings import node_warnings
from swarm_manager.errors import NotFoundError, RefusedError

_LOOKS, _LOOK_S = 15, 0.1


class NodeRpcs(Desk):
    """ListNodes, GetNode, UpdateNode, RemoveNode."""

    async def ListNodes(self, request: ListRequest, context: Any) -> ListNodesResponse:  # noqa: N802, ARG002 - gRPC's
        """All nodes that pass the filter; managers with what the leader knows of them."""
        view, raft = await self._view(stale=request.stale), self._store.raft
        chosen = select(view.nodes.values(), request.filter)
        warnings = node_warnings(view, health(raft), time.time_ns())
        return ListNodesResponse(
            nodes=[with_manager_status(node, raft) for node in chosen],
            warnings={node.id: warnings[node.id] for node in chosen if node.id in warnings},
        )

    async def GetNode(self, request: GetRequest, context: Any) -> GetNodeResponse:  # noqa: N802, ARG002 - gRPC's
        """One node."""
        view = await self._view(stale=request.stale)
        node = find(view, ObjectKind.NODE, request.id, Node)
        return GetNodeResponse(node=with_manager_status(node, self._store.raft))

    async def UpdateNode(self, request: UpdateNodeRequest, context: Any) -> UpdateNodeResponse:  # noqa: N802, ARG002 - gRPC's
        """Change labels, availability or role; a change of role follows within seconds."""
        check_spec(request.spec)

        def decide(snapshot: Snapshot, edit: Edit) -> UpdateNodeResponse:
            node = find(snapshot, ObjectKind.NODE, request.id, Node)
            refuse_stale(self._store, node, request.version.index, f"Node {shown_name(node)}")
            if node.spec.role == NodeRole.MANAGER and request.spec.role == NodeRole.WORKER:
                refuse_losing_quorum(snapshot, self._store.raft, node.id, "demoted")
            changed = copy_of(node)
            changed.spec.CopyFrom(request.spec)
            if changed.spec != node.spec:
                edit.update(changed)
            return UpdateNodeResponse(node=changed)

        return await write(self._store, request.request_id, UpdateNodeResponse, decide)

    async def RemoveNode(self, request: RemoveNodeRequest, context: Any) -> RemoveResponse:  # noqa: N802, ARG002 - gRPC's
        """Forget a node and revoke its certificate; its tasks are replaced elsewhere."""
        await self._until_taken_out(request.id)

        def decide(snapshot: Snapshot, edit: Edit) -> RemoveResponse:
            node = find(snapshot, ObjectKind.NODE, request.id, Node)
            self._refuse_removal(node, force=request.force)
            assert snapshot.cluster is not None
            edit.update(_revoking(snapshot.cluster, node, edit.at_ns))
            edit.delete(node)
            return RemoveResponse(id=node.id)

        return await write(self._store, request.request_id, RemoveResponse, decide)

    async def _until_taken_out(self, name: str) -> None:
        """Wait a little for a manager that was just demoted: people remove it with their next command."""
        view = await self._view()
        try:
            node = find(view, ObjectKind.NODE, name, Node)
        except NotFoundError:
            return  # perhaps a repetition, whose answer is remembered
        for _ in range(_LOOKS):
            if node.spec.role == NodeRole.MANAGER or node.id not in self._store.raft.members:
                return
            await asyncio.sleep(_LOOK_S)

    def _refuse_removal(self, node: Node, *, force: bool) -> None:
        name = shown_name(node)
        if node.spec.role == NodeRole.MANAGER:
            raise RefusedError(
                f"Node {name} is a manager; demote it first with 'swarm-cli node demote {name}', then remove it."
            )
        if node.id in self._store.raft.members:
            raise RefusedError(
                f"Node {name} was demoted and is not taken out of the managers yet; try again in a moment, and see "
                "'swarm-cli info' when that does not help."
            )
        if node.status.state == NodeState.READY_STATE and not force:
            raise RefusedError(
                f"Node {name} is up; run 'swarm-cli leave' on it first, or remove it all the same with --force."
            )


def _revoking(cluster: Cluster, node: Node, now_ns: int) -> Cluster:
    """The cluster with this node's certificates revoked; entries whose certificates have expired are dropped."""
    changed = copy_of(cluster)
    for known, expiry in cluster.revoked_nodes.items():
        if ns(expiry) < now_ns:
            del changed.revoked_nodes[known]
    changed.revoked_nodes[node.id].CopyFrom(timestamp(_last_expiry_ns(cluster, node, now_ns)))
    return changed


def _last_expiry_ns(cluster: Cluster, node: Node, now_ns: int) -> int:
    """When no certificate of the node is valid any more: not only its last one, which a lower setting cut short."""
    longest_ns = max(duration_ns(cluster.spec.certificate_validity), int(CERTIFICATE_VALIDITY_S * SECOND_NS))
    return max(now_ns + longest_ns, ns(node.certificate_ends))
