"""Certificates: how a machine becomes a node, and stays one.

The private key of the CA is in the replicated state, so whichever manager leads can sign.
"""

from datetime import timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.ca_pb2 import (
    IssueAdminCertificateRequest,
    IssueAdminCertificateResponse,
    IssueNodeCertificateRequest,
    IssueNodeCertificateResponse,
    ReissueNodeCertificateRequest,
    RenewNodeCertificateRequest,
)
from swarm_api.ca_pb2_grpc import CaServicer
from swarm_api.defaults import CERTIFICATE_VALIDITY_S
from swarm_api.identity import (
    JOINER_MANAGER,
    ROLE_ADMIN,
    ROLE_MANAGER,
    ROLE_WORKER,
    CertificateError,
    load_certificate,
    utc_now,
)
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Cluster, Node
from swarm_api.reissue import proven_identity
from swarm_api.types_pb2 import NodeRole, NodeState

from swarm_manager import pki
from swarm_manager.api.auth import caller
from swarm_manager.api.cluster import cluster_of
from swarm_manager.api.desk import Desk
from swarm_manager.api.managers import peers
from swarm_manager.api.writes import Edit, copy_of, write
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import duration_ns, timestamp
from swarm_manager.errors import DeniedError, NotFoundError
from swarm_manager.ports import RaftView


class CaRpcs(Desk, CaServicer):
    """IssueNodeCertificate, RenewNodeCertificate, ReissueNodeCertificate, IssueAdminCertificate."""

    async def IssueNodeCertificate(  # noqa: N802 - gRPC's
        self,
        request: IssueNodeCertificateRequest,
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> IssueNodeCertificateResponse:
        """A holder of a join token becomes a node with the token's role."""
        role = NodeRole.MANAGER if caller().role == JOINER_MANAGER else NodeRole.WORKER

        def decide(snapshot: Snapshot, edit: Edit) -> IssueNodeCertificateResponse:
            node = _new_node(request, role, edit)
            answer = _issued(cluster_of(snapshot), self._store.raft, request.csr_pem, node.id, role)
            node.certificate_ends.CopyFrom(_end_of(answer))
            edit.create(node)
            return answer

        return await write(self._store, request.request_id, IssueNodeCertificateResponse, decide)

    async def RenewNodeCertificate(  # noqa: N802 - gRPC's
        self,
        request: RenewNodeCertificateRequest,
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> IssueNodeCertificateResponse:
        """A node gets a fresh certificate, with the role it is to have now."""
        return await self._renewed(caller().node_id, request.csr_pem, may_manage=True)

    async def ReissueNodeCertificate(  # noqa: N802 - gRPC's
        self,
        request: ReissueNodeCertificateRequest,
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> IssueNodeCertificateResponse:
        """The same for a node that let its certificate end: it has a join token, and proves whose it was."""
        cluster = cluster_of(await self._view())
        node_id = _proven_node(request, cluster)
        may_manage = caller().role == JOINER_MANAGER
        return await self._renewed(node_id, request.csr_pem, may_manage=may_manage)

    async def _renewed(self, node_id: str, csr_pem: bytes, *, may_manage: bool) -> IssueNodeCertificateResponse:
        def decide(snapshot: Snapshot, edit: Edit) -> IssueNodeCertificateResponse:
            node = snapshot.nodes.get(node_id)
            if node is None:
                raise NotFoundError(f"Node {node_id} is not part of the cluster any more; join it again.")
            role = effective_role(node, is_member=node_id in self._store.raft.members)
            if role == NodeRole.MANAGER and not may_manage:
                raise DeniedError(
                    f"node {node_id} is a manager, and that takes the managers' token: get it with "
                    "'swarm-cli join-token manager'"
                )
            answer = _issued(cluster_of(snapshot), self._store.raft, csr_pem, node_id, role)
            changed = copy_of(node)
            changed.role = role
            changed.certificate_ends.CopyFrom(_end_of(answer))
            edit.update(changed)
            return answer

        return await write(self._store, "", IssueNodeCertificateResponse, decide)

    async def IssueAdminCertificate(  # noqa: N802 - gRPC's
        self,
        request: IssueAdminCertificateRequest,
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> IssueAdminCertificateResponse:
        """A person's certificate."""
        view = await self._view()
        cluster = cluster_of(view)
        certificate = _sign(cluster, request.csr_pem, request.name or "admin", ROLE_ADMIN)
        return IssueAdminCertificateResponse(
            certificate_pem=certificate, ca_pem=cluster.root_ca.certificate_pem, managers=peers(self._store.raft)
        )


def effective_role(node: Node, *, is_member: bool) -> "NodeRole.ValueType":
    """The role a node is to take on now: a demoted manager stays one until it is out of Raft.

    Else a cluster of two managers would lose its quorum: the one that goes would stop before it is removed.
    """
    return NodeRole.MANAGER if is_member else node.spec.role


def _proven_node(request: ReissueNodeCertificateRequest, cluster: Cluster) -> str:
    """The node whose ended certificate this is; DeniedError when that is not proven."""
    ca_pem = cluster.root_ca.certificate_pem
    try:
        identity = proven_identity(request.old_certificate_pem, request.csr_pem, request.signature, ca_pem)
    except CertificateError as error:
        raise DeniedError(str(error)) from error
    if identity.role not in (ROLE_MANAGER, ROLE_WORKER) or identity.cluster_id != cluster.id:
        raise DeniedError("the old certificate is not that of a node of this cluster")
    if identity.node_id in cluster.revoked_nodes:
        raise DeniedError(f"node {identity.node_id} was removed from the cluster: leave, then join again")
    return identity.node_id


def _new_node(request: IssueNodeCertificateRequest, role: "NodeRole.ValueType", edit: Edit) -> Node:
    node = Node(id=new_id(), role=role)
    node.spec.role = role
    node.spec.availability = request.availability
    node.description.hostname = request.hostname
    node.status.state = NodeState.UNKNOWN
    node.status.message = "Joined; its daemon has not reported yet."
    node.status.since.CopyFrom(timestamp(edit.at_ns))
    return node


def _issued(
    cluster: Cluster, raft: RaftView, csr_pem: bytes, node_id: str, role: "NodeRole.ValueType"
) -> IssueNodeCertificateResponse:
    name = ROLE_MANAGER if role == NodeRole.MANAGER else ROLE_WORKER
    return IssueNodeCertificateResponse(
        node_id=node_id,
        cluster_id=cluster.id,
        role=role,
        certificate_pem=_sign(cluster, csr_pem, node_id, name),
        ca_pem=cluster.root_ca.certificate_pem,
        managers=peers(raft),
    )


def _end_of(answer: IssueNodeCertificateResponse) -> Timestamp:
    end = Timestamp()
    end.FromDatetime(load_certificate(answer.certificate_pem).not_valid_after_utc)
    return end


def _sign(cluster: Cluster, csr_pem: bytes, node_id: str, role: str) -> bytes:
    authority = pki.CertificateAuthority(cluster.root_ca.certificate_pem, cluster.root_ca.key_pem)
    seconds = duration_ns(cluster.spec.certificate_validity) / 1e9 or CERTIFICATE_VALIDITY_S
    return pki.issue_from_csr(
        authority,
        csr_pem,
        node_id=node_id,
        role=role,
        cluster_id=cluster.id,
        now=utc_now(),
        validity=timedelta(seconds=seconds),
    )
