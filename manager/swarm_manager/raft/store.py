"""The replicated store: Raft below, the pure state machine inside, one current snapshot for everybody to read.

Theory of operation
    `_Machine` runs on the Raft thread.  It turns each committed entry into the next snapshot, replaces one reference
    (readers need no lock), and queues what changed.  One wake-up of the asyncio loop takes the whole queue into the
    event ring, however many commits came in between.

    A proposal's outcome is what the machine returned for its entry: Committed, or a Conflict.  Everything else is an
    exception of the manager's tree, and says whether anything may have been written.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import structlog
from google.protobuf.message import DecodeError
from swarm_api.defaults import MAX_OBJECT_SIZE_BYTES
from swarm_api.store_pb2 import ChangeSet
from swarm_api.types_pb2 import NodeRole

from swarm_manager import garbage
from swarm_manager.core import codec, diff, machine
from swarm_manager.core.kinds import Stored
from swarm_manager.core.machine import Committed, Conflict, Outcome
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import ns
from swarm_manager.errors import (
    BadRequestError,
    JournalFullError,
    ManagerError,
    NotLeaderError,
    OutcomeUnknownError,
    RefusedError,
    UnavailableError,
    sentence,
)
from swarm_manager.events import Batch, EventRing
from swarm_manager.ports import MemberStatus, RaftView
from swarm_manager.raft import errors as raft_errors
from swarm_manager.raft.replica import Replica

T = TypeVar("T")
_log = structlog.get_logger("store")

PROPOSE_TIMEOUT_S = 2.5
READ_TIMEOUT_S = 2.0
# A leader that has not been heard for this long is not one to pass calls on to: elections are long due, and pre-vote
# keeps its name until another is elected.
LEADER_SILENT_AFTER_S = 1.5
_STATUS_TRIES = 500
_ENVELOPE_BYTES = 4096  # what an entry holds besides its largest object


class _Machine:
    """The state machine as Raft wants it; everything but `dump`, `read` and `parts` runs on the Raft thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.current = Snapshot()
        self.ring = EventRing()
        self._loop = loop
        self._queue: deque[Batch | int] = deque()  # an int: the state jumped to this index
        self._is_woken = False

    def apply(self, index: int, term: int, payload: bytes) -> Outcome:  # noqa: ARG002 - Raft's interface
        try:
            entry = ChangeSet.FromString(payload)
        except DecodeError as error:
            return Conflict(0, "", f"Entry {index} is no change set: {error}.")
        before = self.current
        after, outcome = machine.apply(before, index, entry)
        self.current = after
        events = diff.events(before, after, entry)
        self._tell(Batch(index, ns(entry.proposed_at), events, after, len(payload)))
        return outcome

    def snapshot(self) -> Snapshot:
        return self.current

    def dump(self, image: object) -> Iterator[bytes]:
        assert isinstance(image, Snapshot)
        return codec.dump(image)

    def read(self, data: bytes | memoryview) -> Snapshot:
        with garbage.left_out():
            return codec.load(data)

    def load(self, image: object, index: int) -> None:
        assert isinstance(image, Snapshot)
        self.current = image
        self._tell(max(image.index, index))

    def parts(self, image: object) -> list[object]:
        assert isinstance(image, Snapshot)
        return list(codec.in_order(image))  # as they lie in memory, more or less: in another order it takes much longer

    def _tell(self, news: Batch | int) -> None:
        self._queue.append(news)
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody follows any more
                self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        """On the loop: bring the queue into the ring."""
        self._is_woken = False
        batches: list[Batch] = []
        while self._queue:
            news = self._queue.popleft()
            if isinstance(news, Batch):
                batches.append(news)
                continue
            batches.clear()
            self.ring.reset(news)
        if batches:
            self.ring.publish(batches)


