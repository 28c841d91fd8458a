"""A real manager under thousands of hostile connections and requests: it goes on, unchanged, in bounded memory."""

import contextlib
import os
import random
import signal
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from swarm_api import identity
from swarm_api.control_pb2 import GetInfoRequest, ListRequest
from swarm_api.control_pb2_grpc import ControlStub
from swarm_api.identity import NodeCredentials
from swarm_api.join_token import JoinToken
from swarm_api.raft_pb2 import RaftJoinRequest
from swarm_manager import pki
from swarm_manager.api.rules import read_rules

from tests.integration.manager.processes import NAME, FakeWorker, ManagerProcess
from tests.unit.manager.hostile import Hostile

pytestmark = pytest.mark.integration
RULES = read_rules()
CONNECTIONS = 2400
CALLS = 12  # of each RPC by each caller
GROWTH_BYTES = 96 << 20
HELLO = bytes.fromhex("160301020001fc0303")  # the start of a TLS ClientHello that never comes whole
BAD_ADDRESSES = (
    "",
    "host:1",
    "10.0.0.1",
    "10.0.0.1:99999",
    "0.0.0.0:5",
    "::1:x",
    "\0",
    "x" * 300,
    "٣.0.0.1:1",
    "1.2.3.4:²",
)
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def resident_bytes(manager: ManagerProcess) -> int:
    assert manager.process is not None
    status = Path(f"/proc/{manager.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def state(manager: ManagerProcess) -> tuple[list[bytes], list[bytes], int]:
    """What strangers must not be able to change."""
    nodes = manager.local.ListNodes(ListRequest(), timeout=10).nodes
    services = manager.local.ListServices(ListRequest(), timeout=10).services
    info = manager.local.GetInfo(GetInfoRequest(), timeout=10)
    return [n.SerializeToString() for n in nodes], [s.SerializeToString() for s in services], info.term


@pytest.fixture
def unharmed(manager: ManagerProcess) -> Iterator[ManagerProcess]:
    """The manager; afterwards it must be the same process, well, and able to start again from what it stored."""
    before = resident_bytes(manager)
    yield manager
    assert manager.process is not None
    assert manager.process.poll() is None, "it died"
    assert manager.local.GetInfo(GetInfoRequest(), timeout=10).leader_id == manager.node_id
    assert resident_bytes(manager) - before < GROWTH_BYTES
    manager.kill(signal.SIGKILL)
    manager.start()
    manager.wait_until_leading()
    assert "Traceback" not in manager.log
    assert "request failed" not in manager.log


def payloads(rng: random.Random) -> Iterator[bytes]:
    while True:
        yield rng.randbytes(rng.randrange(1, 600))
        yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(100)
        yield HELLO + rng.randbytes(rng.randrange(500))
        yield struct.pack(">I", 2**32 - 1) + rng.randbytes(50)
        yield b""


def knock(address: tuple[str, int], payload: bytes, *, reset: bool) -> socket.socket | None:
    """Connect and send; the connection, or None when it ended at once."""
    connection = socket.create_connection(address, timeout=5)
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        connection.sendall(payload)
    except OSError:
        connection.close()
        return None
    return connection


def test_thousands_of_strangers_at_both_ports(unharmed: ManagerProcess) -> None:
    before = state(unharmed)
    host, _, port = unharmed.address.rpartition(":")
    rng = random.Random(5)
    held: list[socket.socket] = []
    for number, payload in zip(range(CONNECTIONS), payloads(rng), strict=False):
        connection = knock((host, int(port) + number % 2), payload, reset=rng.random() < 0.5)
        if connection is not None:
            held.append(connection)  # some stay, silent
        while len(held) > 150:
            held.pop(rng.randrange(len(held))).close()
    assert state(unharmed) == before, "and it still answers"
    for connection in held:
        connection.close()


def certificates(manager: ManagerProcess) -> dict[str, NodeCredentials]:
    """Whoever gets through TLS at all."""
    tokens, ca = manager.tokens(), manager.credentials.ca_pem
    worker = FakeWorker(manager, tokens["worker"])
    leaves = {
        role: identity.joiner_leaf(JoinToken.parse(tokens[role]).secret, f"joiner-{role}", identity.utc_now())
        for role in tokens
    }
    joiners = {f"joiner-{role}": NodeCredentials(ca, leaf, key) for role, (leaf, key) in leaves.items()}
    # The manager last: what it is granted may well take the others' access away.
    return {**joiners, "worker": worker.credentials, "manager": manager.credentials}


def test_hostile_requests_from_everybody_who_holds_a_certificate(unharmed: ManagerProcess) -> None:
    callers = certificates(unharmed)
    before, outcomes = state(unharmed), Counter[grpc.StatusCode]()
    for who, credentials in callers.items():
        channel = unharmed.channel(credentials)
        for path, rule in RULES.items():
            may = who in rule.roles
            for number in range(CALLS):
                hostile = Hostile(f"{who} {path} {number}", (unharmed.node_id,))
                code = call(channel, path, hostile.raw(rule.request_type.DESCRIPTOR), streams=rule.streams)
                assert code not in FAULTS, (who, path, number)
                assert may or code == grpc.StatusCode.PERMISSION_DENIED, (who, path, number, code)
                outcomes[code] += 1
    assert outcomes[grpc.StatusCode.INVALID_ARGUMENT] > 100
    assert before[2] == state(unharmed)[2], "no election"
    too_big = call(unharmed.channel(), "/swarm.v1.Control/CreateConfig", bytes(17 << 20))
    assert too_big == grpc.StatusCode.RESOURCE_EXHAUSTED


def call(channel: grpc.Channel, path: str, raw: bytes, *, streams: bool = False) -> grpc.StatusCode:
    try:
        if streams:
            answers = channel.unary_stream(path)(raw, timeout=10)
            next(answers)
            answers.cancel()
        else:
            channel.unary_unary(path)(raw, timeout=10)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_joining_manager_cannot_name_an_address_that_is_none(unharmed: ManagerProcess) -> None:
    from swarm_api.raft_pb2_grpc import RaftMembershipStub

    stub = RaftMembershipStub(unharmed.channel())
    node_id, sound = unharmed.node_id, unharmed.address
    pairs = [("10.0.0.1:9", sound), ("", sound)]
    pairs += [(raft, api) for raft in ("10.0.0.1:9",) for api in BAD_ADDRESSES]
    for raft, api in pairs:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Join(RaftJoinRequest(node_id=node_id, raft_address=raft, api_address=api), timeout=10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (raft, api, caught.value)
        assert "\n" not in caught.value.details()


def is_refused(context: ssl.SSLContext, address: tuple[str, int]) -> bool:
    """Whether the connection ends without a word to us."""
    with socket.create_connection(address, timeout=5) as raw, contextlib.suppress(ssl.SSLError, ConnectionError):
        connection = context.wrap_socket(raw)
        connection.sendall(os.urandom(100))
        return connection.recv(1000) == b""
    return True


def test_a_certificate_of_our_own_making_gets_no_connection(unharmed: ManagerProcess, tmp_path: Path) -> None:
    fake = pki.create_ca("c" * 25, identity.utc_now())
    host, _, port = unharmed.address.rpartition(":")
    for number in range(40):
        key, csr = identity.new_key_and_csr()
        role = random.Random(number).choice(sorted(identity.ROLES))
        leaf = pki.issue_from_csr(
            fake, csr, node_id=unharmed.node_id, role=role, cluster_id="c" * 25, now=identity.utc_now()
        )
        NodeCredentials(fake.certificate_pem, leaf, key).save(tmp_path / "fake")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(tmp_path / "fake/node.crt", tmp_path / "fake/node.key")
        context.set_alpn_protocols(["h2"])
        assert is_refused(context, (host, int(port) + number % 2)), role
    with pytest.raises(grpc.RpcError):
        wrong = grpc.ssl_channel_credentials(unharmed.credentials.ca_pem, key, leaf)
        with grpc.secure_channel(unharmed.address, wrong, NAME) as channel:
            ControlStub(channel).GetInfo(GetInfoRequest(stale=True), timeout=3)
