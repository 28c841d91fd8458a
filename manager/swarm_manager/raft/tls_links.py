"""All TLS links of one manager: listening, dialling, and one link per pair.

Of two managers the one with the greater id dials.  The other dials too when no link has come up for a while:
that is how a manager whose address the others do not know (any more) gets back.  When both dialled, the
greater id's connection stays, and of two from the same side the newer.  Seeds are addresses where some member may
be: they are dialled while a peer is missing, so managers that have all moved find each other when told where to look.

Silence is death: pings go out twice a second, and a link that is silent for `DEAD_S` is closed.

A link shows the certificates of its beginning.  When ours is renewed, each link is replaced: either side dials anew,
the new link takes over at once, and the old one is read until nothing can be left in it.  So no frame is lost, and
those above do not notice.  A link whose peer let its certificate end is closed.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from swarm_manager.raft.config import split_address
from swarm_manager.raft.links import LinkHandler
from swarm_manager.raft.poller import READ, Poller
from swarm_manager.raft.tls_identity import TlsIdentity
from swarm_manager.raft.tls_link import ANYBODY, TlsLink

_log = logging.getLogger(__name__)
PING_S = 0.5
DEAD_S = 2.5
RETRY_S = 0.1
RETRY_MAX_S = 1.0
LESSER_WAITS_S = 1.5
TICK_S = 0.25
LATE_S = 0.15  # how long a tick may be late, for something else that wakes us anyway
SETTLED_S = 2.0
ALIVE_S = 3 * PING_S  # heard from so lately, a link that is replaced is no sign that its peer was away
RETIRE_S = 1.0
SEED_RETRY_S = 1.0
MAX_ANONYMOUS = 64
_PING = b""


@dataclass(slots=True)
class _Peer:
    address: str
    since: float
    dial_at: float = 0.0
    retry_s: float = RETRY_S


class TlsLinks:
    """Implements links.Links on real sockets, within the Raft thread's poller."""

    def __init__(
        self,
        identity: TlsIdentity,
        poller: Poller,
        clock: Callable[[], float],
        *,
        listen: str,
        seeds: Sequence[str] = (),
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` must be monotonic; `wall_clock` (Unix time) is what certificates are judged by."""
        self._identity = identity
        self._poller = poller
        self._now = clock
        self._listen = listen
        self._listener: socket.socket | None = None
        self._handler: LinkHandler
        self._peers: dict[str, _Peer] = {}
        self._links: dict[str, TlsLink] = {}
        self._anonymous: set[TlsLink] = set()
        self._dialling: dict[str, TlsLink] = {}  # by node id, or by a seed's address
        self._retiring: dict[TlsLink, float] = {}  # replaced; until when they are read
        self._wall_clock = wall_clock
        self._seeds = {address: _Peer(address, 0.0) for address in seeds}
        self._found_at: dict[str, str] = {}  # who was met at a seed
        self._tick_at = 0.0
        self.refused: list[str] = []

    # ----------------------------------------------------------------------------------- links.Links

    def open(self, handler: LinkHandler) -> None:
        """Listen.  OSError when the address cannot be bound."""
        self._handler = handler
        address = split_address(self._listen)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(64)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._poller.watch(listener.fileno(), READ, self._accept)

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        """Dial these from now on."""
        now = self._now()
        for peer in set(self._peers) - set(addresses):
            del self._peers[peer]
            if peer in self._dialling:
                self._dialling[peer].close("not a peer any more")
        for peer, address in addresses.items():
            known = self._peers.get(peer)
            if known is None or known.address != address:
                self._peers[peer] = _Peer(address, now)
                self._tick_at = now

    def send(self, peer: str, *frames: bytes) -> bool:
        """Queue these frames; False when there is no link."""
        link = self._links.get(peer)
        if link is None:
            return False
        link.send(frames, self._now())
        return link.state == "up"

    def backlog_bytes(self, peer: str) -> int:
        """What the socket has not taken yet."""
        link = self._links.get(peer)
        return link.outbox_bytes if link else 0

    def drop(self, peer: str, reason: str) -> None:
        """Close the link to this peer."""
        for link in [link for link in self._retiring if link.peer == peer]:
            link.close(reason)
        if peer in self._links:
            self._links[peer].close(reason)

    def tick(self) -> float:
        """Dial, ping, give up, when it is time; to be called whenever awake, and by the time returned."""
        now = self._now()
        if now >= self._tick_at:
            self._tick_at = self._tick(now)
        return self._tick_at + LATE_S if self._is_whole() else self._tick_at

    def _is_whole(self) -> bool:
        """Whether every peer has its link, and nothing is under way."""
        return len(self._links) == len(self._peers) and not (self._anonymous or self._dialling or self._retiring)

    def _tick(self, now: float) -> float:
        for link in list(self._links.values()):
            self._look_after(link, now)
        for link in [link for link, until in self._retiring.items() if until <= now]:
            link.close("it was replaced")
        for link in [*self._anonymous, *self._dialling.values()]:
            if now - link.began_at > DEAD_S:
                link.close("the handshake took too long")
        due = now + TICK_S
        for node_id, peer in list(self._peers.items()):
            due = min(due, self._dial_when_due(node_id, peer, now))
        if self._peers.keys() - self._links.keys():
            self._dial_seeds(now)
        return due

    def _look_after(self, link: TlsLink, now: float) -> None:
        link.tick(now)
        if now - link.received_at > DEAD_S:
            link.close("silent")
        elif self._wall_clock() > link.ends_at:
            link.close("the peer's certificate has ended")
        elif now - link.sent_at >= PING_S:
            link.send((_PING,), now)

    def close(self) -> None:
        """Stop listening and close every link."""
        for link in [*self._links.values(), *self._retiring, *self._anonymous, *self._dialling.values()]:
            link.close("this manager stops")
        if self._listener is not None:
            self._poller.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    # -------------------------------------------------------------------------------------- dialling

    def _dial_when_due(self, node_id: str, peer: _Peer, now: float) -> float:
        link = self._links.get(node_id)
        if node_id in self._dialling or (link is not None and link.generation == self._identity.generation):
            return now + TICK_S
        due = peer.dial_at
        if link is None and self._identity.node_id < node_id:
            due = max(due, peer.since + LESSER_WAITS_S)
        if due <= now:
            peer.dial_at = due = now + peer.retry_s
            peer.retry_s = min(peer.retry_s * 2, RETRY_MAX_S)
            self._dial(node_id, node_id, peer.address, now)
        return due

    def _dial_seeds(self, now: float) -> None:
        on_record = {peer.address for peer in self._peers.values()}
        here = {*self._links, self._identity.node_id}
        for address, seed in self._seeds.items():
            known = address in on_record or self._found_at.get(address) in here
            if not known and address not in self._dialling and seed.dial_at <= now:
                seed.dial_at = now + SEED_RETRY_S
                self._dial(address, ANYBODY, address, now)

    def _dial(self, key: str, wanted: str, address: str, now: float) -> None:
        host, port = split_address(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            _set_options(connection)
            connection.connect((host, port))
        except BlockingIOError:
            pass  # the handshake with the peer's kernel goes on
        except OSError as error:
            connection.close()
            _log.debug("cannot dial %s at %s: %s", wanted, address, error)
            return
        self._dialling[key] = TlsLink(self, self._poller, self._identity, connection, dialled=wanted, now=now)

    def _accept(self, events: int) -> None:  # noqa: ARG002 - the poller's callback
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            _set_options(connection)
        except OSError:
            return  # gone again, or out of descriptors: the next one may succeed
        if len(self._anonymous) >= MAX_ANONYMOUS:  # who has no certificate must not keep out who has one
            min(self._anonymous, key=lambda link: link.began_at).close("too many connections without a certificate")
        link = TlsLink(self, self._poller, self._identity, connection, dialled=None, now=self._now())
        self._anonymous.add(link)

    # ----------------------------------------------------------------------------- tls_link.LinkOwner

    def established(self, link: TlsLink, peer: str) -> None:
        """The peer proved to be a manager of our cluster."""
        self._anonymous.discard(link)
        key = self._forget_dialling(link)
        if key in self._seeds:
            self._found_at[key] = peer
        if peer == self._identity.node_id:
            link.close("that is this manager itself")
            return
        old = self._links.get(peer)
        if old is not None and not self._gives_way(old, link, peer):
            link.close("there is a better link")
            return
        if old is not None:
            self._replace(old, peer)
        link.received_at = self._now()
        self._links[peer] = link
        self._handler.link_up(peer)

    def _gives_way(self, old: TlsLink, new: TlsLink, peer: str) -> bool:
        """Of two links that came up together both sides must keep the same one; later the newer counts."""
        together = self._now() - old.began_at < SETTLED_S
        return not (together and self._by_greater(old, peer) and not self._by_greater(new, peer))

    def _replace(self, old: TlsLink, peer: str) -> None:
        if self._now() - old.received_at > ALIVE_S:
            old.close("there is a newer link")  # the peer was away, and those above are to know
            return
        del self._links[peer]
        self._retiring[old] = self._now() + RETIRE_S

    def _forget_dialling(self, link: TlsLink) -> str:
        """Under which key it was dialled; empty when it was accepted."""
        key = next((key for key, dialled in self._dialling.items() if dialled is link), "")
        self._dialling.pop(key, None)
        return key

    def received(self, link: TlsLink, frame: bytes) -> None:
        """A frame from a link that is up."""
        if link.peer is not None and (self._links.get(link.peer) is link or link in self._retiring):
            self._handler.frame_received(link.peer, frame)

    def ended(self, link: TlsLink, reason: str) -> None:
        """A connection is gone, whatever state it was in."""
        self._anonymous.discard(link)
        self._forget_dialling(link)
        self._retiring.pop(link, None)
        if link.peer is None or self._links.get(link.peer) is not link:
            _log.debug("a connection (to %s) ended before it was up: %s", link.dialled, reason)
            return
        _log.info("the link to manager %s ended: %s", link.peer, reason)
        del self._links[link.peer]
        if link.peer in self._peers:
            now = self._now()
            self._peers[link.peer].since = now
            if now - link.began_at > SETTLED_S:  # it was a real link, not a refusal: dial again at once
                self._peers[link.peer].retry_s = RETRY_S
                self._peers[link.peer].dial_at = self._tick_at = now
        self._handler.link_down(link.peer)

    def _by_greater(self, link: TlsLink, peer: str) -> bool:
        """Whether the manager with the greater id dialled this link."""
        return (link.dialled is not None) == (self._identity.node_id > peer)


def _set_options(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer whose power went leaves unacknowledged data behind: give up soon instead of after 15 minutes.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
