"""A network under the real transport: frames are delayed, dropped, doubled, and links break.

Links are what TCP gives (in order, or broken), and optionally worse than that: single frames vanish, arrive
twice or out of order.  `hello` is exempt, for it stands for the TLS handshake.  What a process sent before it
died still arrives, and its peers see the end of the link after that.
"""

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm_manager.raft import codec
from swarm_manager.raft.links import LinkHandler

from tests.sim.clocks import Clock

HANDSHAKE_TYPES = frozenset({codec.MESSAGES["hello"][0], codec.MESSAGES["not_member"][0]})
DEAD_S = 2.5
UP, DOWN = b"", b"\0"  # in a member's inbox: the link to this peer came up, or went down
Pair = frozenset[str]


@dataclass(order=True)
class _Flight:
    at: float
    number: int
    sender: str = field(compare=False)
    receiver: str = field(compare=False)
    frame: bytes = field(compare=False)
    link: int = field(compare=False)


@dataclass
class Weather:
    """How bad it is.  Probabilities per frame."""

    latency_s: tuple[float, float] = (0.0002, 0.003)
    loss: float = 0.0
    doubling: float = 0.0
    disorder: float = 0.0


class Network:
    """All links between all members."""

    def __init__(self, rng: random.Random, now: Clock) -> None:
        self._rng = rng
        self._now = now
        self.weather = Weather()
        self.members: dict[str, SimLinks] = {}
        self.cut: dict[tuple[str, str], float] = {}  # direction: since
        self._links: dict[Pair, int] = {}
        self._numbers = itertools.count(1)
        self._flights: list[_Flight] = []
        self._arrivals: dict[tuple[str, str], float] = defaultdict(float)
        self._dial_at: dict[Pair, float] = {}
        self._draining: dict[int, str] = {}  # a link that was closed: who closed it, and so is still heard
        self.counts: Counter[str] = Counter()

    # ---------------------------------------------------------------------------------- members' side

    def join(self, links: "SimLinks") -> None:
        self.members[links.node_id] = links

    def leave(self, node_id: str) -> None:
        """The member's process ended: its kernel still sends what it wrote, then says so to its peers."""
        self.members.pop(node_id, None)
        for pair in [pair for pair in self._links if node_id in pair]:
            (peer,) = pair - {node_id}
            self._shut(node_id, peer)

    def close(self, node_id: str, peer: str) -> None:
        """A member closes a link: what it wrote still arrives, what was on its way to it does not."""
        if self.linked(node_id, peer):
            self._shut(node_id, peer)
            self.members[node_id].inbox.append((peer, DOWN))

    def _shut(self, node_id: str, peer: str) -> None:
        pair = frozenset((node_id, peer))
        link = self._links.pop(pair)
        last = max((f.at for f in self._flights if f.link == link and f.receiver == peer), default=self._now())
        self._draining[link] = node_id
        self._dial_at[pair] = last + self._rng.uniform(0.001, 0.2)
        heapq.heappush(self._flights, _Flight(last + 1e-6, next(self._numbers), node_id, peer, DOWN, link))

    def linked(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self._links

    def send(self, sender: str, receiver: str, frame: bytes) -> bool:
        link = self._links.get(frozenset((sender, receiver)))
        if link is None:
            return False
        weather, rng = self.weather, self._rng
        tame = frame[0] in HANDSHAKE_TYPES
        if (sender, receiver) in self.cut:
            if tame:  # the handshake fails
                self.reset(frozenset((sender, receiver)))
            return True
        if not tame and rng.random() < weather.loss:
            self.counts["frames lost"] += 1
            return True
        is_doubled = not tame and rng.random() < weather.doubling
        self.counts["frames doubled"] += is_doubled
        for _ in range(1 + is_doubled):
            at = self._now() + rng.uniform(*weather.latency_s)
            if tame or rng.random() >= weather.disorder:
                at = self._arrivals[sender, receiver] = max(at, self._arrivals[sender, receiver] + 1e-7)
            else:
                self.counts["frames out of order"] += 1
                at += rng.uniform(0, 0.3)
            heapq.heappush(self._flights, _Flight(at, next(self._numbers), sender, receiver, frame, link))
        return True

    # ----------------------------------------------------------------------------------- world's side

    @property
    def next_arrival(self) -> float:
        return self._flights[0].at if self._flights else float("inf")

    def arrived(self) -> list[tuple[str, str, bytes]]:
        """(receiver, sender, frame) of what has arrived by now."""
        out = []
        while self._flights and self._flights[0].at <= self._now():
            flight = heapq.heappop(self._flights)
            alive = self._links.get(frozenset((flight.sender, flight.receiver))) == flight.link
            if alive or self._draining.get(flight.link) == flight.sender:
                out.append((flight.receiver, flight.sender, flight.frame))
        return out

    def keep_links(self) -> None:
        """Make and break links as dialling, partitions and silence would."""
        count = len(self.members)
        if not self.cut and len(self._links) == count * (count - 1) // 2:
            return  # all are linked with all
        now = self._now()
        for direction, since in self.cut.items():
            pair = frozenset(direction)
            if pair in self._links and now - since > DEAD_S:
                self.reset(pair)
        ids = sorted(self.members)
        for place, one in enumerate(ids):
            for other in ids[place + 1 :]:
                self._connect_when_due(one, other, now)

    def _connect_when_due(self, one: str, other: str, now: float) -> None:
        pair = frozenset((one, other))
        wanted = other in self.members[one].peers or one in self.members[other].peers
        if pair in self._links or not wanted or (one, other) in self.cut or (other, one) in self.cut:
            return
        due = self._dial_at.setdefault(pair, now + self._rng.uniform(0.0, 0.2))
        if due > now:
            return
        del self._dial_at[pair]
        self._links[pair] = next(self._numbers)
        for me, peer in ((one, other), (other, one)):
            self.members[me].inbox.append((peer, UP))

    def reset(self, pair: Pair) -> None:
        """Break a link; what was in flight on it is lost."""
        if self._links.pop(pair, None) is None:
            return
        one, other = sorted(pair)
        for me, peer in ((one, other), (other, one)):
            if me in self.members:
                self.members[me].inbox.append((peer, DOWN))

    def partition(self, one: str, other: str, *, both: bool) -> None:
        self.cut.setdefault((one, other), self._now())
        if both:
            self.cut.setdefault((other, one), self._now())

    def heal(self) -> None:
        self.cut.clear()


class SimLinks:
    """raft.links.Links of one member."""

    def __init__(self, network: Network, node_id: str) -> None:
        self._network = network
        self.node_id = node_id
        self.peers: Mapping[str, str] = {}
        self.handler: LinkHandler
        self.inbox: list[tuple[str, bytes]] = []  # (peer, frame or UP or DOWN), in order

    def open(self, handler: LinkHandler) -> None:
        self.handler = handler
        self._network.join(self)

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        self.peers = dict(addresses)

    def send(self, peer: str, *frames: bytes) -> bool:
        return all(self._network.send(self.node_id, peer, frame) for frame in frames)

    def backlog_bytes(self, peer: str) -> int:
        return 0

    def drop(self, peer: str, reason: str) -> None:
        self._network.close(self.node_id, peer)

    def tick(self) -> float:
        return float("inf")

    def close(self) -> None:
        """The world takes the member off the network."""
