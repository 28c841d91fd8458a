"""Strangers at the Raft port: nobody without a member's certificate is listened to, whatever they send."""

import os
import pickle
import random
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from swarm_api.identity import ROLE_ADMIN, ROLE_WORKER, NodeCredentials, joiner_leaf, utc_now
from swarm_manager import pki
from swarm_manager.raft import codec

from tests.integration.raft.cluster import CLUSTER_ID, Cluster, running, wait_for

STRANGER = "z" * 25


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path) as cluster:
        cluster.leader()
        yield cluster
        # Whatever a test did: the same leader goes on, nobody died, nothing was executed.
        leader = cluster.leader()
        assert all(member.alive for member in cluster.members.values())
        assert "result" in leader.ask("propose", key="still here")
        assert not (tmp_path / "pwned").exists()


def address_of(cluster: Cluster, node_id: str) -> tuple[str, int]:
    host, _, port = cluster.addresses[node_id].rpartition(":")
    return host, int(port)


def connect(cluster: Cluster, mine: NodeCredentials, folder: Path) -> ssl.SSLSocket:
    """TLS to the leader with these credentials; raises when the handshake fails."""
    mine.save(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(folder / "node.crt", folder / "node.key")
    raw = socket.create_connection(address_of(cluster, cluster.leader().spec["node_id"]), timeout=5)
    return context.wrap_socket(raw)


def is_cut_off(connection: ssl.SSLSocket | socket.socket, payload: bytes = b"") -> bool:
    """Whether the manager closes the connection after this, without a word but hello and not_member."""
    try:
        connection.sendall(
            payload
            or frame(
                codec.encode({"type": "request_vote", "term": 2**40, "last_log_index": 2**40, "last_log_term": 2**40})
            )
        )
        received = bytearray()
        while data := connection.recv(65536):
            received += data
    except (ssl.SSLError, ConnectionError):
        return True
    except TimeoutError:
        return False
    place = 0
    while place + 4 <= len(received):
        (size,) = struct.unpack_from(">I", received, place)
        if size:
            assert codec.decode(bytes(received[place + 4 : place + 4 + size]))["type"] in ("hello", "not_member")
        place += 4 + size
    return True


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def unmoved(cluster: Cluster) -> int:
    """The term, which a stranger must not be able to raise."""
    term: int = cluster.leader().ask("status")["term"]
    return term


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_plain_socket_gets_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    term = unmoved(cluster)
    bomb = pickle.dumps({"type": Bomb(tmp_path / "pwned")})
    for payload in (bomb, frame(bomb), b"\x00" * 4096, b"GET / HTTP/1.1\r\n\r\n", os.urandom(512)):
        with socket.create_connection(address_of(cluster, cluster.ids[0]), timeout=5) as raw:
            raw.sendall(payload)
            assert is_cut_off(raw, b"x")
    assert unmoved(cluster) == term


def test_silence_is_cut_off(cluster: Cluster) -> None:
    with socket.create_connection(address_of(cluster, cluster.ids[0]), timeout=15) as raw:
        assert raw.recv(1) == b"", "a connection that says nothing does not stay"


def test_who_sends_and_hangs_up_at_once_stops_nobody(cluster: Cluster) -> None:
    """Python's ssl refuses to wrap such a connection: that was the end of the manager."""
    for number in range(300):
        with socket.create_connection(address_of(cluster, cluster.ids[number % 3]), timeout=5) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.sendall(b"bye")


def test_certificates_of_others_get_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    term = unmoved(cluster)
    member = cluster.ids[1]
    foreign = Cluster.__new__(Cluster)
    foreign.ca = pki.create_ca(CLUSTER_ID, utc_now())
    foreign.valid_s = 1e6
    leaf, key = joiner_leaf(pki.new_secret(), "joiner-manager", utc_now())
    strangers = {
        "foreign CA, a member's name": foreign.credentials(member),
        "worker": cluster.credentials(member, ROLE_WORKER),
        "admin": cluster.credentials(member, ROLE_ADMIN),
        "another cluster": cluster.credentials(member, cluster_id="d" * 25),
        "joiner": NodeCredentials(cluster.ca.certificate_pem, leaf, key),
        "manager who is no member": cluster.credentials(STRANGER),
    }
    for who, credentials in strangers.items():
        try:
            with connect(cluster, credentials, tmp_path / who.replace(" ", "_")) as connection:
                assert is_cut_off(connection), who
        except (ssl.SSLError, ConnectionError):
            continue  # not even the handshake
    assert unmoved(cluster) == term


def test_a_member_that_sends_garbage_loses_its_link_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    rng = random.Random(7)
    # A member that is down, so that its name is free to be used against the others.
    victim = next(m for m in cluster.living() if m is not cluster.leader()).spec["node_id"]
    cluster.members.pop(victim).kill()
    hello = codec.encode({"type": "hello", "address": "127.0.0.1:9", "era": None, "index": 0, "members": ()})
    valid = codec.encode({"type": "pre_vote", "term": 1, "round": 1, "last_log_index": 1, "last_log_term": 1})
    payloads = [
        frame(hello) + frame(pickle.dumps(Bomb(tmp_path / "pwned"))),
        frame(hello) + frame(b"\xff" + os.urandom(100)),
        frame(hello) + struct.pack(">I", 2**31) + b"x" * 100,
        frame(hello) + frame(valid[:-1]),
        frame(hello) + frame(valid + b"\x00"),
        *(frame(hello) + frame(bytes((rng.randrange(20),)) + rng.randbytes(60)) for _ in range(20)),
    ]
    for number, payload in enumerate(payloads):
        with connect(cluster, cluster.credentials(victim), tmp_path / f"bad{number}") as connection:
            connection.settimeout(5)
            assert is_cut_off(connection, payload), payload[:80]
    assert all(member.alive for member in cluster.members.values())


def test_a_renewed_certificate_is_used_while_links_and_writes_go_on(cluster: Cluster) -> None:
    leader = cluster.leader()
    leader.ask("load", prefix="busy")
    for member in cluster.living():
        cluster.credentials(member.spec["node_id"]).save(cluster.dir(member.spec["node_id"]) / "node")
        assert member.ask("reload") == "done"
    before = len(leader.acks)
    wait_for("more writes", lambda: len(leader.acks) > before + 100)
    assert leader.ask("status")["ready"]
    # The new certificate carries new links too.
    follower = next(m for m in cluster.living() if m is not leader)
    follower.kill()
    cluster.start(follower.spec["node_id"])
    wait_for("the follower to be back", lambda: len(leader.ask("status")["connected"]) == 2)
