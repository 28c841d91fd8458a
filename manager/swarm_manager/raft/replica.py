"""One Raft member on its own thread: the class the rest of the manager talks to.

Every method may be called from any thread.  Futures are settled on the Raft thread, so their callbacks must
be short; with asyncio, wrap them (`asyncio.wrap_future`).
"""

import logging
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from swarm_manager.raft.config import Member, Membership, RaftConfig, check_member, split_address
from swarm_manager.raft.core import RaftCore, nobody
from swarm_manager.raft.disk import Disk
from swarm_manager.raft.errors import InvalidConfig, NotLeader
from swarm_manager.raft.machine import StateMachine
from swarm_manager.raft.poller import Poller
from swarm_manager.raft.tls_identity import TlsIdentity
from swarm_manager.raft.tls_links import TlsLinks

_log = logging.getLogger(__name__)
EXIT_BROKEN = 70
SWITCH_INTERVAL_S = 0.001
STATUS_AGE_S = 0.25
# Between pieces of a snapshot that is written, about as long as a piece takes.  At each of its system calls the Raft
# thread waits for a thread that computes; so for half of the time there is none.
PAUSE_S = 0.001
_STOP_TIMEOUT_S = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """How this member sees the cluster: as of its last tick, but for times, which are up to STATUS_AGE_S old."""

    node_id: str
    term: int
    leader_id: str  # empty while there is none
    is_leader: bool  # leads and may act: it has applied an entry of its own term
    commit_index: int
    applied_index: int
    last_index: int
    snapshot_index: int
    members: Mapping[str, str]  # id: address
    voters: frozenset[str]
    connected: frozenset[str]
    unreachable_s: Mapping[str, float]  # since when there was no link; 0 for those that have one
    responding: frozenset[str]  # as leader: the others heard from within the fallback timeout
    match_index: Mapping[str, int]  # as leader: what each member has
    leader_silence_s: float  # since a leader was last heard; 0 on the leader itself
    removed: bool  # a member with a newer membership said so
    superseded: bool  # a manager of a later era said so: the cluster went on without this one
    disk_problem: str  # empty while the journal takes writes
    snapshot_problem: str
    longest_tick_s: float  # since the start, without the waiting


