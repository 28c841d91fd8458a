"""Every private part of PySyncObj 0.3.17 that we touch, in this one file, each with the reason.

`RaftEngine` is stock PySyncObj - its elections, its replication, its commit rule - with these parts replaced.
`PRIVATE_PARTS` lists them; tests/unit/raft/test_private_parts.py has a test for each that fails without it.

Replaced by objects of ours
    createJournal              a module global: our Journal, which syncs before anything is promised
    monotonicTime              a module global: the one clock, so that a simulation can drive everything
    __serializer               our SnapshotStore: checksums, fsync, no fork, no pickle
    _poller                    our poll, which sleeps until the next deadline instead of a fixed tick
Overridden methods
    __applyLogEntries          comes right after stock computed a commit index in which the leader counts itself
                               for entries it has not synced: the place to take that back.  Stock also retries
                               an entry for ever when it raises, unpickles commands, and applies any number of
                               entries in one go while no heartbeat leaves
    _checkCommandsToApply      stock queues commands for a leader it does not have and forwards them; ours
                               appends proposals only where leader and term are checked in the same call
    __generateRaftTimeout      stock draws from the global random numbers: not replayable
    _onTick                    what must come first in every tick (sync, acknowledgements, election gate)
Read or written through the properties below
    __raftElectionDeadline     the pre-vote gate holds elections back (stock has no pre-vote)
    __transferInProgress       an election the leader asked for needs no pre-vote
    __otherNodes, __readonlyNodes, __connectedNodes, __raftNextIndex, __raftMatchIndex, __lastResponseTime
                               the membership follows our log entries (stock pickles them, its check that only
                               one changes at a time is dead code, and it has no learners)
    __raftLog, __raftState, __raftLeader, __noopIDx, __newAppendEntriesTime
                               to look at
    __raftLastApplied, __raftCommitIndex
                               what our own apply moves; a commit index that was not on disk is taken back
    __setCurrentTerm, __setState, __sendAppendEntries, __loadDumpFile, __needLoadDumpFile
                               to step down, to replicate at once, to load a snapshot that was verified
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pysyncobj.syncobj as stock
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from swarm_manager.raft.codec import Entry
from swarm_manager.raft.config import Membership, RaftConfig
from swarm_manager.raft.errors import InvalidConfig
from swarm_manager.raft.journal import Journal
from swarm_manager.raft.snapshot import SnapshotStore

SUPPORTED_VERSION = "0.3.17"
FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
_NEVER = 2**62

PRIVATE_PARTS = (
    "_SyncObj__applyLogEntries",
    "_checkCommandsToApply",
    "_SyncObj__generateRaftTimeout",
    "_onTick",
    "_SyncObj__serializer",
    "_poller",
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__transferInProgress",
    "_SyncObj__otherNodes",
    "_SyncObj__readonlyNodes",
    "_SyncObj__connectedNodes",
    "_SyncObj__raftNextIndex",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__lastResponseTime",
    "_SyncObj__raftLog",
    "_SyncObj__raftState",
    "_SyncObj__raftLeader",
    "_SyncObj__noopIDx",
    "_SyncObj__raftLastApplied",
    "_SyncObj__raftCommitIndex",
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__loadDumpFile",
    "_SyncObj__needLoadDumpFile",
)


class Poll(Protocol):
    """Waits for the network, for as long as it thinks right."""

    def poll(self, timeout: float) -> None: ...


class StockJournal(Journal):
    """Our journal under the names PySyncObj calls."""

    def deleteEntriesFrom(self, place: int) -> None:  # noqa: N802 - PySyncObj's names, all of these
        self.cut_from(place)

    def deleteEntriesTo(self, place: int) -> None:  # noqa: N802
        if place < len(self.entries):
            self.drop_before(place)

    def clear(self) -> None:
        self.reset()

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        return self.known_commit

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802
        """Ours is noted once it is certain (RaftCore.apply_committed); stock counts what is not on disk."""

    def getCurrentTerm(self) -> int:  # noqa: N802
        return self.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        return self.vote

    def setCurrentTerm(self, term: int, vote: str | None) -> None:  # noqa: N802
        self.set_vote(term, vote)  # on failure the journal is unhealthy, and then nothing leaves this node

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Stock saves the commit index here; ours travels with the records."""

    def _destroy(self) -> None:
        self.close()


