"""This node's certificate: renewed well before it ends, and whenever the node is to have another role.

A renewed certificate is on disk before anybody uses it. Connections that are open stay open; new ones use it.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta

import grpc
import structlog
from swarm_api.ca_pb2 import IssueNodeCertificateResponse, RenewNodeCertificateRequest
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.identity import NodeCredentials, load_certificate, new_key_and_csr, utc_now
from swarm_api.types_pb2 import NodeRole

from swarm_worker.channels import open_channel, reason_of
from swarm_worker.errors import WorkerError
from swarm_worker.identity import NodeIdentity, role_name

EARLIEST, LATEST = 0.5, 0.8  # of its validity: nodes that joined together do not all come at once
BACKDATED = timedelta(hours=1)  # certificates are valid from before they are made, for clocks that are slow
LEAST_S = 1.0  # between two renewals, however short certificates live
RETRY_S = (1.0, 300.0)  # first and longest pause after a failure
CALL_S = 10.0

log = structlog.get_logger(__name__)


class RenewalError(WorkerError):
    """No manager gave a new certificate."""


class Certificates:
    """Keeps the node's certificate valid, and in the role the cluster wants."""

    def __init__(self, identity: NodeIdentity, renewed: Callable[[], None]) -> None:
        """`renewed` is called after each renewal."""
        self._identity = identity
        self._renewed = renewed
        self._wanted_role = identity.node.role
        self._wake = asyncio.Event()
        self._is_asked = False

    def want_role(self, role: "NodeRole.ValueType") -> None:
        """The cluster wants this role of the node."""
        self._wanted_role = role_name(role)
        if self._wanted_role != self._identity.node.role:
            self._wake.set()

    def renew_now(self) -> None:
        """Get another certificate, however young the one is that the node has."""
        self._is_asked = True
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        pause_s = RETRY_S[0]
        while True:
            await self._until_due()
            try:
                await self._renew()
            except RenewalError as error:
                self._complain(error, pause_s)
            else:
                self._renewed()
                if self._wanted_role == self._identity.node.role:
                    pause_s = RETRY_S[0]
                    continue
            await asyncio.sleep(min(pause_s, max(LEAST_S, self._end_in_s())))  # its end is to be told in time
            pause_s = min(pause_s * 2, RETRY_S[1])

    def _end_in_s(self) -> float:
        left_s = (self._identity.certificate_ends - utc_now()).total_seconds()
        return left_s if left_s > 0 else RETRY_S[1]

    def _complain(self, error: RenewalError, retry_in_s: float) -> None:
        ended = self._identity.expiry_error()
        if ended:
            log.error("the certificate has ended", reason=ended)
            return
        ends = f"{self._identity.certificate_ends:%Y-%m-%d %H:%M} UTC"
        log.warning("the certificate could not be renewed", reason=str(error), ends=ends, retry_in_s=retry_in_s)

    async def _until_due(self) -> None:
        """Wait until it is time, or another role is wanted."""
        self._wake.clear()
        if self._is_asked or self._wanted_role != self._identity.node.role:
            return
        try:
            async with asyncio.timeout(max(LEAST_S, _left_s(self._identity.credentials))):
                await self._wake.wait()
        except TimeoutError:
            log.info("time to renew the certificate")

    async def _renew(self) -> None:
        key_pem, csr_pem = new_key_and_csr()
        answer = await self._ask(RenewNodeCertificateRequest(csr_pem=csr_pem))
        credentials = NodeCredentials(answer.ca_pem, answer.certificate_pem, key_pem)
        self._is_asked = False
        await asyncio.to_thread(self._identity.replace, credentials, tuple(peer.address for peer in answer.managers))
        log.info("certificate renewed", role=self._identity.node.role)

    async def _ask(self, request: RenewNodeCertificateRequest) -> IssueNodeCertificateResponse:
        """The answer of the first manager that gives one: any of them passes it on to the leader."""
        reasons = []
        for address in self._identity.manager_addresses():
            channel = open_channel(address, self._identity.credentials)
            try:
                return await CaStub(channel).RenewNodeCertificate(request, timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                reasons.append(f"{address}: {reason_of(error)}")
            finally:
                await channel.close(None)
        raise RenewalError("; ".join(reasons) or "no manager's address is known")


def _left_s(credentials: NodeCredentials) -> float:
    """Seconds until the certificate should be renewed."""
    certificate = load_certificate(credentials.certificate_pem)
    end = certificate.not_valid_after_utc
    begin = min(certificate.not_valid_before_utc + BACKDATED, end)
    share = random.uniform(EARLIEST, LATEST)  # noqa: S311 - spreads the nodes, hides nothing
    return (begin + (end - begin) * share - utc_now()).total_seconds()
