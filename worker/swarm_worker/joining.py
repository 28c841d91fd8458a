"""How a machine becomes a node: with a join token, at any manager's address.

First the manager's certificate chain is read over a connection that is not trusted and carries nothing of ours. Only
when its CA is the one whose digest the token holds, the joiner speaks to it, over TLS that trusts this CA alone, with a
certificate derived from the token's secret. The token does not say for which role it is: the manager lets the joiner
in with the one leaf or the other, or with neither when the token was rotated.
"""

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
from OpenSSL import SSL, crypto
from swarm_api.access import Credentials, Endpoint
from swarm_api.ca_pb2 import IssueNodeCertificateRequest, IssueNodeCertificateResponse
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.identity import (
    JOINER_MANAGER,
    JOINER_WORKER,
    ROLE_MANAGER,
    CertificateError,
    NodeCredentials,
    ca_digest,
    identify,
    joiner_leaf,
    new_key_and_csr,
    utc_now,
)
from swarm_api.ids import new_id
from swarm_api.join_token import JoinToken, TokenError
from swarm_api.reach import SERVER_NAME, Finding, diagnose
from swarm_api.types_pb2 import NodeAvailability

from swarm_worker.addresses import split
from swarm_worker.channels import open_channel, reason_of
from swarm_worker.errors import JoinError

CONNECT_S = 4.0
ISSUE_S = 15.0  # a cluster that elects its leader answers after that


@dataclass(frozen=True, slots=True)
class Issued:
    """What a joiner got: it is a node from now on."""

    answer: IssueNodeCertificateResponse
    credentials: NodeCredentials
    manager: str  # the address that answered


class NotTriedError(JoinError):
    """This address could not be asked; another one may."""


async def join(
    token_text: str,
    addresses: Sequence[str],
    hostname: str,
    availability: "NodeAvailability.ValueType",
) -> Issued:
    """Become a node at the first of `addresses` (`host:port`) that can be reached. JoinError says why not."""
    try:
        token = JoinToken.parse(token_text)
    except TokenError as error:
        raise JoinError(_sentence(error)) from error
    if not addresses:
        raise JoinError("Give the address of a manager to join at.")
    key_pem, csr_pem = new_key_and_csr()
    request = IssueNodeCertificateRequest(
        csr_pem=csr_pem, availability=availability, hostname=hostname, request_id=new_id()
    )
    refusals = []
    for address in addresses:
        try:
            return await _join_at(address, token, request, key_pem)
        except NotTriedError as error:
            refusals.append(str(error))
    raise JoinError(" ".join(refusals))


async def _join_at(address: str, token: JoinToken, request: IssueNodeCertificateRequest, key_pem: bytes) -> Issued:
    answer = await ask_with_token(
        address, token, lambda channel: CaStub(channel).IssueNodeCertificate(request, timeout=ISSUE_S)
    )
    return Issued(answer, NodeCredentials(answer.ca_pem, answer.certificate_pem, key_pem), address)


async def ask_with_token(
    address: str, token: JoinToken, call: Callable[[grpc.aio.Channel], Awaitable[IssueNodeCertificateResponse]]
) -> IssueNodeCertificateResponse:
    """What the manager at `address`, which has proven to be of the token's cluster, answers to a holder of the token.

    NotTriedError: another manager may answer; JoinError: none will.
    """
    ca_pem = await asyncio.to_thread(read_ca, address, token)
    leaf = await asyncio.to_thread(_accepted_leaf, address, token, ca_pem)
    channel = open_channel(address, leaf)
    try:
        return await call(channel)
    except grpc.aio.AioRpcError as error:
        reason = f"The manager at {address} gave no certificate: {reason_of(error)}."
        retried = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        raise (NotTriedError if retried else JoinError)(reason) from error
    finally:
        await channel.close(None)


def read_ca(address: str, token: JoinToken) -> bytes:
    """The CA (PEM) of the cluster at `address`, proven to be the token's. Blocks. JoinError: it is not."""
    chain = _read_chain(address)
    try:
        for ca_pem in chain[1:]:
            if identify(chain[0], ca_pem).role == ROLE_MANAGER:
                token.check_digest(ca_digest(ca_pem))
                return ca_pem
    except TokenError as error:
        raise JoinError(_sentence(error)) from error
    except CertificateError as error:
        raise NotTriedError(_not_a_manager(address)) from error
    raise NotTriedError(_not_a_manager(address))


def _accepted_leaf(address: str, token: JoinToken, ca_pem: bytes) -> NodeCredentials:
    """The leaf, for the one role or the other, with which the manager lets us in."""
    for role in (JOINER_WORKER, JOINER_MANAGER):
        certificate_pem, key_pem = joiner_leaf(token.secret, role, utc_now())
        found = diagnose(Endpoint(address, Credentials(ca_pem, certificate_pem, key_pem)), CONNECT_S)
        if found.finding is Finding.ANSWERS:
            return NodeCredentials(ca_pem, certificate_pem, key_pem)
        if found.finding is not Finding.CERTIFICATE_REFUSED:
            raise NotTriedError(f"The manager at {address} {found.finding.value} ({found.detail}).")
    raise JoinError(
        "The cluster refuses the join token: it was rotated or is wrong; get the current one with "
        "'swarm-cli join-token' on a manager."
    )


def _read_chain(address: str) -> list[bytes]:
    """The certificates the server at `address` shows, the leaf first, as PEM. Nothing is verified, nothing sent."""
    host, port = split(address, "manager address")
    try:
        with socket.create_connection((host, port), CONNECT_S) as connection:
            connection.setblocking(False)
            return _handshake(connection, time.monotonic() + CONNECT_S)
    except TimeoutError:
        raise NotTriedError(f"The manager at {address} does not answer: check the address and the firewall.") from None
    except ConnectionRefusedError:
        raise NotTriedError(f"Nobody listens at {address}: is swarm-manager running there?") from None
    except socket.gaierror as error:
        raise NotTriedError(f"The host name in {address} is not known: {error.strerror}.") from error
    except SSL.Error:
        raise NotTriedError(_not_a_manager(address)) from None
    except OSError as error:
        raise NotTriedError(f"The manager at {address} cannot be reached: {error.strerror or error}.") from error


def _handshake(connection: socket.socket, deadline: float) -> list[bytes]:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos([b"h2"])
    tls = SSL.Connection(context, connection)
    tls.set_tlsext_host_name(SERVER_NAME.encode())
    tls.set_connect_state()
    while True:
        try:
            tls.do_handshake()
            break
        except (SSL.WantReadError, SSL.WantWriteError):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not any(select.select([connection], [], [], left_s)):
                raise TimeoutError from None
    chain = tls.get_peer_cert_chain() or []
    with contextlib.suppress(SSL.Error):  # it has told all we asked for
        tls.shutdown()
    return [crypto.dump_certificate(crypto.FILETYPE_PEM, certificate) for certificate in chain]


def _not_a_manager(address: str) -> str:
    return f"What listens at {address} is not a raftswarm manager: give the address of a manager's API (port 2377)."


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
