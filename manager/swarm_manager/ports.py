"""What the API and the leader's loops need of the replicated store (`raft/store.py` is the real one)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from swarm_api.store_pb2 import ChangeSet

from swarm_manager.core.kinds import Stored
from swarm_manager.core.machine import Outcome
from swarm_manager.core.quorum import quorum_of
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.events import Batch


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One manager as this one sees it."""

    node_id: str
    raft_address: str
    voter: bool
    reachable: bool | None  # None: this manager has no link to it, so it cannot tell
    unreachable_s: float = 0.0  # for how long it was not, as far as this manager has seen


@dataclass(frozen=True, slots=True)
class RaftView:
    """What this manager knows of Raft."""

    node_id: str
    leader_id: str  # empty: nobody known
    leads: bool  # this one leads, and has applied an entry of its own term
    term: int
    commit_index: int
    applied_index: int
    members: Mapping[str, MemberStatus] = field(default_factory=dict)
    journal_error: str = ""
    removed: bool = False  # the others took this manager out
    superseded: bool = False  # the cluster was restored or recovered without this manager

    @property
    def quorum(self) -> int:
        """How many voters must agree."""
        return quorum_of(sum(member.voter for member in self.members.values()))


class Store(Protocol):
    """The replicated state."""

    @property
    def snapshot(self) -> Snapshot:
        """What this manager has applied."""

    @property
    def raft(self) -> RaftView:
        """What this manager knows of Raft at this moment."""

    async def read(self) -> Snapshot:
        """The state with every write that was acknowledged before the call.

        Raises NotLeaderError or UnavailableError.
        """

    async def propose(self, change_set: ChangeSet, term: int | None = None) -> Outcome:
        """Commit it, all or nothing; with `term`, only while this manager leads in that term.

        Raises NotLeaderError (nothing was written), OutcomeUnknownError, JournalFullError, BadRequestError (too
        large).
        """

    def follow(self, after: int) -> AsyncIterator[Sequence[Batch]]:
        """The commits after index `after`, as they are applied; TooOldError when not all are remembered."""

    def object_at(self, kind: int, object_id: str, version: int) -> Stored | None:
        """The object as it was at that version of it; None when that is too long ago."""


class Membership(Protocol):
    """Who takes part in Raft; the leader's to change, one at a time."""

    async def add_member(self, node_id: str, raft_address: str) -> None:
        """Return when it is a member; it votes once it has caught up.

        Raises RefusedError, NotLeaderError or UnavailableError.
        """

    async def remove_member(self, node_id: str) -> None:
        """Return when it is out."""

    async def transfer_leadership(self, to: str | None = None) -> None:
        """Hand over to another voter, and return when this manager does not lead any more."""
