"""Linearizable reads: the read-index round, one for all who ask within a tick.

The leader notes its commit index, then makes sure it still leads by hearing from a majority *after* that.
Whoever reads once the state machine has applied that index sees every write acknowledged before it asked.
"""

import itertools
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm_manager.raft.codec import Message
from swarm_manager.raft.errors import NotLeader
from swarm_manager.raft.futures import fail, resolve

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

RESEND_S = 0.25


@dataclass(slots=True)
class _Read:
    future: Future[int]
    deadline: float


@dataclass(slots=True)
class _Round:
    term: int
    index: int
    sent_at: float
    reads: list[_Read]
    confirmed: set[str] = field(default_factory=set)


class ReadBarriers:
    """`submit` from any thread; everything else on the Raft thread."""

    def __init__(self, core: "RaftCore") -> None:
        self._core = core
        self._asked: deque[_Read] = deque()
        self._rounds: dict[int, _Round] = {}
        self._numbers = itertools.count(1)

    @property
    def waiting(self) -> bool:
        """Whether anybody waits."""
        return bool(self._asked or self._rounds)

    def submit(self, deadline: float) -> Future[int]:
        """Ask for a barrier until this clock time."""
        future: Future[int] = Future()
        self._asked.append(_Read(future, deadline))
        return future

    def drain(self) -> None:
        """Start a round for those who asked, settle those that are through, give up what is late."""
        core = self._core
        if not core.is_ready:
            self.fail_all()
            return
        if self._asked:
            reads = [self._asked.popleft() for _ in range(len(self._asked))]
            number = next(self._numbers)
            self._rounds[number] = _Round(core.term, core.commit_index, core.now(), reads, {core.node_id})
            self._send(number)
        for number in list(self._rounds):
            self._advance(number)

    def fail_all(self) -> None:
        """This node does not lead (any more)."""
        reads = [self._asked.popleft() for _ in range(len(self._asked))]
        for stale in self._rounds.values():
            reads += stale.reads
        self._rounds.clear()
        for read in reads:
            fail(read.future, self._core.not_leader("reads"))

    def on_request(self, peer: str, message: Message) -> None:
        """A leader asks whether we still follow its term."""
        if message["term"] == self._core.term:
            self._core.transport.send_own(peer, {**message, "type": "read_index_reply"})

    def on_reply(self, peer: str, message: Message) -> None:
        """A member still followed our term after the round began."""
        asked = self._rounds.get(message["round"])
        if asked is not None and asked.term == message["term"] == self._core.term:
            asked.confirmed.add(peer)

    def _send(self, number: int) -> None:
        core = self._core
        asked = self._rounds[number]
        asked.sent_at = core.now()
        for peer in core.journal.membership.voters - asked.confirmed:
            core.transport.send_own(peer, {"type": "read_index", "term": asked.term, "round": number})

    def _advance(self, number: int) -> None:
        core, asked = self._core, self._rounds[number]
        if asked.term != core.term:
            self._end(number)
        elif core.journal.membership.is_quorum(asked.confirmed):
            if core.applied_index >= asked.index:
                for read in self._rounds.pop(number).reads:
                    resolve(read.future, asked.index)
        else:
            self._expire(number)
            if number in self._rounds and core.now() - asked.sent_at > RESEND_S:
                self._send(number)

    def _expire(self, number: int) -> None:
        asked, now = self._rounds[number], self._core.now()
        late = [read for read in asked.reads if read.deadline <= now]
        for read in late:
            fail(read.future, NotLeader("no majority of managers answered in time"))
        asked.reads = [read for read in asked.reads if read.deadline > now]
        if not asked.reads:
            del self._rounds[number]

    def _end(self, number: int) -> None:
        for read in self._rounds.pop(number).reads:
            fail(read.future, self._core.not_leader("reads"))
