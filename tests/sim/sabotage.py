"""The guards, one by one switched off: what the simulation must notice.  A check that cannot fail proves nothing."""

from collections.abc import Callable
from typing import Any

from swarm_manager.raft.codec import Message
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.guard import MessageGuard
from swarm_manager.raft.members import MembershipChanges

from tests.sim.world import Sabotage


class _Unfiltered(MessageGuard):
    """Passes PySyncObj's messages on as they are, only syncing before an ack as the real one does."""

    def _queue_ack(self, peer: str, message: Message) -> None:
        self._acks.append((peer, {**message, "term": self._core.term, "seq": 0}))

    def _incoming_ack(self, peer: str, message: Message) -> None:
        if self._core.next_index(peer) is not None:
            self._core.deliver(peer, message)

    def _incoming_vote(self, peer: str, message: Message) -> None:
        self._core.deliver(peer, message)

    def _incoming_entries(self, peer: str, message: Message) -> None:
        self._core.deliver(peer, message)


class _NoFilter(RaftCore):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.guard = _Unfiltered(self)


class _Hasty(MembershipChanges):
    """Starts the next change of members without waiting for the one before."""

    def drain(self) -> None:
        core = self._core
        while self._queue and core.is_ready:
            self._start(self._queue.popleft())
        if core.is_ready:
            self._upkeep()


class _NoBarrier(RaftCore):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.changes = _Hasty(self)


class _EagerLeader(RaftCore):
    """Counts itself for entries that are not on its disk."""

    def _trust_only_the_disk(self) -> None:
        self.journal.note_commit(self.commit_index)


SABOTAGES: dict[str, Callable[[], Sabotage]] = {
    "fsync": lambda: Sabotage(no_fsync=True),
    "filter": lambda: Sabotage(core=_NoFilter),
    "vote": lambda: Sabotage(forget_votes=True, dies_after_voting=0.5),
    "barrier": lambda: Sabotage(core=_NoBarrier, churn=12.0),
    "self-count": lambda: Sabotage(core=_EagerLeader),
}
