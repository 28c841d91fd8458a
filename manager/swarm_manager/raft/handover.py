"""Handing the leadership over on purpose, so that nobody notices.

New proposals wait in their queue, the target gets the rest of the log, then it is told to start an election
at once.  When it has not taken over in time, we go on leading and the queue moves again.
"""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_manager.raft.errors import HandoverFailed
from swarm_manager.raft.futures import fail, resolve

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

RETRY_S = 0.2


@dataclass(slots=True)
class _Wish:
    target: str | None
    deadline: float
    future: Future[None]
    told_at: float = float("-inf")


class Handover:
    """`submit` from any thread; everything else on the Raft thread."""

    def __init__(self, core: "RaftCore") -> None:
        self._core = core
        self._asked: deque[_Wish] = deque()
        self._wish: _Wish | None = None

    @property
    def in_progress(self) -> bool:
        """Whether proposals have to wait."""
        return self._wish is not None

    @property
    def waiting(self) -> bool:
        """Whether there is anything to do."""
        return self._wish is not None or bool(self._asked)

    def submit(self, target: str | None, deadline: float) -> Future[None]:
        """Hand over to this voter (None: the most up to date one) before this clock time."""
        future: Future[None] = Future()
        self._asked.append(_Wish(target, deadline, future))
        return future

    def drain(self) -> None:
        """Take the next step."""
        if self._wish is None and self._asked:
            self._begin(self._asked.popleft())
        if self._wish is not None:
            self._advance(self._wish)

    def _begin(self, wish: _Wish) -> None:
        core = self._core
        voters = core.journal.membership.voters - {core.node_id}
        if not core.is_ready:
            fail(wish.future, core.not_leader("hand-overs"))
        elif wish.target == core.node_id:
            resolve(wish.future, None)
        elif wish.target is not None and wish.target not in voters:
            fail(wish.future, HandoverFailed(f"{wish.target} is no voting manager of this cluster"))
        elif not (core.responding() & voters):
            fail(wish.future, HandoverFailed("no other voting manager answers, so nobody can take over"))
        else:
            self._wish = wish

    def _advance(self, wish: _Wish) -> None:
        core = self._core
        if core.now() >= wish.deadline:
            self._wish = None
            fail(wish.future, HandoverFailed("the other manager did not take over in time; this one goes on"))
            return
        target = wish.target or self._best()
        caught_up = target is not None and core.match_index(target) == core.journal.last_index
        if target is not None and caught_up and core.now() - wish.told_at > RETRY_S:
            wish.told_at = core.now()
            core.transport.send_own(target, {"type": "timeout_now", "term": core.term})

    def _best(self) -> str | None:
        core = self._core
        able = core.responding() & core.journal.membership.voters
        return max(able, key=lambda peer: (core.match_index(peer), peer), default=None)

    def stepped_down(self) -> None:
        """We do not lead any more: that is what was wanted."""
        wish, self._wish = self._wish, None
        if wish is not None:
            resolve(wish.future, None)
        while self._asked:
            fail(self._asked.popleft().future, self._core.not_leader("hand-overs"))
