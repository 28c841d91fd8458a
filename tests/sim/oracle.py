"""What must hold at every moment, judged from outside with full knowledge."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm_manager.raft.codec import COMMAND_MEMBERSHIP

if TYPE_CHECKING:
    from tests.sim.world import SimMember


class Violation(BaseException):
    """A promise was broken.  No Exception: the code under test contains those, and so do futures."""


@dataclass
class Oracle:
    """Remembers everything that was ever committed or promised by the members; workloads judge their own writes."""

    leaders: dict[int, str] = field(default_factory=dict)  # term: leader
    committed: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # index: (command, term)
    read_index: int = 0  # the newest state that any read has seen
    reads: int = 0
    membership_changes: int = 0
    watch_votes: bool = True

    def watch(self, member: "SimMember") -> None:
        """After every step of a member."""
        core = member.core
        assert core is not None
        if core.is_leader:
            other = self.leaders.setdefault(core.term, member.node_id)
            if other != member.node_id:
                raise Violation(f"two leaders in term {core.term}: {other} and {member.node_id}")
        commit, seen = core.commit_index, member.commit_seen
        if commit < seen:
            raise Violation(f"{member.node_id}'s commit index fell from {seen}")
        if core.applied_index > commit:
            raise Violation(f"{member.node_id} applied {core.applied_index}, committed {commit}")
        # What came with a snapshot is compared as the state machine's content instead.
        for index in range(max(seen + 1, core.journal.first_index), commit + 1):
            self._check_committed(member.node_id, index, core.journal.entry(index))
        member.commit_seen = commit
        if self.watch_votes:
            self._check_vote(member)

    def _check_committed(self, who: str, index: int, entry: tuple[bytes, int, int] | None) -> None:
        if entry is None:
            return
        command, _, term = entry
        if index not in self.committed:
            self.committed[index] = (command, term)
            self.membership_changes += command[0] == COMMAND_MEMBERSHIP
        elif self.committed[index] != (command, term):
            raise Violation(f"{who} committed another entry at {index} than before")

    def _check_vote(self, member: "SimMember") -> None:
        """What a member promised once its disk had taken it, it must know ever after, also after a crash."""
        core = member.core
        assert core is not None
        journal = core.journal
        now, before = (journal.term, journal.vote), member.promised
        if now == before or not journal.healthy:
            return
        if now[0] < before[0]:
            raise Violation(f"{member.node_id} was in term {before[0]} and went back to {now[0]}")
        if now[0] == before[0] and before[1] is not None:
            raise Violation(f"{member.node_id} voted for {before[1]} in term {now[0]}, and now for {now[1]}")
        member.promised = now

    def on_read(self, needed: int, seen: int) -> None:
        """A linearizable read: it sees what was acknowledged, and what another read saw, before it began."""
        if seen < needed:
            raise Violation(f"a read saw the state at {seen}, but {needed} had been acknowledged or read before it")
        self.read_index = max(self.read_index, seen)
        self.reads += 1
