"""One Raft member without its thread: everything wired together, and the order of a tick.

A tick, in order
    1. arrivals       go on with a snapshot that came in and was read or saved beside us
       release_acks   what arrived in the last poll is made durable, then acknowledged
    2. health         a disk that fails makes us step down; one that failed is tried again
    3. membership     follow what the log says now
    4. election gate  hold stock's election back, or let it pass
    5. stock's tick   commit -> apply (ours) -> heartbeats -> drain (ours) -> compaction -> poll (ours)
       drain          proposals, membership changes, hand-over, reads; then the leader's own sync, while its
                      messages are already on their way to the followers
       poll           sleep until the next deadline or event; handle what arrived
    6. watch          tell listeners when we became, or ceased to be, a leader that may act

Nothing here starts a thread, reads a clock other than `clock`, or touches a disk or network except through
Disk and Links: so the simulation in tests/sim drives exactly this.
"""

import logging
import random
from collections.abc import Callable

from pysyncobj.node import Node
from swarm_api.eras import era_of

from swarm_manager.raft.arrivals import SnapshotArrivals
from swarm_manager.raft.at_rest import check_covered
from swarm_manager.raft.codec import COMMAND_MEMBERSHIP, COMMAND_REGULAR, Entry, Message
from swarm_manager.raft.compaction import Compaction
from swarm_manager.raft.config import RaftConfig
from swarm_manager.raft.disk import Disk
from swarm_manager.raft.elections import ElectionGate
from swarm_manager.raft.errors import CorruptData, NotLeader, RaftError
from swarm_manager.raft.guard import CommittedEntryLost, MessageGuard
from swarm_manager.raft.handover import Handover
from swarm_manager.raft.links import Links
from swarm_manager.raft.machine import StateMachine
from swarm_manager.raft.members import MembershipChanges
from swarm_manager.raft.proposals import Proposals
from swarm_manager.raft.pysyncobj_private import RaftEngine, StockJournal
from swarm_manager.raft.reads import ReadBarriers
from swarm_manager.raft.snapshot import Snapshot, SnapshotStore
from swarm_manager.raft.transport import RaftTransport

_log = logging.getLogger(__name__)
APPLY_SLICE_S = 0.01
APPLY_FETCH_ENTRIES = 32
RECOVERY_PERIOD_S = 0.5
MAX_SLEEP_S = 1.0
GATHER_S = 0.01
_SOON_S = 0.0005


def nobody_waits() -> None:
    """Where what runs beside a Raft thread may compute as long as it likes."""


def nobody(node_id: str) -> bool:  # noqa: ARG001 - as whoever knows answers
    """Where no state says whose certificates were revoked, or who was demoted."""
    return False


