"""How a node gets back into its own cluster when it cannot by itself.

    its managers are elsewhere    it is told where (`remote_addresses`); one of them must show that it is a manager of
                                  this cluster
    its address has changed       `advertise_address`; its manager, if it runs one, tells the others (by itself, where
                                  address_watch.py finds the new one and a manager answers from there)
    its certificate has ended     a join token, the old certificate and a proof with its key get a new one for the same
                                  node; or, when all managers' have ended, a manager makes its own (`from_own_data`)

`prepare` finds out all that may go wrong, and changes nothing; `Rejoining.save` then changes the files.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from swarm_api.access import Credentials, Endpoint
from swarm_api.ca_pb2 import IssueNodeCertificateResponse, ReissueNodeCertificateRequest
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.identity import CertificateError, NodeCredentials, ca_digest, new_key_and_csr
from swarm_api.join_token import JoinToken, TokenError
from swarm_api.node_pb2 import RejoinRequest
from swarm_api.reach import Finding, diagnose
from swarm_api.reissue import prove

from swarm_worker.addresses import check_local, is_ip, split, with_port
from swarm_worker.errors import JoinError, NodeStateError
from swarm_worker.identity import NodeIdentity
from swarm_worker.joining import CONNECT_S, ISSUE_S, NotTriedError, ask_with_token
from swarm_worker.storage import NodeFile, NodeStore


@dataclass(frozen=True, slots=True)
class Rejoining:
    """What the node's files are to say; no credentials: those it has stay."""

    node: NodeFile
    credentials: NodeCredentials | None = None

    def save(self, store: NodeStore) -> None:
        """Write it."""
        if self.credentials is not None:
            self.credentials.save(store.node_dir)
        store.save_node(self.node)


async def prepare(identity: NodeIdentity, request: RejoinRequest) -> Rejoining:
    """What a request changes. JoinError, NodeStateError: it cannot be done, and why."""
    addresses = tuple(with_port(address, "manager address") for address in request.remote_addresses)
    node = _at_address(identity.node, request)
    if request.from_own_data:
        _refuse_worker(identity)
        return Rejoining(node.with_managers(addresses or node.managers))
    if request.token:
        return await _with_token(identity, node, request.token, addresses)
    if ended := identity.expiry_error():
        raise NodeStateError(ended)
    others = [address for address in addresses if address != node.advertise_address]
    if others:
        await _check_managers(identity, others)
    elif not (request.advertise_address or request.listen_address):
        raise NodeStateError("Nothing is to be changed: give a manager's address, --advertise-address or --token.")
    return Rejoining(node.with_managers(addresses or node.managers))


def _refuse_worker(identity: NodeIdentity) -> None:
    if not identity.node.is_manager:
        raise NodeStateError(
            "--from-own-data is for a manager, which has the CA's key; this node is a worker: bring a manager back "
            "first, then use --token here."
        )


# ------------------------------------------------------------------------------------------------ addresses


def _at_address(node: NodeFile, request: RejoinRequest) -> NodeFile:
    """The node at the addresses asked for; a manager that listened at its old address alone listens at the new one."""
    advertise, listen = node.advertise_address, node.listen_address
    if request.advertise_address:
        check_local(request.advertise_address, may_be_forwarded=bool(request.listen_address or node.listen_address))
        advertise = with_port(request.advertise_address, "advertise address")
        _check_is_ip(advertise)
        if listen and split(listen)[0] == split(node.advertise_address)[0]:
            listen = with_port(f"{split(advertise)[0]}:{split(listen)[1]}", "listen address")
    if request.listen_address:
        listen = with_port(request.listen_address, "listen address")
    return replace(node, advertise_address=advertise, listen_address=listen)


def _check_is_ip(address: str) -> None:
    host = split(address)[0]
    if not is_ip(host):
        raise JoinError(f"--advertise-address needs an IP address, not the name {host!r}.")


async def _check_managers(identity: NodeIdentity, addresses: Sequence[str]) -> None:
    """Raise JoinError unless one of these is a manager of this node's cluster that admits it. It need not lead."""
    own = identity.credentials
    credentials = Credentials(own.ca_pem, own.certificate_pem, own.key_pem)
    refusals = []
    for address in addresses:
        found = await asyncio.to_thread(diagnose, Endpoint(address, credentials), CONNECT_S)
        if found.finding is Finding.ANSWERS:
            return
        refusals.append(f"{address} {found.finding.value}")
    raise JoinError(f"No manager of this node's cluster was found: {', '.join(refusals)}.")


# --------------------------------------------------------------------------------------------- certificate


async def _with_token(identity: NodeIdentity, node: NodeFile, token_text: str, addresses: tuple[str, ...]) -> Rejoining:
    token = _token_of(identity, token_text)
    key_pem, csr_pem = new_key_and_csr()
    old = identity.credentials
    request = ReissueNodeCertificateRequest(
        csr_pem=csr_pem, old_certificate_pem=old.certificate_pem, signature=prove(old.key_pem, csr_pem)
    )
    answer = await _ask(addresses or identity.node.managers, token, request)
    credentials = NodeCredentials(answer.ca_pem, answer.certificate_pem, key_pem)
    try:
        role = credentials.identity().role
    except CertificateError as error:
        raise NodeStateError(f"The manager gave a certificate that is no good: {error}.") from error
    known = (*addresses, *(peer.address for peer in answer.managers))
    return Rejoining(replace(node, role=role, managers=tuple(dict.fromkeys(known)) or node.managers), credentials)


def _token_of(identity: NodeIdentity, text: str) -> JoinToken:
    try:
        token = JoinToken.parse(text)
    except TokenError as error:
        raise JoinError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
    try:
        token.check_digest(ca_digest(identity.credentials.ca_pem))
    except TokenError as error:
        raise JoinError(
            "The token is of another cluster than this node: get one with 'swarm-cli join-token' on a manager of its "
            "own; to change clusters, 'swarm-cli leave' first."
        ) from error
    return token


async def _ask(
    addresses: Sequence[str], token: JoinToken, request: ReissueNodeCertificateRequest
) -> IssueNodeCertificateResponse:
    refusals = []
    for address in addresses:
        try:
            return await ask_with_token(
                address, token, lambda channel: CaStub(channel).ReissueNodeCertificate(request, timeout=ISSUE_S)
            )
        except NotTriedError as error:
            refusals.append(str(error))
    raise JoinError(" ".join(refusals) or "No manager's address is known: give one.")
