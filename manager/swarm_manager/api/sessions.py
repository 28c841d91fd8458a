"""The leader's sessions with the nodes: what each was told, and when it was last heard from.

Theory of operation
    Sessions live in the leader's memory and end with its reign: `begin` and `end` bracket it.  A session has no
    queue of messages but a flag: when it is set, the assignments of the node are computed from the latest snapshot
    and what differs from those sent last is sent.  So a slow worker gets the latest state, never a backlog.

    A change that concerns all nodes costs a message a node.  When a thousand nodes join, that would be a thousand times
    a thousand: so a node is told at once after a while of silence, and further news not before a pause has passed,
    which is the longer the more nodes there are to be told (`pauses_s`).  It is cut short for what is urgent: others
    have to hear that a task is about to stop before it does.

    Silence is measured in time in which this loop could have heard somebody.  A loop that is late itself (frozen, or
    starved, or with too much to do) has heartbeats that it has not read: the time by which it was late does not count
    (`tick`).  Else a busy leader would judge a thousand nodes dead together, and be busier still when they return.
    When an earlier leader last saw a node nobody knows, so under a new one all begin with the whole patience.  Who has
    not come yet waits in line, so it begins anew with each that comes, for a while (`_RETURN_S`).  A thousand need ten
    seconds: to judge the last of them by then would be to move their tasks while they still run.

    Two daemons may run with one identity (a cloned disk).  The one that came later wins; the other is told, and stays
    refused, because else the two would take the node from each other for ever.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from swarm_api.dispatcher_pb2 import ManagerPeer
from swarm_api.specs_pb2 import NodeSpec

from swarm_manager.core.dispatch import Told
from swarm_manager.errors import ManagerError, NotFoundError, NotLeaderError, RefusedError

_PAUSE_S_A_NODE = 0.002  # some times what a message costs with the reports that it brings: they leave time for all else
_LONGEST_PAUSE_S = 2.0
_URGENT_SHARE = 0.25  # workers rely on others hearing within a second that a task is about to stop
_FEW_NODES = 10  # are told everything at once
_MUCH_S = 0.05
_RETURN_S = 30.0  # after its beginning a leader lets nodes that come make the others' time longer


@dataclass(eq=False, slots=True)
class NodeSession:
    """One node's stream, and what was sent on it."""

    id: str
    node_id: str
    boot_id: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    urgent: asyncio.Event = field(default_factory=asyncio.Event)  # what it is woken for does not wait
    sequence: int = 0
    sent: Told | None = None  # None: nothing yet
    sent_node: NodeSpec | None = None
    sent_managers: list[ManagerPeer] | None = None
    ended: ManagerError | None = None

    def end(self, reason: ManagerError) -> None:
        """Let the stream finish with this reason."""
        self.ended = self.ended or reason
        self.wake.set()
        self.urgent.set()

    async def rest(self, urgent_s: float, pause_s: float) -> None:
        """Let `pause_s` pass before the node is told more, or `urgent_s` when there is something urgent."""
        await asyncio.sleep(urgent_s)
        if pause_s > urgent_s:
            over = asyncio.get_running_loop().call_later(pause_s - urgent_s, self.urgent.set)
            await self.urgent.wait()
            over.cancel()


class Sessions:
    """All sessions of this manager's reign."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: dict[str, NodeSession] = {}
        self._last_seen: dict[str, float] = {}
        self._superseded: dict[str, set[int]] = {}
        self._began = 0.0
        self._last_return = 0.0
        self._last_tick = 0.0
        self._late_s = 0.0  # all the time by which the loop was late so far
        self.term: int | None = None  # None: this manager does not lead

    def begin(self, term: int) -> None:
        """This manager leads from now on."""
        self.term = term
        self._last_tick = self._clock()
        self._began = self._last_return = self._attentive_s()
        self._last_seen.clear()
        self._superseded.clear()

    def end(self, reason: ManagerError) -> None:
        """It does not any more: all sessions end, and the nodes look for the new leader."""
        self.term = None
        for session in list(self._sessions.values()):
            session.end(reason)
        self._sessions.clear()

    def open(self, node_id: str, boot_id: int) -> NodeSession:
        """A new session of the node, in place of the one it had."""
        if self.term is None:
            raise NotLeaderError("This manager does not lead any more.")
        if boot_id in self._superseded.get(node_id, ()):
            raise _superseded(node_id)
        old = self._sessions.get(node_id)
        if old is not None:
            self._replace(old, boot_id)
        session = NodeSession(secrets.token_hex(12), node_id, boot_id)
        self._sessions[node_id] = session
        now = self._attentive_s()
        if node_id not in self._last_seen:
            self._last_return = min(now, self._began + _RETURN_S)
        self._last_seen[node_id] = now
        return session

    def _replace(self, old: NodeSession, boot_id: int) -> None:
        if old.boot_id == boot_id:
            old.end(NotFoundError("The node opened another session."))
            return
        self._superseded.setdefault(old.node_id, set()).add(old.boot_id)
        old.end(_superseded(old.node_id))

    def close(self, session: NodeSession) -> None:
        """Its stream is over."""
        if self._sessions.get(session.node_id) is session:
            del self._sessions[session.node_id]

    def heard(self, node_id: str, session_id: str) -> NodeSession:
        """The node lives; its session, or NotFoundError when that is not the one we know."""
        session = self._sessions.get(node_id)
        if session is None or session.id != session_id:
            raise NotFoundError("The session is not known any more; open a new one.")
        self._last_seen[node_id] = self._attentive_s()
        return session

    def drop(self, node_id: str, reason: ManagerError) -> None:
        """End the node's session, if it has one."""
        session = self._sessions.pop(node_id, None)
        if session is not None:
            session.end(reason)

    def wake(self, node_ids: Iterable[str], *, urgent: bool = False) -> None:
        """Look whether these nodes must be told something."""
        for node_id in node_ids:
            session = self._sessions.get(node_id)
            if session is not None:
                session.wake.set()
                if urgent:
                    session.urgent.set()

    def wake_all(self) -> None:
        """Look at all of them."""
        self.wake(list(self._sessions))

    @property
    def pauses_s(self) -> tuple[float, float]:
        """For how long a node that was told something is told nothing urgent, and nothing at all, more."""
        count = len(self._sessions)
        pause_s = 0.0 if count < _FEW_NODES else min(count * _PAUSE_S_A_NODE, _LONGEST_PAUSE_S)
        return pause_s * _URGENT_SHARE, pause_s

    def node_ids(self) -> list[str]:
        """The nodes that have a session."""
        return list(self._sessions)

    def tick(self, expected_s: float) -> None:
        """To be called every `expected_s`: time by which this loop itself was late does not count as silence."""
        now = self._clock()
        late_s = max(0.0, now - self._last_tick - expected_s)
        self._last_tick = now
        self._late_s += late_s
        if late_s > _MUCH_S:  # who was heard before this was noticed was heard now, and not in time to come
            latest = self._attentive_s()
            self._last_seen = {node_id: min(latest, seen) for node_id, seen in self._last_seen.items()}
            self._last_return = min(latest, self._last_return)

    def _attentive_s(self) -> float:
        """The time on a clock that stands while this loop is late."""
        return self._clock() - self._late_s

    def silence_s(self, node_id: str) -> float:
        """For how long nothing was heard of the node, as far as this leader can know."""
        return max(0.0, self._attentive_s() - self._last_seen.get(node_id, self._last_return))


def _superseded(node_id: str) -> RefusedError:
    return RefusedError(
        f"Another daemon with the identity of node {node_id} has started after this one and took over; stop one of "
        "them (was the machine's disk cloned?)."
    )