class ReplicatedStore:
    """`ports.Store` and `ports.Membership` over a Replica.  All methods belong to the asyncio loop's thread.

    Made in two steps, because the replica loads the state while it is made: the store's `machine` goes into the
    Replica, the Replica into `attach`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._machine = _Machine(self._loop)
        self._replica: Replica | None = None
        self._reign: tuple[bool, int] = (False, 0)
        self._changed = asyncio.Event()

    @property
    def machine(self) -> _Machine:
        """What the Replica is to drive."""
        return self._machine

    def attach(self, replica: Replica) -> None:
        """Use this replica, which was not started yet."""
        self._replica = replica
        replica.on_leadership(self._on_leadership)

    @property
    def _raft(self) -> Replica:
        if self._replica is None:
            raise UnavailableError("This manager has not joined the others yet; try again in a moment.")
        return self._replica

    # ---------------------------------------------------------------------------------------- reading

    @property
    def snapshot(self) -> Snapshot:
        """What this manager has applied."""
        return self._machine.current

    async def read(self) -> Snapshot:
        """The state with every write that was acknowledged before the call."""
        await _outcome(self._raft.read_index(READ_TIMEOUT_S))
        return self._machine.current

    def is_revoked(self, node_id: str) -> bool:
        """Whether the state says that this node was removed and its certificates are void.  From any thread."""
        cluster = self._machine.current.cluster
        return cluster is not None and node_id in cluster.revoked_nodes

    def is_demoted(self, node_id: str) -> bool:
        """Whether the state says that this node is to be a worker.  From any thread."""
        node = self._machine.current.nodes.get(node_id)
        return node is not None and node.spec.role == NodeRole.WORKER

    def follow(self, after: int) -> AsyncIterator[Sequence[Batch]]:
        """The commits after index `after`, as they are applied."""
        return self._machine.ring.follow(after)

    def object_at(self, kind: int, object_id: str, version: int) -> Stored | None:
        """The object as it was at that version of it; None when that is too long ago."""
        return self._machine.ring.object_at(kind, object_id, version)

    # ---------------------------------------------------------------------------------------- writing

    async def propose(self, change_set: ChangeSet, term: int | None = None) -> Outcome:
        """Commit it, all or nothing; see `ports.Store`."""
        payload = change_set.SerializeToString()
        limit = MAX_OBJECT_SIZE_BYTES + _ENVELOPE_BYTES
        if len(payload) > limit:
            raise BadRequestError(
                f"The change is {len(payload) // 1024} KiB large; at most {limit // 1024} KiB fit in one commit; split "
                "it, for example into fewer services or smaller configs a request."
            )
        outcome = await _outcome(self._raft.propose(payload, term=term, timeout_s=PROPOSE_TIMEOUT_S))
        if isinstance(outcome, Committed | Conflict):
            return outcome
        # The machine never raises; if it did, Raft hands the exception over as the result.
        raise RuntimeError("applying the change failed") from (outcome if isinstance(outcome, Exception) else None)

    # -------------------------------------------------------------------------------------- leadership

    @property
    def raft(self) -> RaftView:
        """What this manager knows of Raft at this moment."""
        if self._replica is None:
            return RaftView("", "", leads=False, term=0, commit_index=0, applied_index=0)
        status = self._replica.status()
        members = {
            node_id: MemberStatus(
                node_id, address, node_id in status.voters, node_id in status.connected, status.unreachable_s[node_id]
            )
            for node_id, address in status.members.items()
        }
        return RaftView(
            node_id=status.node_id,
            leader_id=status.leader_id if status.leader_silence_s < LEADER_SILENT_AFTER_S else "",
            leads=status.is_leader,
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            members=members,
            journal_error=status.disk_problem,
            removed=status.removed,
            superseded=status.superseded,
        )

    @property
    def reign(self) -> tuple[bool, int]:
        """(this manager leads and may act, its term)."""
        return self._reign

    def _on_leadership(self, ready: bool, term: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are stopping
            self._loop.call_soon_threadsafe(self._note_reign, ready, term)

    def _note_reign(self, ready: bool, term: int) -> None:
        self._reign = (ready, term)
        _log.info("leading" if ready else "not leading", term=term)
        self._changed.set()
        self._changed = asyncio.Event()

    async def reign_changed(self) -> None:
        """Return when `reign` has changed."""
        await self._changed.wait()

    # -------------------------------------------------------------------------------------- membership

    async def add_member(self, node_id: str, raft_address: str) -> None:
        """Take a manager in; it votes once it has caught up."""
        await _outcome(self._raft.add_member(node_id, raft_address))

    async def remove_member(self, node_id: str) -> None:
        """Take a manager out; when it returns, that is committed."""
        await _outcome(self._raft.remove_member(node_id))
        for _ in range(_STATUS_TRIES):  # what `raft` shows follows at the end of the tick
            if node_id not in self._raft.status().members:
                return
            await asyncio.sleep(0.001)

    async def transfer_leadership(self, to: str | None = None) -> None:
        """Hand over; when it returns, this manager does not lead any more."""
        await _outcome(self._raft.transfer_leadership(to))


async def _outcome(future: "Future[T]") -> T:
    try:
        return await asyncio.wrap_future(future)
    except raft_errors.RaftError as error:
        raise _translated(error) from error


def _translated(error: raft_errors.RaftError) -> ManagerError:
    text = sentence(str(error))
    if isinstance(error, raft_errors.JournalUnavailable):
        return JournalFullError(text)
    if isinstance(error, raft_errors.ProposalTooLarge):
        return BadRequestError(text)
    if isinstance(error, raft_errors.NotLeader):
        return NotLeaderError(text)
    if isinstance(error, raft_errors.OutcomeUnknown):
        return OutcomeUnknownError(text)
    if isinstance(error, raft_errors.MembershipRefused | raft_errors.InvalidConfig):
        return RefusedError(text)
    return UnavailableError(text)