class RaftCore(RaftEngine):
    """A member: `step()` runs one tick and sleeps at most until something is due."""

    def __init__(
        self,
        config: RaftConfig,
        machine: StateMachine,
        *,
        disk: Disk,
        links: Links,
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float, float], None],
        background: Callable[[Callable[[], None]], None],
        pause: Callable[[], object] = nobody_waits,
        is_revoked: Callable[[str], bool] = nobody,
        is_demoted: Callable[[str], bool] = nobody,
    ) -> None:
        """Read the disk, load the newest snapshot, and listen.

        `sleep(seconds, gather)` waits for the links' sockets and handles them; for the first `gather` seconds it may
        let them wait.  `pause` is called in the background between the parts of long work.  CorruptData: we refuse
        to start.
        """
        self.config = config
        self.node_id = config.node_id
        self.advertise = config.advertise
        self.rng = rng
        self.now = clock
        self.machine = machine
        self._disk = disk
        self._sleep = sleep
        self.looked_at = float("-inf")  # when it was last begun to read what the others had sent
        self._listeners: list[Callable[[bool, int], None]] = []
        self._was_ready = (False, 0)
        self._was_leader = False
        self._followed: object = None
        self._recover_at = 0.0
        self._links_due = 0.0
        self._poll_at_once = False
        self._gathered = 0.0
        journal = StockJournal(disk, config.initial_membership(), background)
        self.snapshots = SnapshotStore(
            disk,
            machine,
            chunk_bytes=config.snapshot_chunk_bytes,
            background=background,
            pause=pause,
            on_start=journal.sync,
            membership_at=journal.membership_at,
        )
        self.gate = ElectionGate(self, election_min_s=config.election_min_s)
        self.guard = MessageGuard(self)
        self.arrivals = SnapshotArrivals(self, background)
        self.compaction = Compaction(self)
        self.reads = ReadBarriers(self)
        self.changes = MembershipChanges(self)
        self.handover = Handover(self)
        self.proposals = Proposals(self, max_bytes=config.max_proposal_bytes, queue_bytes=config.proposal_queue_bytes)
        self.transport = RaftTransport(links, is_revoked, is_demoted)
        snapshot = self.snapshots.read()
        check_covered(journal, snapshot, disk)
        if snapshot is not None:
            journal.align(snapshot.previous, snapshot.last)
            journal.rebase(snapshot.membership)
        super().__init__(
            config,
            journal=journal,
            snapshots=self.snapshots,
            transport=self.transport,
            poll=self,
            clock=clock,
            rng=rng,
        )
        if snapshot is not None:
            self._load(snapshot)
        if not journal.sync():
            raise RaftError(self.disk_problem())
        self.transport.attach(
            self,
            {
                "pre_vote": self.gate.on_pre_vote,
                "pre_vote_reply": self.gate.on_pre_vote_reply,
                "read_index": self.reads.on_request,
                "read_index_reply": self.reads.on_reply,
                "higher_term": self._on_higher_term,
            },
        )
        self.follow_log_membership()
        self.transport.open()

    # ----------------------------------------------------------------------------------------- ticks

    def step(self) -> None:
        """One tick."""
        self.doTick(0.0)
        self._watch_leadership()

    def before_tick(self) -> None:
        self.gate.answer_questions()
        self.arrivals.advance()
        self.guard.release_acks()
        self._mind_the_disk()
        if self._followed is not self.journal.membership:
            self.follow_log_membership()
        self.guard.unpark_waiting()
        self.transport.relieve()
        self._watch_leadership()
        self.gate.before_tick()

    def drain_proposals(self) -> None:
        self.handover.drain()
        self.proposals.drain()
        self.proposals.expire()
        self.changes.drain()
        self.reads.drain()
        self.compaction.begin_when_due()
        if self.is_leader:
            self.journal.sync()

    def poll(self, timeout: float) -> None:  # noqa: ARG002 - stock's fixed timeout; ours follows from what is due
        """Stock polls through us."""
        self.looked_at = self.now()
        self._links_due = self.transport.tick_links()
        self._sleep(self._sleep_s(), self._gather_s())

    def _sleep_s(self) -> float:
        proposals = self.proposals.queued and not self.handover.in_progress
        if self._poll_at_once or proposals or self.commit_index > self.applied_index:
            self._poll_at_once = False
            return 0.0
        due = [self._links_due, self.proposals.next_deadline]
        due.append(self.heartbeat_due if self.is_leader else self.election_deadline)
        if not self.journal.healthy:
            due.append(self._recover_at)
        if self._anybody_waits():
            due.append(self.now() + self.config.heartbeat_s)
        return max(0.0, min(MAX_SLEEP_S, min(due) - self.now() + _SOON_S))

    def _gather_s(self) -> float:
        """How long messages may wait: nobody waits for the answers to a heartbeat that carried nothing.

        They arrive within a moment of each other, and each would wake us: most of a resting leader's work.
        """
        is_new, self._gathered = self.heartbeat_due != self._gathered, self.heartbeat_due
        is_at_rest = self.commit_index == self.journal.last_index and not self._anybody_waits()
        return GATHER_S if is_new and self.is_leader and is_at_rest else 0.0

    def _anybody_waits(self) -> bool:
        return bool(self.reads.waiting or self.changes.waiting or self.handover.waiting)

    def wake_soon(self) -> None:
        """Do not sleep after the current tick."""
        self._poll_at_once = True

    # ----------------------------------------------------------------------------------------- apply

    def apply_committed(self) -> bool:
        """Apply committed entries for a slice of time; True when any was applied."""
        self.gate.after_elections()
        self._trust_only_the_disk()
        first, end = self.applied_index, self.now() + APPLY_SLICE_S
        while self.applied_index < self.commit_index and self.now() < end:
            some = min(APPLY_FETCH_ENTRIES, self.commit_index - self.applied_index)
            for entry in self.entries_after(self.applied_index, some):
                self._apply(entry)
                if self.now() >= end:  # one large entry can take as long as hundreds of small ones
                    break
        return self.applied_index > first

    def _trust_only_the_disk(self) -> None:
        """Stock has just counted this leader for all of its log: what is not on disk does not count."""
        if self.is_leader and self.commit_index > self.journal.durable_index and not self.journal.sync():
            self.commit_index = max(self.applied_index, self.journal.durable_index)
        self.journal.note_commit(self.commit_index)

    def _apply(self, entry: Entry) -> None:
        command, index, term = entry
        if index != self.applied_index + 1:
            raise CommittedEntryLost(f"entry {index} would follow entry {self.applied_index}")
        kind = command[0]
        if kind == COMMAND_REGULAR:
            result = self._apply_to_machine(index, term, command[1:])
            self.applied_index = index
            self.proposals.applied(index, term, result)
            return
        self.applied_index = index
        if kind == COMMAND_MEMBERSHIP:
            self.transport.refresh_peers()
            self.changes.applied(index, term)
        self.proposals.applied(index, term, None)

    def _apply_to_machine(self, index: int, term: int, payload: bytes) -> object:
        try:
            return self.machine.apply(index, term, payload)
        except Exception as error:  # noqa: BLE001 - whatever the machine raises is an outcome
            # Every member fails alike, so this is an outcome.  Raising here would stop the whole cluster.
            _log.exception("applying entry %d failed; its result is the error", index)
            return error

    def append(self, command: bytes) -> int:
        """Append to the log as the leader; its index.  Counts for the commit only once it is synced."""
        index = self.journal.last_index + 1
        self.journal.add(command, index, self.term)
        self.wake_soon()  # a manager alone gets no acknowledgement that would wake it to commit
        return index

    # ------------------------------------------------------------------------------------- messages

    def deliver(self, peer: str, message: Message) -> None:
        """Hand a message that passed the guard to stock."""
        self.transport._onMessageReceived(Node(peer), message)

    def _on_higher_term(self, peer: str, message: Message) -> None:
        if message["term"] > self.term and self.is_leader:
            _log.warning("%s is in a later term (%d): this manager steps down", peer, message["term"])
            self.adopt_term(message["term"])

    def peer_lost(self, peer: str) -> None:
        """The link to this member went down."""
        self.guard.forget(peer)
        self.arrivals.forget(peer)
        self.snapshots.drop_transfer(Node(peer))
        if peer == self.leader_id and not self.is_leader:
            self.gate.leader_lost()

    def follow_log_membership(self) -> None:
        """The members are who the log says, committed or not."""
        membership = self.journal.membership
        self._followed = membership
        self.follow_membership(membership)
        self.transport.refresh_peers()
        self.transport.tell_members()
        for peer in self.transport.connected & membership.members.keys():
            self.transport.resume(peer)

    @property
    def era(self) -> int | None:
        """The era of this member's log; None for a newcomer's, which has nothing in it yet."""
        _, index, term = self.journal.entries[-1]
        return None if index <= 1 else era_of(term)

    def may_campaign(self) -> bool:
        """Whether this member may try to lead."""
        is_out = self.transport.removed or self.transport.superseded
        return self.journal.healthy and not is_out and self.journal.membership.is_voter(self.node_id)

    def responding(self) -> frozenset[str]:
        """As leader: the other members heard from within the fallback timeout."""
        since = self.now() - self.config.leader_fallback_s
        members = self.journal.membership.members
        return frozenset(
            peer
            for peer in members
            if self.transport.is_connected(peer) and (self.last_response_s(peer) or since) > since
        )

    # ------------------------------------------------------------------------------------- snapshots

    def install_snapshot(self, peer: str, term: int, snapshot: Snapshot, image: object) -> None:
        """Replace state and log by the leader's snapshot, which is on our disk already."""
        self.snapshots.stage(snapshot, image)
        head = {"type": "append_entries", "term": term, "commit_index": snapshot.last[1]}
        self.deliver(peer, {**head, "serialized": snapshot})
        self._check_loaded(snapshot)

    def _load(self, snapshot: Snapshot) -> None:
        try:
            image = self.machine.read(snapshot.body)
        except Exception as error:
            raise CorruptData(
                f"the snapshot at entry {snapshot.last[1]} in {self._disk.describe()} cannot be read: {error}"
            ) from error
        self.snapshots.stage(snapshot, image)
        self.load_staged_snapshot()
        self._check_loaded(snapshot)

    def _check_loaded(self, snapshot: Snapshot) -> None:
        """Stock logs a snapshot that does not load, and goes on with what state it has.  We do not."""
        if self.applied_index != snapshot.last[1]:
            raise CorruptData(
                f"the snapshot at entry {snapshot.last[1]} could not be loaded into the state machine: "
                "see the log above for the cause"
            )
        self.commit_index = max(self.commit_index, snapshot.last[1])  # whatever is in a snapshot is committed
        self.journal.rebase(snapshot.membership)
        self.compaction.loaded()

    # ----------------------------------------------------------------------------------------- health

    def _mind_the_disk(self) -> None:
        if self.journal.healthy:
            return
        if self.is_leader:
            _log.error("%s: this manager stops leading", self.disk_problem())
            self.step_down()
        if self.now() >= self._recover_at:
            self._recover_at = self.now() + RECOVERY_PERIOD_S
            if self.journal.recover():
                _log.warning("the journal in %s takes writes again", self._disk.describe())

    def disk_problem(self) -> str:
        """One sentence about why nothing can be written, and what to do."""
        failure = self.journal.failure
        reason = failure.strerror if failure is not None and failure.strerror else str(failure)
        return (
            f"the manager cannot write its journal in {self._disk.describe()} ({reason}): make room or repair "
            "the disk; it goes on by itself then"
        )

    def not_leader(self, what: str) -> NotLeader:
        """The refusal that names the leader, when there is one."""
        leader = self.leader_id if not self.is_leader else ""
        if leader:
            return NotLeader(f"this manager does not lead; {leader} takes {what}", leader)
        return NotLeader(f"there is no leading manager at the moment that takes {what}: try again")

    # ------------------------------------------------------------------------------------ leadership

    def on_leadership(self, callback: Callable[[bool, int], None]) -> None:
        """Call back (may act as leader, term) on the Raft thread whenever that changes."""
        self._listeners.append(callback)

    def _watch_leadership(self) -> None:
        if self._was_leader and not self.is_leader:
            self.proposals.stepped_down()
            self.changes.stepped_down()
            self.handover.stepped_down()
            self.reads.fail_all()
            self.snapshots.drop_transfers()
        self._was_leader = self.is_leader
        ready = (self.is_ready, self.term)
        if ready != self._was_ready and (ready[0] or self._was_ready[0]):
            for listener in self._listeners:
                self._tell(listener, ready)
        self._was_ready = ready

    def _tell(self, listener: Callable[[bool, int], None], ready: tuple[bool, int]) -> None:
        try:
            listener(*ready)
        except Exception:  # noqa: BLE001 - the Raft thread outlives its listeners' faults
            _log.exception("a leadership listener failed")

    def close(self) -> None:
        """End every future, close links, files and the disk."""
        self.proposals.close()
        self.changes.stepped_down()
        self.handover.stepped_down()
        self.reads.fail_all()
        self.destroy()
        self._disk.close()
