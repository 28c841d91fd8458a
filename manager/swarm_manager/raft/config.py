"""Settings of one Raft member, and the value that says who the members are."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from swarm_manager.raft.errors import InvalidConfig

MAX_MEMBERS = 64
MAX_ID_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Member:
    """One manager: its id never changes, its Raft address (IP:port) may.  A learner does not vote yet."""

    node_id: str
    address: str
    voter: bool = True


@dataclass(frozen=True, slots=True)
class Membership:
    """Who takes part as of the log entry `index` (0: as the cluster was started)."""

    index: int
    members: Mapping[str, Member]

    @staticmethod
    def of(members: Iterable[Member], index: int = 0) -> "Membership":
        """The membership of these members."""
        return Membership(index, {member.node_id: member for member in members})

    @property
    def voters(self) -> frozenset[str]:
        """Ids of those whose votes and acknowledgements count."""
        return frozenset(member.node_id for member in self.members.values() if member.voter)

    def is_voter(self, node_id: str) -> bool:
        """Whether this node's vote counts."""
        member = self.members.get(node_id)
        return member is not None and member.voter

    def with_member(self, member: Member) -> "Membership":
        """The membership with this member added or replaced."""
        return replace(self, members={**self.members, member.node_id: member})

    def without(self, node_id: str) -> "Membership":
        """The membership with this node removed."""
        return replace(self, members={k: v for k, v in self.members.items() if k != node_id})

    def is_quorum(self, node_ids: Iterable[str]) -> bool:
        """Whether these nodes hold a majority of the votes."""
        voters = self.voters
        return len(voters & set(node_ids)) * 2 > len(voters)


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """How one member runs.

    `members` matters only while the disk is empty: a cluster of one names itself alone, a joiner names the
    members it was given and sets `joining`.  Later the log knows better.  `seeds` are further addresses where
    members may be found, for when those on record have moved.  Timeouts are seconds.
    """

    node_id: str
    listen: str
    advertise: str
    cluster_id: str
    members: tuple[Member, ...]
    joining: bool = False
    seeds: tuple[str, ...] = ()
    election_min_s: float = 0.4
    election_max_s: float = 0.8
    heartbeat_s: float = 0.13  # as rare as three of them before an election allow: each wakes every manager
    leader_fallback_s: float = 2.0
    compact_entries: int = 10_000
    compact_bytes: int = 32 << 20
    append_batch_bytes: int = 4 << 20
    snapshot_chunk_bytes: int = 256 << 10
    proposal_queue_bytes: int = 64 << 20
    max_proposal_bytes: int = field(default=2 << 20)

    def __post_init__(self) -> None:
        if not self.heartbeat_s * 3 < self.election_min_s < self.election_max_s <= self.leader_fallback_s:
            raise InvalidConfig("need 3 x heartbeat_s < election_min_s < election_max_s <= leader_fallback_s")
        if self.max_proposal_bytes * 2 > self.append_batch_bytes:
            raise InvalidConfig("append_batch_bytes must hold at least two of the largest proposals")
        if self.compact_entries < 2:
            raise InvalidConfig("compact_entries must be at least 2")
        split_address(self.listen)
        split_address(self.advertise)
        for seed in self.seeds:
            split_address(seed)
        for member in self.members:
            check_member(member)

    def initial_membership(self) -> Membership:
        """What an empty data folder starts with; a joiner is a learner of the cluster it was told about."""
        membership = Membership.of(self.members)
        if self.joining:
            return membership.with_member(Member(self.node_id, self.advertise, voter=False))
        return membership


def check_member(member: Member) -> None:
    """Raise InvalidConfig unless id and address can be stored and dialled."""
    if not 0 < len(member.node_id) <= MAX_ID_LENGTH or not member.node_id.isascii():
        raise InvalidConfig(f"{member.node_id!r} is no node id")
    split_address(member.address)


def split_address(address: str) -> tuple[str, int]:
    """(IP, port) of "1.2.3.4:2378" or "[::1]:2378"; no host names, so the Raft thread never waits for DNS."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError as error:
        raise InvalidConfig(f"{address!r} is not of the form IP:port, such as 10.0.0.5:2378") from error
    if not 0 <= number < 65536:
        raise InvalidConfig(f"{address!r} has no valid port")
    return host, number
