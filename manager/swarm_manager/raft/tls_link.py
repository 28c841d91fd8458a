"""One TLS connection between two managers: handshake, frames in, frames out, all without blocking."""

import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from swarm_manager.raft.poller import READ, WRITE, Poller
from swarm_manager.raft.tls_identity import TlsIdentity

_LENGTH = struct.Struct(">I")
ANYBODY = ""  # as `dialled`: a member is expected there, we do not know which
MAX_FRAME_BYTES = 24 << 20
_READ_BYTES = 256 << 10
_READ_AT_ONCE_BYTES = 1 << 20  # what is left is still in the socket, and the next poll tells of it
# For reading, and for writing: what is left is done by the next poll.  Each record of 16 kB is a system call, after
# which this thread waits for those that compute.
_SLICE_S = 0.005
_COALESCE_BYTES = 16 << 10
_AGAIN = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class LinkOwner(Protocol):
    """Who is told about a connection."""

    def established(self, link: "TlsLink", peer: str) -> None: ...
    def received(self, link: "TlsLink", frame: bytes) -> None: ...
    def ended(self, link: "TlsLink", reason: str) -> None: ...


class TlsLink:
    """States: connecting -> handshaking -> up -> closed.  `dialled` says which side began.

    A certificate is looked at in the handshake only: `ends_at` says when the peer's ends (Unix time), and
    `generation` which of ours was shown, so that the owner can replace the link in time.
    """

    def __init__(
        self,
        owner: LinkOwner,
        poller: Poller,
        identity: TlsIdentity,
        connection: socket.socket,
        *,
        dialled: str | None,
        now: float,
    ) -> None:
        """`dialled` is the peer we want to reach, ANYBODY for whichever is there, None for an accepted connection."""
        self._owner = owner
        self._poller = poller
        self._identity = identity
        self._socket: socket.socket | ssl.SSLSocket = connection
        self._fd = connection.fileno()
        self._inbox = bytearray()
        self._outbox: deque[memoryview] = deque()
        self._inbox_touched = False
        self._watched = 0
        self.dialled = dialled
        self.generation = 0
        self.ends_at = float("inf")
        self.peer: str | None = None
        self.state = "connecting"
        self.began_at = self.received_at = self.sent_at = now
        self.outbox_bytes = 0
        self._watch(READ | WRITE)  # all else when the poller says so: a stranger may have hung up already

    def send(self, frames: Sequence[bytes], now: float) -> None:
        """Queue these frames and write what the socket takes."""
        was_idle = not self._outbox
        for frame in frames:
            self._outbox.append(memoryview(_LENGTH.pack(len(frame)) + frame))
            self.outbox_bytes += len(frame) + _LENGTH.size
        self.sent_at = now
        if self.state == "up" and was_idle:
            self._guarded(self._flush)

    def close(self, reason: str) -> None:
        """Close the socket; the owner is told once."""
        if self.state == "closed":
            return
        self.state = "closed"
        self._poller.forget(self._fd)
        self._socket.close()
        self._outbox.clear()
        self.outbox_bytes = 0
        self._owner.ended(self, reason)

    def tick(self, now: float) -> None:
        """Note the time; what arrived since the last tick counts as arrived now."""
        if self._inbox_touched:
            self.received_at = now
            self._inbox_touched = False

    def _ready(self, events: int) -> None:
        if self.state != "closed":
            self._guarded(lambda: self._progress(events))

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self.close(str(error) or type(error).__name__)

    def _progress(self, events: int) -> None:
        if self.state == "connecting":
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, "cannot connect")
            self._wrap()
        if self.state == "handshaking" and not self._shake_hands():
            return
        if events & READ or self.state == "up":
            self._read()
        self._flush()

    def _wrap(self) -> None:
        self.generation = self._identity.generation
        context = self._identity.server if self.dialled is None else self._identity.client
        assert isinstance(self._socket, socket.socket)
        self._socket = context.wrap_socket(
            self._socket, server_side=self.dialled is None, do_handshake_on_connect=False
        )
        self.state = "handshaking"

    def _shake_hands(self) -> bool:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
            return False
        except ssl.SSLWantWriteError:
            self._watch(READ | WRITE)
            return False
        certificate = self._socket.getpeercert()
        peer = self._identity.peer_id(certificate)
        if peer is None or self.dialled not in (None, ANYBODY, peer):
            self.close(f"the peer's certificate is not that of the manager wanted ({self.dialled})")
            return False
        self.state, self.peer = "up", peer
        self.dialled = peer if self.dialled is not None else None
        self.ends_at = ssl.cert_time_to_seconds(str((certificate or {})["notAfter"]))
        self._owner.established(self, peer)
        return self.state == "up"

    def _read(self) -> None:
        end_bytes, end = len(self._inbox) + _READ_AT_ONCE_BYTES, time.monotonic() + _SLICE_S
        ended, goes_on = False, True
        while goes_on:
            try:
                data = self._socket.recv(_READ_BYTES)  # one TLS record: none is ever read in part
            except _AGAIN:
                break
            ended = not data
            self._inbox += data
            self._inbox_touched = True
            goes_on = not ended and len(self._inbox) < end_bytes and time.monotonic() < end
        self._split_frames()
        if ended:
            self.close("the peer closed the connection")

    def _split_frames(self) -> None:
        inbox, place = self._inbox, 0
        while self.state == "up" and len(inbox) - place >= _LENGTH.size:
            (size_bytes,) = _LENGTH.unpack_from(inbox, place)
            if size_bytes > MAX_FRAME_BYTES:
                self.close("a frame is too big")
                return
            end = place + _LENGTH.size + size_bytes
            if end > len(inbox):
                break
            frame = bytes(memoryview(inbox)[place + _LENGTH.size : end])
            place = end
            if frame:  # an empty frame is a ping
                self._owner.received(self, frame)
        del inbox[:place]

    def _flush(self) -> None:
        end, goes_on = time.monotonic() + _SLICE_S, True
        while goes_on and self._outbox and self.state == "up":
            if len(self._outbox) > 1 and len(self._outbox[0]) < _COALESCE_BYTES:
                self._coalesce()
            head = self._outbox[0]
            try:
                sent = self._socket.send(head)
            except _AGAIN:
                break
            self.outbox_bytes -= sent
            if sent < len(head):
                self._outbox[0] = head[sent:]
            else:
                self._outbox.popleft()
            goes_on = time.monotonic() < end
        if self.state == "up":
            self._watch(READ | (WRITE if self._outbox else 0))

    def _coalesce(self) -> None:
        """Many small frames make one TLS record and one system call."""
        parts, size_bytes = [], 0
        while self._outbox and size_bytes < _COALESCE_BYTES:
            part = self._outbox.popleft()
            parts.append(part)
            size_bytes += len(part)
        self._outbox.appendleft(memoryview(b"".join(parts)))

    def _watch(self, events: int) -> None:
        if events != self._watched:
            self._watched = events
            self._poller.watch(self._fd, events, self._ready)
