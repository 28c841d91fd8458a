"""A manager that only issues certificates, over the mutual TLS of the real ones."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
from swarm_api.ca_pb2 import (
    IssueAdminCertificateRequest,
    IssueAdminCertificateResponse,
    IssueNodeCertificateRequest,
    IssueNodeCertificateResponse,
    ReissueNodeCertificateRequest,
    RenewNodeCertificateRequest,
)
from swarm_api.ca_pb2_grpc import CaServicer, add_CaServicer_to_server
from swarm_api.identity import (
    JOINER_MANAGER,
    JOINER_WORKER,
    ROLE_MANAGER,
    ROLE_WORKER,
    NodeCredentials,
    identify,
    joiner_anchor,
    make_token,
    new_key_and_csr,
    utc_now,
)
from swarm_api.reissue import proven_identity
from swarm_api.types_pb2 import NodeRole
from swarm_manager import pki

CLUSTER = "cluster1"


class FakeCa(CaServicer):
    """The cluster's CA, its tokens, and what it was asked."""

    def __init__(self, validity: timedelta = timedelta(days=90)) -> None:
        self.ca = pki.create_ca(CLUSTER, utc_now())
        self.secrets = {JOINER_WORKER: pki.new_secret(), JOINER_MANAGER: pki.new_secret()}
        self.anchors = {role: joiner_anchor(secret, role, utc_now()) for role, secret in self.secrets.items()}
        self.validity = validity
        self.wanted_role = ROLE_WORKER
        self.requests: list[IssueNodeCertificateRequest] = []
        self.renewals = 0
        self.refusal: grpc.StatusCode | None = None

    def token(self, joiner_role: str = JOINER_WORKER) -> str:
        return str(make_token(self.ca.certificate_pem, self.secrets[joiner_role]))

    def credentials(self, node_id: str, role: str, age: timedelta = timedelta(0)) -> NodeCredentials:
        key_pem, csr_pem = new_key_and_csr()
        return NodeCredentials(self.ca.certificate_pem, self._sign(csr_pem, node_id, role, age), key_pem)

    def _sign(self, csr_pem: bytes, node_id: str, role: str, age: timedelta = timedelta(0)) -> bytes:
        now = utc_now() - age
        return pki.issue_from_csr(
            self.ca, csr_pem, node_id=node_id, role=role, cluster_id=CLUSTER, now=now, validity=self.validity
        )

    async def IssueNodeCertificate(  # noqa: N802
        self, request: IssueNodeCertificateRequest, context: Any
    ) -> IssueNodeCertificateResponse:
        if self.refusal:
            await context.abort(self.refusal, "There is no leading manager at the moment.")
        self.requests.append(request)
        leaf = context.auth_context()["x509_pem_cert"][0]
        joiner = identify(leaf, self.ca.certificate_pem, self.anchors).role
        role = ROLE_MANAGER if joiner == JOINER_MANAGER else ROLE_WORKER
        return self._answer("node7", role, request.csr_pem)

    async def RenewNodeCertificate(  # noqa: N802
        self, request: RenewNodeCertificateRequest, context: Any
    ) -> IssueNodeCertificateResponse:
        if self.refusal:
            await context.abort(self.refusal, "There is no leading manager at the moment.")
        self.renewals += 1
        leaf = context.auth_context()["x509_pem_cert"][0]
        return self._answer(identify(leaf, self.ca.certificate_pem).node_id, self.wanted_role, request.csr_pem)

    async def ReissueNodeCertificate(  # noqa: N802
        self, request: ReissueNodeCertificateRequest, context: Any
    ) -> IssueNodeCertificateResponse:
        ca_pem = self.ca.certificate_pem
        who = proven_identity(request.old_certificate_pem, request.csr_pem, request.signature, ca_pem)
        return self._answer(who.node_id, self.wanted_role, request.csr_pem)

    async def IssueAdminCertificate(  # noqa: N802
        self, request: IssueAdminCertificateRequest, context: Any
    ) -> IssueAdminCertificateResponse:
        raise NotImplementedError

    def _answer(self, node_id: str, role: str, csr_pem: bytes) -> IssueNodeCertificateResponse:
        return IssueNodeCertificateResponse(
            node_id=node_id,
            cluster_id=CLUSTER,
            role=NodeRole.MANAGER if role == ROLE_MANAGER else NodeRole.WORKER,
            certificate_pem=self._sign(csr_pem, node_id, role),
            ca_pem=self.ca.certificate_pem,
        )


@contextlib.asynccontextmanager
async def served(ca: FakeCa) -> AsyncIterator[str]:
    """The manager listens on loopback; its address."""
    own = ca.credentials("manager1", ROLE_MANAGER)
    trusted = ca.ca.certificate_pem + b"".join(ca.anchors.values())
    tls = grpc.ssl_server_credentials(
        [(own.key_pem, own.certificate_pem + ca.ca.certificate_pem)], trusted, require_client_auth=True
    )
    server = grpc.aio.server()
    add_CaServicer_to_server(ca, server)
    port = server.add_secure_port("127.0.0.1:0", tls)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
