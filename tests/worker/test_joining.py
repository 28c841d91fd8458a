"""Joining with good tokens and with all kinds of bad ones, against a CA with the real mutual TLS."""

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from swarm_api.identity import JOINER_MANAGER, JOINER_WORKER, ROLE_MANAGER, ROLE_WORKER, make_token
from swarm_api.types_pb2 import NodeAvailability, NodeRole
from swarm_manager import pki
from swarm_worker import joining
from swarm_worker.errors import JoinError

from tests.worker.fake_ca import FakeCa, served


async def join(token: str, *addresses: str) -> joining.Issued:
    return await asyncio.wait_for(joining.join(token, addresses, "n7", NodeAvailability.PAUSE), 30)


@pytest.mark.parametrize(
    ("joiner", "role", "name"),
    [(JOINER_WORKER, NodeRole.WORKER, ROLE_WORKER), (JOINER_MANAGER, NodeRole.MANAGER, ROLE_MANAGER)],
)
async def test_a_token_makes_a_node_of_its_role(joiner: str, role: "NodeRole.ValueType", name: str) -> None:
    ca = FakeCa()
    async with served(ca) as address:
        issued = await join(ca.token(joiner), address)
    assert (issued.answer.node_id, issued.answer.role, issued.manager) == ("node7", role, address)
    assert issued.credentials.identity().role == name
    assert (ca.requests[0].hostname, ca.requests[0].availability) == ("n7", NodeAvailability.PAUSE)


async def test_a_manager_that_is_gone_does_not_matter_when_another_answers() -> None:
    ca = FakeCa()
    async with served(ca) as address:
        assert (await join(ca.token(), "127.0.0.1:1", address)).manager == address


async def test_a_token_of_another_cluster_is_refused_before_anything_is_sent() -> None:
    ca, other = FakeCa(), FakeCa()
    async with served(ca) as address:
        with pytest.raises(JoinError, match="does not belong to the cluster"):
            await join(other.token(), address)
    assert ca.requests == []


async def test_a_rotated_token_is_refused() -> None:
    ca = FakeCa()
    rotated = str(make_token(ca.ca.certificate_pem, pki.new_secret()))
    async with served(ca) as address:
        with pytest.raises(JoinError, match="refuses the join token: it was rotated or is wrong"):
            await join(rotated, address)
    assert ca.requests == []


@pytest.mark.parametrize(("spoil", "why"), [(lambda t: t[:-3], "cut off"), (lambda t: "hello", "not of the form")])
async def test_a_token_that_is_none_says_so(spoil: object, why: str) -> None:
    with pytest.raises(JoinError, match=why):
        await join(spoil(FakeCa().token()), "127.0.0.1:1")  # type: ignore[operator]  # a function of the token


async def test_where_nobody_listens_it_says_so() -> None:
    with pytest.raises(JoinError, match=r"Nobody listens at 127\.0\.0\.1:1"):
        await join(FakeCa().token(), "127.0.0.1:1")


async def test_an_unknown_host_is_named() -> None:
    with pytest.raises(JoinError, match=r"host name in no-such-host\.invalid:2377 is not known"):
        await join(FakeCa().token(), "no-such-host.invalid:2377")


async def test_without_any_address_it_asks_for_one() -> None:
    with pytest.raises(JoinError, match="Give the address"):
        await join(FakeCa().token())


async def test_a_leaderless_cluster_is_no_dead_end_but_a_clear_answer() -> None:
    ca = FakeCa()
    ca.refusal = grpc.StatusCode.UNAVAILABLE
    async with served(ca) as address:
        with pytest.raises(JoinError, match="no leading manager"):
            await join(ca.token(), address)


async def test_a_server_that_speaks_no_tls_is_not_a_manager() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with _listening(answer) as address:
        with pytest.raises(JoinError, match="is not a raftswarm manager"):
            await join(FakeCa().token(), address)


async def test_another_tls_server_is_not_a_manager() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    own = FakeCa().credentials("x", ROLE_MANAGER)  # shows its certificate alone, not its CA's
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _files(own.certificate_pem + own.key_pem) as path:
        context.load_cert_chain(path)
    async with _listening(answer, context) as address:
        with pytest.raises(JoinError, match="is not a raftswarm manager"):
            await join(FakeCa().token(), address)


async def test_a_server_that_says_nothing_costs_a_few_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(JoinError, match="does not answer"):
        await join(FakeCa().token(), f"127.0.0.1:{silent.getsockname()[1]}")


@contextlib.asynccontextmanager
async def _listening(answer: object, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)  # type: ignore[arg-type]  # a callback
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.contextmanager
def _files(pem: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        yield file.name