def check_version() -> None:
    """Refuse to run on another PySyncObj than the one whose private parts we know."""
    if VERSION != SUPPORTED_VERSION:
        raise InvalidConfig(f"raft/ is built on pysyncobj {SUPPORTED_VERSION}, but {VERSION} is installed")


@contextlib.contextmanager
def _stock_uses(journal: Journal, clock: Callable[[], float]) -> Iterator[None]:
    """PySyncObj makes its journal and reads its clock through module globals."""
    make = stock.createJournal
    stock.createJournal = lambda _: journal
    stock.monotonicTime = clock  # stays: one clock a process
    try:
        yield
    finally:
        stock.createJournal = make


def _stock_config(config: RaftConfig) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        appendEntriesUseBatch=True,  # only spares stock's own notifier pipe: our overrides send at once
        appendEntriesPeriod=config.heartbeat_s,
        appendEntriesBatchSizeBytes=config.append_batch_bytes,
        raftMinTimeout=config.election_min_s,
        raftMaxTimeout=config.election_max_s,
        leaderFallbackTimeout=config.leader_fallback_s,
        commandsWaitLeader=False,
        dynamicMembershipChange=False,  # the membership follows our own log entries instead
        connectionTimeout=1e6,
        logCompactionMinEntries=_NEVER,  # when to compact is decided by RaftCore
        logCompactionMinTime=_NEVER,
        useFork=False,
        tcp_keepalive=None,
    )