class Replica:
    """`start`, then propose; `stop` at the end.  A tick that breaks ends the process (`on_broken`)."""

    def __init__(
        self,
        config: RaftConfig,
        machine: StateMachine,
        identity: TlsIdentity,
        *,
        disk: Disk,
        on_broken: Callable[[BaseException], None] | None = None,
        is_revoked: Callable[[str], bool] = nobody,
        is_demoted: Callable[[str], bool] = nobody,
    ) -> None:
        """Read the data on `disk`, which is ours from now on, and listen.

        CorruptData, KeysUnusable, InvalidConfig or OSError: it cannot start, and the disk is closed.
        On the Raft thread `is_revoked` is asked whether a node's certificates are not to be believed any more, and
        `is_demoted` whether a node is to be no manager.
        """
        if identity.node_id != config.node_id or identity.cluster_id != config.cluster_id:
            raise InvalidConfig("the certificate is not that of this node and cluster")
        self._on_broken = on_broken or _end_process
        self._poller = Poller()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._waited_s = 0.0
        self._longest_tick_s = 0.0
        try:
            self._core = RaftCore(
                config,
                machine,
                disk=disk,
                links=TlsLinks(identity, self._poller, time.monotonic, listen=config.listen, seeds=config.seeds),
                clock=time.monotonic,
                rng=random.Random(),  # noqa: S311 - election timeouts are no secrets
                sleep=self._wait,
                background=self._jobs.put,
                pause=partial(self._stopping.wait, PAUSE_S),
                is_revoked=is_revoked,
                is_demoted=is_demoted,
            )
        except BaseException:
            disk.close()
            self._poller.close()
            raise
        self._status_is_of: tuple[object, ...] = ()
        self._status_until = 0.0
        self._note_status()
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
        self._writer = threading.Thread(target=self._run_jobs, name="raft-snapshots", daemon=True)

    # ---------------------------------------------------------------------------------- life

    def start(self) -> None:
        """Start taking part."""
        # The whole process's: how long a thread that wakes up waits at most for one that computes.  A tick waits
        # several times, and Python's 5 ms would make one long while a snapshot is written or read.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._writer.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop taking part; what is waiting ends with NotLeader or OutcomeUnknown.  Idempotent."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._poller.wake()
            self._thread.join(_STOP_TIMEOUT_S)
        if self._writer.is_alive():
            self._writer.join(_STOP_TIMEOUT_S)
        self._core.close()
        self._poller.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._waited_s = 0.0
                began = time.monotonic()
                self._core.step()
                self._longest_tick_s = max(self._longest_tick_s, time.monotonic() - began - self._waited_s)
                self._note_status()
        except BaseException as error:  # noqa: BLE001 - it ends the process, or a test hears of it
            _log.critical("the Raft thread broke", exc_info=True)
            self._on_broken(error)

    def _run_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._wake()

    def _wait(self, timeout_s: float, gather_s: float) -> None:
        self._waited_s += self._poller.poll(timeout_s, gather_s=gather_s)

    def _wake(self) -> None:
        if not self._stopping.is_set():
            self._poller.wake()

    # ---------------------------------------------------------------------------- proposals and reads

    def propose(self, payload: bytes, *, term: int | None = None, timeout_s: float) -> Future[object]:
        """Replicate this and apply it; the result is what `machine.apply` returned here.

        With `term`, only while that is still our term.  Fails with a NotCommitted (definite: NotLeader,
        JournalUnavailable, Overloaded, ProposalTooLarge) or with OutcomeUnknown, within the timeout.
        """
        future = self._core.proposals.submit(payload, term, time.monotonic() + timeout_s)
        return self._handed_over(future)

    def read_index(self, timeout_s: float) -> Future[int]:
        """When it resolves, the machine here has applied every write acknowledged before this call.

        NotLeader when this member does not lead, or cannot make sure of it in time.
        """
        future = self._core.reads.submit(time.monotonic() + timeout_s)
        return self._handed_over(future)

    # ------------------------------------------------------------------------------------ membership

    def add_member(self, node_id: str, address: str, *, timeout_s: float = 10.0) -> Future[Membership]:
        """Add a manager as a learner; it becomes a voter by itself once it has caught up.

        Resolves when the addition is committed, with the membership the joiner is to start from.
        """
        member = Member(node_id, address, voter=False)
        check_member(member)
        return self._handed_over(self._core.changes.submit_add(member, time.monotonic() + timeout_s))

    def remove_member(self, node_id: str, *, force: bool = False, timeout_s: float = 10.0) -> Future[Membership]:
        """Remove a manager; a stranger is removed already.  The leader itself has to hand over first.

        MembershipRefused when those left would have no quorum of reachable managers, unless `force`.
        """
        changes = self._core.changes
        return self._handed_over(changes.submit_remove(node_id, time.monotonic() + timeout_s, force=force))

    def update_address(self, node_id: str, address: str, *, timeout_s: float = 10.0) -> Future[Membership]:
        """Record another address of a member.  (A member that can reach the leader does that by itself.)"""
        split_address(address)
        deadline = time.monotonic() + timeout_s
        return self._handed_over(self._core.changes.submit_address(node_id, address, deadline))

    def transfer_leadership(self, node_id: str | None = None, *, timeout_s: float = 5.0) -> Future[None]:
        """Hand the lead to this voter (None: the most up to date); resolves when we do not lead any more."""
        return self._handed_over(self._core.handover.submit(node_id, time.monotonic() + timeout_s))

    def _handed_over(self, future: "Future[T]") -> "Future[T]":
        if self._stopping.is_set() and not future.done():
            future.set_exception(NotLeader("this manager is stopping"))
        self._wake()
        return future

    # ---------------------------------------------------------------------------------------- looking

    def status(self) -> RaftStatus:
        """How things stood after the last tick; the times in it may be STATUS_AGE_S old."""
        return self._status

    def on_leadership(self, callback: Callable[[bool, int], None]) -> None:
        """Call (may act as leader, term) on the Raft thread at every change; register before `start`."""
        self._core.on_leadership(callback)

    def _note_status(self) -> None:
        """Anew when anything changed but the times: building it is a quarter of what a resting member does."""
        core, now = self._core, self._core.now()
        is_of = (
            *(core.term, core.leader_id, core.is_ready, core.is_leader, core.commit_index, core.applied_index),
            *(core.journal.last_index, core.journal.membership, core.journal.healthy, core.transport.connected),
            *(core.snapshots.last_index, core.snapshots.last_error, core.transport.removed, core.transport.superseded),
        )
        if is_of != self._status_is_of or now >= self._status_until:
            self._status_is_of, self._status_until = is_of, now + STATUS_AGE_S
            self._status = self._read_status()

    def _read_status(self) -> RaftStatus:
        core = self._core
        membership = core.journal.membership
        silence_s = 0.0 if core.is_leader else core.now() - core.gate.heard_at
        return RaftStatus(
            node_id=core.node_id,
            term=core.term,
            leader_id=core.leader_id or "",
            is_leader=core.is_ready,
            commit_index=core.commit_index,
            applied_index=core.applied_index,
            last_index=core.journal.last_index,
            snapshot_index=core.snapshots.last_index,
            members={member.node_id: member.address for member in membership.members.values()},
            voters=membership.voters,
            connected=core.transport.connected,
            unreachable_s={peer: core.transport.unreachable_s(peer) for peer in membership.members},
            responding=core.responding() if core.is_leader else frozenset(),
            match_index={peer: core.match_index(peer) for peer in membership.members if core.is_leader},
            leader_silence_s=silence_s,
            removed=core.transport.removed,
            superseded=core.transport.superseded,
            disk_problem="" if core.journal.healthy else core.disk_problem(),
            snapshot_problem=core.snapshots.last_error,
            longest_tick_s=self._longest_tick_s,
        )


def _end_process(_: BaseException) -> None:
    """A member whose tick broke must not linger half alive: it would answer pings and lead nobody."""
    logging.shutdown()
    os._exit(EXIT_BROKEN)
