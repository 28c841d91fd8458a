"""What must hold at every moment, judged from outside with full knowledge."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.world import SimMember


class Violation(Exception):
    """A promise was broken."""


@dataclass
class Oracle:
    """Remembers everything that was ever committed or promised."""

    leaders: dict[int, str] = field(default_factory=dict)  # term: leader
    committed: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # index: (command, term)
    acked: dict[bytes, int] = field(default_factory=dict)  # payload: index
    refused: set[bytes] = field(default_factory=set)  # definitely not written
    applied: dict[bytes, int] = field(default_factory=dict)  # payload: index

    def watch(self, member: "SimMember") -> None:
        """After every step of a member."""
        core = member.core
        assert core is not None
        if core.is_leader:
            other = self.leaders.setdefault(core.term, member.node_id)
            if other != member.node_id:
                raise Violation(f"two leaders in term {core.term}: {other} and {member.node_id}")
        if core.commit_index < member.commit_seen:
            raise Violation(f"{member.node_id}'s commit index fell from {member.commit_seen}")
        if core.applied_index > core.commit_index:
            raise Violation(f"{member.node_id} applied {core.applied_index}, committed {core.commit_index}")
        # What came with a snapshot is compared as the state machine's content instead.
        for index in range(max(member.commit_seen + 1, core.journal.first_index), core.commit_index + 1):
            self._check_committed(member.node_id, index, core.journal.entry(index))
        member.commit_seen = core.commit_index

    def _check_committed(self, who: str, index: int, entry: tuple[bytes, int, int] | None) -> None:
        if entry is None:
            return
        command, _, term = entry
        if self.committed.setdefault(index, (command, term)) != (command, term):
            raise Violation(f"{who} committed another entry at {index} than before")

    def on_apply(self, who: str, index: int, payload: bytes) -> None:
        """A state machine applies an entry."""
        if self.applied.setdefault(payload, index) != index:
            raise Violation(f"{who} applies {payload!r} at {index}, it was applied at {self.applied[payload]}")
        if payload in self.refused:
            raise Violation(f"{payload!r} was refused for good, and {who} applies it at {index}")

    def on_ack(self, payload: bytes, index: int) -> None:
        """A client was told that its write is committed."""
        if self.applied.get(payload) != index:
            raise Violation(f"{payload!r} was acknowledged at {index} but is not applied there")
        self.acked[payload] = index

    def on_refusal(self, payload: bytes) -> None:
        """A client was told that its write definitely did not happen."""
        self.refused.add(payload)
        if payload in self.applied:
            raise Violation(f"{payload!r} was refused for good but is applied at {self.applied[payload]}")

    def on_read(self, needed: int, applied: int) -> None:
        """A linearizable read: it must see what was acknowledged before it began."""
        if applied < needed:
            raise Violation(f"a read saw the state at {applied}, but {needed} had been acknowledged before it")

    def check_end(self, members: "list[SimMember]") -> None:
        """After healing: everybody has the same state, with every acknowledged write in it."""
        states = {member.node_id: member.machine.items for member in members}
        first = next(iter(states.values()))
        for node_id, items in states.items():
            if items != first:
                raise Violation(f"the states differ in the end: {node_id}")
        have = dict(first)
        for payload, index in self.acked.items():
            if have.get(index) != payload:
                raise Violation(f"acknowledged write {payload!r} at {index} is lost")
