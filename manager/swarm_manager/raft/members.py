"""Changing who takes part: one change at a time, as entries of the log.

Theory of operation
    A change is a log entry with the whole new membership.  It counts from the moment it is appended (the
    journal tells), and the next one waits until it is committed and the leader has committed an entry of its
    own term: so any two majorities, old and new, overlap.

    A new member enters as a learner: it receives the log but does not vote.  Once it has nearly all of it,
    the leader makes it a voter.  A member that announces another address than the one on record (in the
    `hello` of its link) gets its record corrected by the leader.
"""

import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_manager.raft.codec import membership_command
from swarm_manager.raft.config import MAX_MEMBERS, Member, Membership
from swarm_manager.raft.errors import MembershipRefused, OutcomeUnknown
from swarm_manager.raft.futures import fail, resolve

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

CAUGHT_UP_ENTRIES = 64
_Edit = Callable[[Membership], Membership]


@dataclass(slots=True)
class _Change:
    edit: _Edit
    deadline: float
    future: Future[Membership]


class MembershipChanges:
    """`submit_*` from any thread; everything else on the Raft thread."""

    def __init__(self, core: "RaftCore") -> None:
        self._core = core
        self._queue: deque[_Change] = deque()
        self._pending: tuple[int, int, _Change | None] | None = None  # index, term, change
        self.announced: dict[str, str] = {}

    @property
    def waiting(self) -> bool:
        """Whether a change is queued or under way."""
        return bool(self._queue) or self._pending is not None

    def submit_add(self, member: Member, deadline: float) -> Future[Membership]:
        """Add a member as a learner (a known one gets the new address)."""

        def edit(now: Membership) -> Membership:
            known = now.members.get(member.node_id)
            if known is None and len(now.members) >= MAX_MEMBERS:
                raise MembershipRefused(f"a cluster has at most {MAX_MEMBERS} managers")
            voter = known.voter if known else False
            return now.with_member(Member(member.node_id, member.address, voter))

        return self._submit(edit, deadline)

    def submit_remove(self, node_id: str, deadline: float, *, force: bool) -> Future[Membership]:
        """Remove a member; unless forced, never when those left have no quorum among the living."""

        def edit(now: Membership) -> Membership:
            if node_id not in now.members:
                return now
            after = now.without(node_id)
            self._refuse_removal(node_id, after, force=force)
            return after

        return self._submit(edit, deadline)

    def submit_address(self, node_id: str, address: str, deadline: float) -> Future[Membership]:
        """Record that a member is reached elsewhere now."""

        def edit(now: Membership) -> Membership:
            known = now.members.get(node_id)
            if known is None:
                raise MembershipRefused(f"{node_id} is no manager of this cluster")
            return now.with_member(Member(node_id, address, known.voter))

        return self._submit(edit, deadline)

    def _submit(self, edit: _Edit, deadline: float) -> Future[Membership]:
        future: Future[Membership] = Future()
        self._queue.append(_Change(edit, deadline, future))
        return future

    def _refuse_removal(self, node_id: str, after: Membership, *, force: bool) -> None:
        core = self._core
        if node_id == core.node_id:
            raise MembershipRefused("the leading manager cannot remove itself: transfer the leadership first")
        if not after.voters:
            raise MembershipRefused("the last voting manager cannot be removed: it holds the cluster's state")
        if not force and not after.is_quorum({core.node_id, *core.responding()}):
            raise MembershipRefused(
                f"without {node_id} fewer than half of the managers left would be reachable, and the cluster "
                "would stop: bring a manager back or remove the unreachable ones first"
            )

    # ------------------------------------------------------------------------------- on the Raft thread

    def drain(self) -> None:
        """Start the next change when none is under way."""
        core = self._core
        self._expire()
        if not core.is_ready or not core.journal.healthy or core.handover.in_progress:
            self._refuse_queue()
            return
        if core.journal.membership.index > core.commit_index:
            return
        if self._queue:
            self._start(self._queue.popleft())
        else:
            self._upkeep()

    def _start(self, change: _Change) -> None:
        now = self._core.journal.membership
        try:
            after = change.edit(now)
        except MembershipRefused as error:
            fail(change.future, error)
            return
        if after.members == now.members:
            resolve(change.future, now)
        elif not change.future.cancelled():
            self._append(after, change)

    def _append(self, after: Membership, change: _Change | None) -> None:
        core = self._core
        index = core.append(membership_command(after))
        self._pending = (index, core.term, change)
        core.follow_log_membership()
        core.replicate()

    def _upkeep(self) -> None:
        """Promote a learner that has caught up; correct an address that has changed."""
        core = self._core
        now = core.journal.membership
        for member in now.members.values():
            address = self.announced.get(member.node_id, member.address)
            if member.node_id == core.node_id:
                address = core.advertise
            if address != member.address:
                self._append(now.with_member(Member(member.node_id, address, member.voter)), None)
                return
            if not member.voter and self._has_caught_up(member.node_id):
                self._append(now.with_member(Member(member.node_id, address, voter=True)), None)
                return

    def _has_caught_up(self, node_id: str) -> bool:
        core = self._core
        lacks = core.journal.last_index - core.match_index(node_id)
        return lacks <= CAUGHT_UP_ENTRIES and core.match_index(node_id) > 1 and node_id in core.responding()

    def applied(self, index: int, term: int) -> None:
        """A membership entry was committed."""
        if self._pending is None or self._pending[0] != index:
            return
        _, mine, change = self._pending
        self._pending = None
        if change is None:
            return
        if mine == term:
            resolve(change.future, self._core.journal.membership_at(index))
        else:
            fail(change.future, self._core.not_leader("changes of managers"))

    def stepped_down(self) -> None:
        """We do not lead any more."""
        pending, self._pending = self._pending, None
        if pending is not None and pending[2] is not None:
            fail(pending[2].future, OutcomeUnknown("this manager lost the lead before the change was committed"))
        self._refuse_queue()

    def _refuse_queue(self) -> None:
        for _ in range(len(self._queue)):
            fail(self._queue.popleft().future, self._core.not_leader("changes of managers"))

    def _expire(self) -> None:
        now = self._core.now()
        for change in itertools.islice(tuple(self._queue), MAX_MEMBERS):
            if change.deadline <= now:
                self._queue.remove(change)
                fail(change.future, MembershipRefused("another change of managers is still under way: try again"))
        if self._pending is not None and self._pending[2] is not None and self._pending[2].deadline <= now:
            index, term, change = self._pending[0], self._pending[1], self._pending[2]
            self._pending = (index, term, None)
            fail(change.future, OutcomeUnknown("the change of managers was not committed in time"))
