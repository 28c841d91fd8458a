"""Proposals: from any thread into the log, and their outcome back.

Theory of operation
    Callers queue; the Raft thread drains the queue once a tick, of large proposals as much as one message holds.
    Leader, term and the disk are checked in the very call that appends, so "not leader" always means "not
    appended".  Each proposal is one log entry, so its index is its own; those of one tick share one message to
    each follower and one fdatasync.

    Once appended, a proposal ends in one of three ways: its entry is applied (the result), another entry is
    applied at its index (NotLeader: it is gone for good), or we stop leading or the deadline passes first
    (OutcomeUnknown).  While leadership is being handed over the queue waits, so a planned hand-over shows as
    a definite NotLeader, which may be retried at the new leader.
"""

import heapq
import itertools
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_manager.raft.codec import regular_command
from swarm_manager.raft.errors import (
    JournalUnavailable,
    OutcomeUnknown,
    Overloaded,
    ProposalTooLarge,
    RaftError,
)
from swarm_manager.raft.futures import fail, resolve

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore


@dataclass(slots=True)
class _Proposal:
    deadline: float
    payload: bytes
    term: int | None
    future: "Future[object]"


class Proposals:
    """`submit` from any thread; everything else on the Raft thread."""

    def __init__(self, core: "RaftCore", *, max_bytes: int, queue_bytes: int) -> None:
        self._core = core
        self._max_bytes = max_bytes
        self._queue_limit_bytes = queue_bytes
        self._queued_bytes = 0
        self._lock = threading.Lock()  # guards the byte count only
        self._queue: deque[_Proposal] = deque()
        self._numbers = itertools.count()
        self._deadlines: list[tuple[float, int, Future[object]]] = []  # a heap; the number decides between equals
        self._pending: dict[int, tuple[int, _Proposal]] = {}  # index: (term, proposal)

    @property
    def queued(self) -> bool:
        """Whether anything waits to be appended."""
        return bool(self._queue)

    @property
    def next_deadline(self) -> float:
        """When the earliest deadline passes (clock time), infinite for none."""
        return self._deadlines[0][0] if self._deadlines else float("inf")

    def submit(self, payload: bytes, term: int | None, deadline: float) -> "Future[object]":
        """Queue a proposal until this clock time; refused at once when it is too large or too much waits."""
        future: Future[object] = Future()
        refusal = self._refusal(len(payload))
        if refusal is not None:
            fail(future, refusal)
            return future
        self._queue.append(_Proposal(deadline, payload, term, future))
        return future

    def _refusal(self, size_bytes: int) -> RaftError | None:
        if size_bytes > self._max_bytes:
            return ProposalTooLarge(
                f"one change may hold at most {self._max_bytes} bytes, this one has {size_bytes}: split it"
            )
        with self._lock:
            if self._queued_bytes + size_bytes > self._queue_limit_bytes:
                return Overloaded("too many changes wait to be written: try again in a moment")
            self._queued_bytes += size_bytes
        return None

    def drain(self) -> None:
        """Append what is queued, if we lead; else refuse it."""
        core = self._core
        if core.handover.in_progress:
            return
        last, end_bytes = core.journal.last_index, core.journal.bytes_added + core.config.append_batch_bytes
        for _ in range(len(self._queue)):
            self._append(self._queue.popleft())
            if core.journal.bytes_added >= end_bytes:  # the rest in the next tick: no tick may take long
                break
        if core.journal.last_index > last:
            core.replicate()

    def _append(self, proposal: _Proposal) -> None:
        core = self._core
        with self._lock:
            self._queued_bytes -= len(proposal.payload)
        refusal = self._why_not(proposal)
        if refusal is not None:
            fail(proposal.future, refusal)
            return
        if proposal.future.cancelled():
            return
        index = core.append(regular_command(proposal.payload))
        proposal.payload = b""  # the log holds it now
        self._pending[index] = (core.term, proposal)
        heapq.heappush(self._deadlines, (proposal.deadline, next(self._numbers), proposal.future))

    def _why_not(self, proposal: _Proposal) -> RaftError | None:
        core = self._core
        if not core.journal.healthy:
            return JournalUnavailable(core.disk_problem())
        if not core.is_ready or proposal.term not in (None, core.term):
            return core.not_leader("writes")
        if proposal.deadline <= core.now():
            return Overloaded("the change waited too long to be written: try again in a moment")
        return None

    def applied(self, index: int, term: int, result: object) -> None:
        """The entry at this index was applied with this result."""
        pending = self._pending.pop(index, None)
        if pending is None:
            return
        mine, proposal = pending
        if mine == term:
            resolve(proposal.future, result)
        else:
            fail(proposal.future, self._core.not_leader("writes"))

    def stepped_down(self) -> None:
        """We do not lead any more: what was appended may or may not survive."""
        pending, self._pending = self._pending, {}
        self._deadlines.clear()
        for _, proposal in pending.values():
            fail(proposal.future, OutcomeUnknown("this manager lost the lead before the change was committed"))

    def expire(self) -> None:
        """End what is late."""
        now = self._core.now()
        while self._deadlines and (self._deadlines[0][2].done() or self._deadlines[0][0] <= now):
            _, _, late = heapq.heappop(self._deadlines)
            if not late.done():
                fail(late, OutcomeUnknown("the change was not committed in time: no quorum answered"))
        for _ in range(len(self._queue)):
            if self._queue[0].deadline > now:
                break
            self._append(self._queue.popleft())

    def close(self) -> None:
        """The member stops: end everything."""
        self.stepped_down()
        while self._queue:
            fail(self._queue.popleft().future, self._core.not_leader("writes"))