class RaftEngine(SyncObj):  # type: ignore[misc] # pysyncobj has no types
    """PySyncObj with its private parts behind names, and hooks for what we do differently."""

    def __init__(
        self,
        config: RaftConfig,
        *,
        journal: StockJournal,
        snapshots: SnapshotStore,
        transport: Transport,
        poll: Poll,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        check_version()
        self._rng = rng
        self._election_span = (config.election_min_s, config.election_max_s)
        with _stock_uses(journal, clock):
            super().__init__(Node(config.node_id), [], _stock_config(config), nodeClass=Node, transport=transport)
        self._SyncObj__serializer = snapshots
        self._SyncObj__needLoadDumpFile = False
        self._poller = poll

    def __dir__(self) -> list[str]:
        """Stock looks for @replicated methods through dir(), and would run every property: we have none."""
        return []

    # ------------------------------------------------------------------------- hooks for RaftCore

    def apply_committed(self) -> bool:
        """Apply what is committed; True when anything was."""
        raise NotImplementedError

    def drain_proposals(self) -> None:
        """Append what callers want; called once a tick, after `apply_committed`."""
        raise NotImplementedError

    def before_tick(self) -> None:
        """What must come first in a tick."""
        raise NotImplementedError

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802 - a private name of PySyncObj
        return self.apply_committed()

    def _checkCommandsToApply(self) -> None:  # noqa: N802 - as above
        self.drain_proposals()

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802 - as above
        return self._rng.uniform(*self._election_span)

    def _onTick(self, timeToWait: float = 0.0) -> None:  # noqa: N802, N803 - as above
        self.before_tick()
        super()._onTick(timeToWait)

    # --------------------------------------------------------------------------- names for the rest

    @property
    def journal(self) -> Journal:
        """The log."""
        log: Journal = self._SyncObj__raftLog
        return log

    @property
    def term(self) -> int:
        """The current term."""
        return int(self.raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        """The highest index known committed."""
        return int(self.raftCommitIndex)

    @commit_index.setter
    def commit_index(self, index: int) -> None:
        self._SyncObj__raftCommitIndex = index

    @property
    def applied_index(self) -> int:
        """The highest index applied to the state machine."""
        return int(self.raftLastApplied)

    @applied_index.setter
    def applied_index(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index

    @property
    def is_leader(self) -> bool:
        """Whether this node believes it leads; `is_ready` says whether it may act."""
        return bool(self._SyncObj__raftState == LEADER)

    @property
    def is_ready(self) -> bool:
        """Whether this node leads and has applied an entry of its own term."""
        return self.is_leader and self.applied_index >= self._SyncObj__noopIDx

    @property
    def leader_id(self) -> str | None:
        """The leader of the current term as far as known."""
        leader = self._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    @property
    def election_deadline(self) -> float:
        """When stock starts an election."""
        return float(self._SyncObj__raftElectionDeadline)

    @election_deadline.setter
    def election_deadline(self, when: float) -> None:
        self._SyncObj__raftElectionDeadline = when

    @property
    def transfer_in_progress(self) -> bool:
        """Whether the leader asked this node to take over."""
        return bool(self._SyncObj__transferInProgress)

    @property
    def heartbeat_due(self) -> float:
        """When a leader sends its next heartbeat."""
        return float(self._SyncObj__newAppendEntriesTime)

    def new_election_timeout(self) -> float:
        """A fresh random election timeout, seconds."""
        return float(self._SyncObj__generateRaftTimeout())

    def next_index(self, node_id: str) -> int | None:
        """The index a leader sends this node next, or None for a stranger."""
        index: int | None = self._SyncObj__raftNextIndex.get(Node(node_id))
        return index

    def set_next_index(self, node_id: str, index: int) -> None:
        """Correct the index a leader sends this node next."""
        self._SyncObj__raftNextIndex[Node(node_id)] = index

    def match_index(self, node_id: str) -> int:
        """What this node is known to have durably, 0 when nothing is known."""
        return int(self._SyncObj__raftMatchIndex.get(Node(node_id), 0))

    def last_response_s(self, node_id: str) -> float | None:
        """When a leader last heard from this node (clock time), None for never."""
        when: float | None = self._SyncObj__lastResponseTime.get(Node(node_id))
        return when

    def park(self, node_id: str) -> None:
        """Send this node nothing until `unpark`."""
        self._SyncObj__connectedNodes.discard(Node(node_id))

    def unpark(self, node_id: str) -> None:
        """Send this node what it lacks, again."""
        self._SyncObj__connectedNodes.add(Node(node_id))

    def adopt_term(self, term: int) -> None:
        """Step down into a higher term, without a vote."""
        self._SyncObj__setCurrentTerm(term, None)
        self.step_down()

    def step_down(self) -> None:
        """Stop leading or campaigning; the next election starts after a full timeout."""
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self.election_deadline = stock.monotonicTime() + self.new_election_timeout()

    def replicate(self) -> None:
        """Send what the members lack, now."""
        self._SyncObj__sendAppendEntries()

    def load_staged_snapshot(self) -> int:
        """Load the snapshot staged in the SnapshotStore; the index applied afterwards."""
        self._SyncObj__loadDumpFile(False)
        return self.applied_index

    def follow_membership(self, membership: Membership) -> None:
        """Make these the members that PySyncObj replicates to and counts; what it knows of them stays."""
        others = {Node(m.node_id) for m in membership.members.values() if m.voter} - {self.selfNode}
        learners = {Node(m.node_id) for m in membership.members.values() if not m.voter} - {self.selfNode}
        self._SyncObj__otherNodes = others
        self._SyncObj__readonlyNodes = learners
        everyone = others | learners
        nexts, matches = self._SyncObj__raftNextIndex, self._SyncObj__raftMatchIndex
        responses = self._SyncObj__lastResponseTime
        for node in set(nexts) - everyone:
            del nexts[node]
            matches.pop(node, None)
            responses.pop(node, None)
            self._SyncObj__connectedNodes.discard(node)
        for node in everyone:
            if node not in nexts or node not in matches:
                nexts[node] = self.journal.last_index + 1
                matches[node] = 0
            responses.setdefault(node, stock.monotonicTime())

    def entries_after(self, index: int, limit: int) -> list[Entry]:
        """Up to `limit` log entries beyond this index."""
        place = index + 1 - self.journal.first_index
        return self.journal.entries[place : place + limit]


def node_id_of(node: Any) -> str:
    """The id PySyncObj knows a node by."""
    return str(node.id)
