"""A member that sends well-formed nonsense.

Raft trusts its members: one that lies may cost the cluster its term, a member its link, and where it would cost
committed entries the process ends on purpose.  It must not end by anything that nobody thought of.
"""

import contextlib
import random
from typing import Any

import pytest
from swarm_manager.raft import codec
from swarm_manager.raft.config import Member
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.errors import WireError
from swarm_manager.raft.guard import CommittedEntryLost

from tests.sim.oracle import Violation
from tests.sim.world import ADDRESS
from tests.unit.raft.lab import leader, world, write

COMMANDS = (b"\0x", b"\1", b"\2", b"\2\1\2m0", b"\2\xff", b"\7", b"\xff\xff")
MESSAGES = 8


def value(rng: random.Random, kind: str, core: RaftCore) -> Any:
    """Something of this kind that is near to what would make sense, or far from it."""
    last, commit, term = core.journal.last_index, core.commit_index, core.term
    near = (0, 1, term, term + 1, last, last + 1, commit, max(0, commit - 1), 2**62, 2**63 - 1)
    first = rng.choice(near[:-2])
    return {
        "u": rng.choice(near),
        "o": rng.choice((None, *near)),
        "?": rng.random() < 0.5,
        "s": rng.choice((ADDRESS, "", "x" * 200, "host:1")),
        "y": rng.randbytes(rng.randrange(25)),
        "M": tuple(Member(f"m{n}", ADDRESS, rng.random() < 0.7) for n in range(rng.randrange(5))),
        "E": [(rng.choice(COMMANDS), first + n, rng.choice((1, term))) for n in range(rng.randrange(4))],
    }[kind]


def frame(rng: random.Random, core: RaftCore) -> bytes:
    name = rng.choice(sorted(codec.MESSAGES))
    fields = {field: value(rng, kind, core) for field, kind in codec.MESSAGES[name][1]}
    return codec.encode({"type": name, **fields})


@pytest.mark.parametrize("seed", range(25))
def test_it_costs_at_most_a_link_a_term_or_a_process_that_ends_on_purpose(seed: int) -> None:
    rng = random.Random(seed)
    lab = world(compact_entries=rng.choice((5, 1000)))
    first = leader(lab)
    for number in range(8):
        write(lab, first, b"%d" % number)
    with contextlib.suppress(CommittedEntryLost, Violation):
        for _ in range(MESSAGES):
            member = rng.choice(lab.living())
            liar = rng.choice([node_id for node_id in lab.members if node_id != member.node_id])
            assert member.core is not None
            member.core.transport.frame_received(liar, frame(rng, member.core))
            for _ in range(30):
                lab.advance()


@pytest.mark.parametrize("command", [b"\2", b"\2\xff", b"\2\1\2m0"])
def test_a_membership_that_cannot_be_read_does_not_come_into_the_log(command: bytes) -> None:
    entries = [(command, 2, 1)]
    head = {"term": 1, "commit_index": 1, "seq": 1, "prevLogIdx": 1, "prevLogTerm": 1}
    with pytest.raises(WireError):
        codec.decode(codec.encode({"type": "append_entries", **head, "entries": entries}))


def test_numbers_that_leave_no_room_are_no_numbers() -> None:
    for term in (2**63, 2**64 - 1):
        with pytest.raises(WireError, match="out of range"):
            codec.decode(codec.encode({"type": "higher_term", "term": term}))
