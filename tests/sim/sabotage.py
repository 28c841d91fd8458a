"""The guards, one by one switched off: what the simulation must notice.  A check that cannot fail proves nothing.

Each control also turns up the faults that its guard is there for, so that it is found within seconds.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from swarm_manager.raft.arrivals import SnapshotArrivals
from swarm_manager.raft.codec import Entry, Message
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.futures import resolve
from swarm_manager.raft.guard import MessageGuard
from swarm_manager.raft.members import MembershipChanges
from swarm_manager.raft.reads import ReadBarriers

from tests.sim.log_workload import LogWorkload
from tests.sim.store_workload import StoreWorkload
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


class _EagerAcks(MessageGuard):
    """Acknowledges what the disk has refused."""

    def release_acks(self) -> None:
        acks, self._acks = self._acks, []
        self._core.journal.sync()
        for peer, ack in acks:
            self._core.transport.send_own(peer, ack)


class _AcksUnsynced(RaftCore):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.guard = _EagerAcks(self)


class _Gullible(SnapshotArrivals):
    """Takes over whatever snapshot it is sent, as stock does."""

    def _is_wanted(self, arrival: Any) -> bool:
        return True


class _NoSnapshotChecks(RaftCore):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.arrivals = _Gullible(self, kwargs["background"])


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


class _Confident(ReadBarriers):
    """Answers reads as long as it believes that it leads."""

    def submit(self, deadline: float) -> Future[int]:
        future = super().submit(deadline)
        if self._core.is_ready:
            resolve(future, self._core.commit_index)
        return future


class _NoReadRound(RaftCore):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reads = _Confident(self)


class _EagerLeader(RaftCore):
    """Counts itself for entries that are not on its disk."""

    def _trust_only_the_disk(self) -> None:
        self.journal.note_commit(self.commit_index)


class _Forgetful(RaftCore):
    """Applies an entry again when the machine raised on it, as stock would."""

    def _apply(self, entry: Entry) -> None:
        before = self.applied_index
        super()._apply(entry)
        if entry[0].endswith(b"!"):
            self.applied_index = before


SABOTAGES: dict[str, Callable[[], Sabotage]] = {
    "fsync": lambda: Sabotage(no_fsync=True),
    "filter": lambda: Sabotage(core=_NoFilter),
    "vote": lambda: Sabotage(forget_votes=True, members=5, dies_after_voting=0.7),
    "barrier": lambda: Sabotage(core=_NoBarrier, churn=12.0),
    "self-count": lambda: Sabotage(core=_EagerLeader, members=1, disk_faults=6.0),
    "sync-before-ack": lambda: Sabotage(core=_AcksUnsynced, members=3, disk_faults=6.0),
    "snapshot-checks": lambda: Sabotage(core=_NoSnapshotChecks, members=5, compact_entries=8),
    "read-round": lambda: Sabotage(core=_NoReadRound, members=3, reads=8.0),
    "apply-once": lambda: Sabotage(core=_Forgetful, workload=LogWorkload),
    "request-ids": lambda: Sabotage(workload=lambda: StoreWorkload(request_ids=False)),
    "versions": lambda: Sabotage(workload=lambda: StoreWorkload(versions=False)),
}
