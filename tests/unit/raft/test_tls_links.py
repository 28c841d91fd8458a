"""Links on real sockets and a clock that stands still: nothing that happens here is a timeout's work."""

import contextlib
import random
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_api.identity import ROLE_MANAGER, NodeCredentials, new_key_and_csr, utc_now
from swarm_manager import pki
from swarm_manager.raft import tls_link
from swarm_manager.raft.config import split_address
from swarm_manager.raft.poller import Poller
from swarm_manager.raft.tls_identity import TlsIdentity
from swarm_manager.raft.tls_link import MAX_FRAME_BYTES, TlsLink
from swarm_manager.raft.tls_links import MAX_ANONYMOUS, TlsLinks

CA = pki.create_ca("c", utc_now())
POLLS = 5000


class Recorder:
    """A LinkHandler that notes what it is told."""

    def __init__(self) -> None:
        self.up: list[str] = []
        self.frames: list[bytes] = []

    def link_up(self, peer: str) -> None:
        self.up.append(peer)

    def link_down(self, peer: str) -> None:
        self.up.remove(peer)

    def frame_received(self, peer: str, frame: bytes) -> None:
        self.frames.append(frame)


class Side:
    """The links of one manager, and its poller."""

    def __init__(self, node_id: str, clock: Callable[[], float] = lambda: 5.0) -> None:
        key, csr = new_key_and_csr()
        certificate = pki.issue_from_csr(CA, csr, node_id=node_id, role=ROLE_MANAGER, cluster_id="c", now=utc_now())
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.poller = Poller()
        self.told = Recorder()
        identity = TlsIdentity(NodeCredentials(CA.certificate_pem, certificate, key))
        self.links = TlsLinks(identity, self.poller, clock, listen=self.address)
        self.links.open(self.told)

    def close(self) -> None:
        self.links.close()
        self.poller.close()


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    """One that listens, and one with the greater id, which dials."""
    pair = Side("a"), Side("b")
    yield pair
    for side in pair:
        side.close()


def poll_until_linked(one: Side, other: Side) -> None:
    other.links.set_peers({"a": one.address})
    for _ in range(POLLS):
        if one.told.up and other.told.up:
            return
        other.links.tick()
        for side in (one, other):
            side.poller.poll(0.001)
    raise AssertionError("they never linked")


def test_strangers_that_say_nothing_do_not_keep_a_member_out(sides: tuple[Side, Side]) -> None:
    one, other = sides
    with contextlib.ExitStack() as crowd:
        for _ in range(MAX_ANONYMOUS + 10):
            crowd.enter_context(socket.create_connection(split_address(one.address), timeout=5))
            one.poller.poll(0.01)
        poll_until_linked(one, other)
    assert one.told.up == ["b"]


def test_a_stranger_that_sent_and_hung_up_before_it_was_looked_at_is_forgotten(sides: tuple[Side, Side]) -> None:
    one, other = sides
    for _ in range(20):
        with socket.create_connection(split_address(one.address), timeout=5) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stranger.sendall(b"bye")
        one.poller.poll(0.01)
    poll_until_linked(one, other)
    assert one.told.frames == []


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4), st.integers(0, 2**32))
def test_whatever_a_stranger_sends_the_links_go_on(chunks: list[bytes], seed: int) -> None:
    with contextlib.closing(Side("a")) as one, contextlib.closing(Side("b")) as other:
        rng = random.Random(seed)
        for chunk in chunks:
            with socket.create_connection(split_address(one.address), timeout=5) as stranger:
                stranger.sendall(bytes.fromhex("16030100500100004c0303") + chunk if rng.random() < 0.5 else chunk)
                for _ in range(rng.randrange(3)):
                    one.poller.poll(0.001)
        poll_until_linked(one, other)
        assert one.told.up == ["b"]
        assert one.told.frames == []


def test_a_frame_that_is_too_long_is_refused_before_it_is_collected(sides: tuple[Side, Side]) -> None:
    one, other = sides
    poll_until_linked(one, other)
    link: TlsLink = other.links._links["a"]
    link._outbox.append(memoryview(struct.pack(">I", MAX_FRAME_BYTES + 1) + b"x" * 100))
    link._flush()
    for _ in range(POLLS):
        if not one.told.up:
            break
        one.poller.poll(0.001)
    assert not one.told.up, "the link is closed"
    assert one.told.frames == []


GROUPS = st.lists(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=4), min_size=1, max_size=8)


def send_and_compare(groups: list[list[bytes]]) -> None:
    frames = [frame for group in groups for frame in group]
    with contextlib.closing(Side("a")) as one, contextlib.closing(Side("b")) as other:
        poll_until_linked(one, other)
        for group in groups:
            assert other.links.send("a", *group)
        for _ in range(POLLS):
            if len(one.told.frames) == len(frames):
                break
            for side in (one, other):
                side.poller.poll(0.001)
        assert one.told.frames == frames


@given(GROUPS)
@settings(max_examples=20, deadline=None)
def test_frames_come_out_as_they_went_in(groups: list[list[bytes]]) -> None:
    send_and_compare(groups)


def test_what_there_is_no_time_for_is_read_by_the_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_link, "_SLICE_S", 0.0)
    send_and_compare([[bytes(40_000)], [b"x", b"y"], [bytes(90_000)], [b"z"]])
