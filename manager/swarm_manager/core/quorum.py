"""How many managers must live, and which dead one may go: decisions about the members of Raft, from plain facts.

quorum of n voters      n // 2 + 1: so many must be reachable, or nothing can be changed
one may go              when those left have a quorum among the reachable, and are not fewer than LEAST_VOTERS
"""

from collections.abc import Iterable
from dataclasses import dataclass

LEAST_VOTERS = 3  # two managers stand the loss of none: removing a dead third would make nothing safer


@dataclass(frozen=True, slots=True)
class Health:
    """One member, as the leader sees it."""

    node_id: str
    voter: bool
    unreachable_s: float  # 0: it is reachable (the leader itself is)

    @property
    def is_reachable(self) -> bool:
        """Whether it answers."""
        return self.unreachable_s <= 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which dead member goes now, if any, and why the other dead ones stay."""

    remove: str = ""
    kept: tuple[tuple[str, str], ...] = ()  # (node id, reason)


def quorum_of(voters: int) -> int:
    """How many of so many voters must agree."""
    return voters // 2 + 1


def dead_to_remove(members: Iterable[Health], after_s: float) -> Verdict:
    """The one member to take out because it was unreachable for longer than `after_s`: the longest dead first."""
    known = list(members)
    dead = sorted(
        (member for member in known if member.unreachable_s > after_s),
        key=lambda member: (member.voter, -member.unreachable_s, member.node_id),
    )
    kept: list[tuple[str, str]] = []
    for member in dead:
        reason = _why_not(known, member)
        if not reason:
            return Verdict(member.node_id, tuple(kept))
        kept.append((member.node_id, reason))
    return Verdict(kept=tuple(kept))


def _why_not(members: list[Health], gone: Health) -> str:
    """Why this member must stay; empty: it may go."""
    if not gone.voter:
        return ""  # it never counted
    left = [member for member in members if member.voter and member.node_id != gone.node_id]
    reachable = sum(member.is_reachable for member in left)
    if reachable < quorum_of(len(left)):
        needed = quorum_of(len(left))
        return f"only {reachable} of the {len(left)} managers left would be reachable, and they need {needed}"
    if len(left) < LEAST_VOTERS:
        return f"{len(left)} would be left, and fewer than {LEAST_VOTERS} stand no loss: promote another node first"
    return ""
