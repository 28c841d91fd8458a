"""All TLS links of one manager: listening, dialling, and one link per pair.

Of two managers the one with the greater id dials.  The other dials too when no link has come up for a while:
that is how a manager whose address the others do not know (any more) gets back.  When both dialled, the
greater id's connection stays, and of two from the same side the newer.

Silence is death: pings go out twice a second, and a link that is silent for `DEAD_S` is closed.
"""

import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from swarm_manager.raft.config import split_address
from swarm_manager.raft.links import LinkHandler
from swarm_manager.raft.poller import READ, Poller
from swarm_manager.raft.tls_identity import TlsIdentity
from swarm_manager.raft.tls_link import TlsLink

_log = logging.getLogger(__name__)
PING_S = 0.5
DEAD_S = 2.5
RETRY_S = 0.1
RETRY_MAX_S = 1.0
LESSER_WAITS_S = 1.5
TICK_S = 0.25
SETTLED_S = 2.0
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

    def __init__(self, identity: TlsIdentity, poller: Poller, clock: Callable[[], float], *, listen: str) -> None:
        self._identity = identity
        self._poller = poller
        self._now = clock
        self._listen = listen
        self._listener: socket.socket | None = None
        self._handler: LinkHandler
        self._peers: dict[str, _Peer] = {}
        self._links: dict[str, TlsLink] = {}
        self._anonymous: set[TlsLink] = set()
        self._dialling: dict[str, TlsLink] = {}
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

    def send(self, peer: str, frame: bytes) -> bool:
        """Queue a frame; False when there is no link."""
        link = self._links.get(peer)
        if link is None:
            return False
        link.send(frame, self._now())
        return link.state == "up"

    def backlog_bytes(self, peer: str) -> int:
        """What the socket has not taken yet."""
        link = self._links.get(peer)
        return link.outbox_bytes if link else 0

    def drop(self, peer: str, reason: str) -> None:
        """Close the link to this peer."""
        link = self._links.get(peer)
        if link is not None:
            link.close(reason)

    def tick(self) -> float:
        """Dial, ping, give up; due again after TICK_S, or sooner for a retry."""
        now = self._now()
        for link in list(self._links.values()):
            link.tick(now)
            if now - link.received_at > DEAD_S:
                link.close("silent")
            elif now - link.sent_at >= PING_S:
                link.send(_PING, now)
        for link in [*self._anonymous, *self._dialling.values()]:
            if now - link.began_at > DEAD_S:
                link.close("the handshake took too long")
        due = now + TICK_S
        for node_id, peer in list(self._peers.items()):
            due = min(due, self._dial_when_due(node_id, peer, now))
        return due

    def close(self) -> None:
        """Stop listening and close every link."""
        for link in [*self._links.values(), *self._anonymous, *self._dialling.values()]:
            link.close("this manager stops")
        if self._listener is not None:
            self._poller.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    # -------------------------------------------------------------------------------------- dialling

    def _dial_when_due(self, node_id: str, peer: _Peer, now: float) -> float:
        if node_id in self._links or node_id in self._dialling:
            return now + TICK_S
        due = peer.dial_at
        if self._identity.node_id < node_id:
            due = max(due, peer.since + LESSER_WAITS_S)
        if due <= now:
            peer.dial_at = due = now + peer.retry_s
            peer.retry_s = min(peer.retry_s * 2, RETRY_MAX_S)
            self._dial(node_id, peer.address, now)
        return due

    def _dial(self, node_id: str, address: str, now: float) -> None:
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
            _log.debug("cannot dial %s at %s: %s", node_id, address, error)
            return
        self._dialling[node_id] = TlsLink(self, self._poller, self._identity, connection, dialled=node_id, now=now)

    def _accept(self, events: int) -> None:  # noqa: ARG002 - the poller's callback
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # gone again, or out of descriptors: the next one may succeed
        connection.setblocking(False)
        if len(self._anonymous) >= MAX_ANONYMOUS:
            connection.close()
            return
        _set_options(connection)
        link = TlsLink(self, self._poller, self._identity, connection, dialled=None, now=self._now())
        self._anonymous.add(link)

    # ----------------------------------------------------------------------------- tls_link.LinkOwner

    def established(self, link: TlsLink, peer: str) -> None:
        """The peer proved to be a manager of our cluster."""
        self._anonymous.discard(link)
        if self._dialling.get(peer) is link:
            del self._dialling[peer]
        if peer == self._identity.node_id:
            link.close("that is this manager itself")
            return
        old = self._links.get(peer)
        if old is not None:
            if self._by_greater(old, peer) and not self._by_greater(link, peer):
                link.close("there is a better link")
                return
            old.close("there is a newer link")
        link.received_at = self._now()
        self._links[peer] = link
        self._handler.link_up(peer)

    def received(self, link: TlsLink, frame: bytes) -> None:
        """A frame from a link that is up."""
        if link.peer is not None and self._links.get(link.peer) is link:
            self._handler.frame_received(link.peer, frame)

    def ended(self, link: TlsLink, reason: str) -> None:
        """A connection is gone, whatever state it was in."""
        self._anonymous.discard(link)
        if link.dialled is not None and self._dialling.get(link.dialled) is link:
            del self._dialling[link.dialled]
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
                self._peers[link.peer].dial_at = now
        self._handler.link_down(link.peer)

    def _by_greater(self, link: TlsLink, peer: str) -> bool:
        """Whether the manager with the greater id dialled this link."""
        return (link.dialled is not None) == (self._identity.node_id > peer)


def _set_options(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer whose power went leaves unacknowledged data behind: give up soon instead of after 15 minutes.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
