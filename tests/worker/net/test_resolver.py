"""The responder's answers, the upstream it asks and its listeners, on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from swarm_worker.net.resolver import Listener, Responder
from swarm_worker.net.upstream import Upstream, name_servers
from swarm_worker.net.zones import NetworkZone, Zones

from tests.ports import free_port

GATEWAY, ASKER = "127.0.53.1", "127.0.53.7"
MANY = [f"127.0.53.{number}" for number in range(10, 110)]
ZONE = NetworkZone(GATEWAY, "127.0.53.0/24", {"web": ["127.0.53.100"], "two": MANY[:2], "many": MANY})


class World(asyncio.DatagramProtocol):
    """A name server of the outside: counts questions, answers those it has a name for, is silent otherwise."""

    def __init__(self) -> None:
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.asked += 1
        question = dns.message.from_wire(data)
        if question.question[0].name.to_text() == "example.com.":
            answer = dns.message.make_response(question)
            answer.answer = [dns.rrset.from_text("example.com.", 60, "IN", "A", "192.0.2.7")]
            self.transport.sendto(answer.to_wire(), addr)  # type: ignore[attr-defined]


@pytest.fixture
def port() -> int:
    return free_port(GATEWAY)


@pytest.fixture
async def world(port: int) -> AsyncIterator[World]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        World, local_addr=("127.0.53.2", port)
    )
    yield protocol
    transport.close()


@pytest.fixture
async def responder(tmp_path: Path, port: int) -> AsyncIterator[Responder]:
    (tmp_path / "resolv.conf").write_text(f"nameserver {GATEWAY}\nnameserver 127.0.53.2\n")
    responder = Responder(Upstream(tmp_path / "resolv.conf", port))
    responder.zones = Zones({"red": ZONE}, {})
    listener = Listener(responder, GATEWAY, port)
    await listener.open()
    yield responder
    listener.close()


async def ask(port: int, name: str, kind: str = "A", *, tcp: bool = False, edns: bool = True) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=edns, payload=1232)
    over = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await over(query, GATEWAY, port=port, timeout=5, source=ASKER)


def found(answer: dns.message.Message) -> list[str]:
    return [record.address for rrset in answer.answer for record in rrset]


async def test_names_of_the_network(responder: Responder, port: int) -> None:
    assert found(await ask(port, "WEB")) == ["127.0.53.100"]
    assert found(await ask(port, "web", tcp=True)) == ["127.0.53.100"]
    nothing = await ask(port, "web", "AAAA")
    assert (nothing.rcode(), nothing.answer) == (dns.rcode.NOERROR, [])
    assert (await ask(port, "nobody", "AAAA")).rcode() == dns.rcode.NXDOMAIN


async def test_answers_take_turns(responder: Responder, port: int) -> None:
    firsts = [found(await ask(port, "two"))[0] for _ in range(6)]
    assert sorted(firsts) == [*MANY[:1] * 3, *MANY[1:2] * 3]


async def test_a_long_answer_comes_over_tcp(responder: Responder, port: int) -> None:
    short = await ask(port, "many", edns=False)
    assert short.flags & dns.flags.TC
    assert sorted(found(await ask(port, "many", tcp=True))) == sorted(MANY)


async def test_the_world_is_asked_for_its_names(responder: Responder, port: int, world: World) -> None:
    assert found(await ask(port, "example.com")) == ["192.0.2.7"]
    assert world.asked == 1


async def test_without_an_answer_of_the_world_the_asker_is_told(responder: Responder, port: int) -> None:
    # 127.0.53.2 is not there: the refusal comes at once, the gateway itself is never asked.
    assert (await ask(port, "example.com")).rcode() == dns.rcode.SERVFAIL
    assert (await ask(port, "example.com", tcp=True)).rcode() == dns.rcode.SERVFAIL


async def test_a_question_that_comes_back_to_us_is_not_sent_round_again(
    responder: Responder, port: int, world: World
) -> None:
    query = dns.message.make_query("example.com", "A")
    answer = await dns.asyncquery.udp(query, GATEWAY, port=port, timeout=5, source=GATEWAY)
    assert (answer.rcode(), world.asked) == (dns.rcode.SERVFAIL, 0)


async def test_rubbish_gets_no_answer_and_does_no_harm(responder: Responder, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"\0" * 40, (GATEWAY, port))
    reader, writer = await asyncio.open_connection(GATEWAY, port, local_addr=(ASKER, 0))
    writer.write(b"\0\x05rubbi")
    assert await reader.read() == b""
    writer.close()
    assert found(await ask(port, "web")) == ["127.0.53.100"]


async def test_an_address_that_is_taken_is_said(port: int) -> None:
    responder = Responder(Upstream(Path("/nonexistent")))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.bind((GATEWAY, port))
        holder.listen()
        with pytest.raises(OSError, match="in use"):
            await Listener(responder, GATEWAY, port).open()
    again = Listener(responder, GATEWAY, port)
    await again.open()  # the UDP half was let go
    again.close()


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", []),
        ("# nothing\nsearch example.com\noptions ndots:2\n", []),
        ("nameserver 192.0.2.1\nnameserver 10.0.0.1 # ours\nnameserver 192.0.2.2\n", ["192.0.2.1", "192.0.2.2"]),
        ("nameserver fe80::1%eth0\nnameserver bogus\nnameserver\n", ["fe80::1%eth0"]),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(9)), ["192.0.2.0", "192.0.2.1", "192.0.2.2"]),
    ],
)
def test_resolv_conf(text: str, servers: list[str]) -> None:
    assert name_servers(text, ["10.0.0.1"]) == servers


def test_resolv_conf_is_read_again_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    now = [0.0]
    upstream = Upstream(file, clock=lambda: now[0])
    assert upstream.servers(()) == []
    file.write_text("nameserver 192.0.2.1\n")
    assert upstream.servers(()) == [], "it is looked at once a second"
    now[0] = 2
    assert upstream.servers(()) == ["192.0.2.1"]
    assert upstream.servers(("192.0.2.1",)) == []
