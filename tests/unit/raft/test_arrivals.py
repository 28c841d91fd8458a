"""A follower that is sent a snapshot: what holds while it is read and saved beside the Raft thread."""

import itertools
import weakref

import pytest
from swarm_manager.raft.compaction import LANDING_PATIENCE
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.errors import CorruptData

from tests.sim.world import SimMember, World
from tests.unit.raft.test_private_parts import leader, run_until, world, write

HELD_S = 3.0
COMPACT_ENTRIES = 8
_numbers = itertools.count()


def core_of(member: SimMember) -> RaftCore:
    assert member.core is not None
    return member.core


def write_one(lab: World, member: SimMember) -> None:
    assert isinstance(write(lab, member, b"%06d" % next(_numbers)), int)


def state_of(member: SimMember) -> bytes:
    return b"".join(member.machine.dump(member.machine.snapshot()))


def hold_jobs(lab: World) -> None:
    """Nothing that runs beside the Raft threads ends before HELD_S have passed."""
    lab.jobs = [(lab.clock.now + HELD_S, *job[1:]) for job in lab.jobs]


def reading() -> tuple[World, SimMember, SimMember]:
    """A leader, and a follower that has been sent a snapshot and is not through with it."""
    lab = world(compact_entries=COMPACT_ENTRIES)
    first = leader(lab)
    follower = next(member for member in lab.living() if member is not first)
    lab.crash(follower, power=False)
    follower.restart_at = float("inf")
    while core_of(first).journal.first_index < 20:
        write_one(lab, first)
    run_until(lab, lambda: not core_of(first).snapshots.busy)
    follower.restart_at = lab.clock.now
    run_until(lab, lambda: follower.core is not None and follower.core.arrivals.busy)
    hold_jobs(lab)
    return lab, first, follower


def test_the_log_stays_as_it_is_and_the_leader_is_answered() -> None:
    lab, first, follower = reading()
    before = core_of(follower).journal.last_index, core_of(follower).commit_index
    until = lab.clock.now + HELD_S / 2
    while lab.clock.now < until:
        write_one(lab, first)
        lab.advance()
    assert core_of(follower).arrivals.busy
    assert (core_of(follower).journal.last_index, core_of(follower).commit_index) == before
    assert follower.node_id in core_of(first).responding()
    assert core_of(first).is_ready


def test_it_is_taken_over_and_what_followed_is_sent() -> None:
    lab, first, follower = reading()
    write_one(lab, first)
    run_until(lab, lambda: core_of(follower).applied_index == core_of(first).journal.last_index)
    assert state_of(follower) == state_of(first)
    assert core_of(follower).snapshots.last_index > 1


def test_the_state_it_replaces_is_let_go_of_part_by_part_afterwards() -> None:
    class Part:
        """Something that dies with its last holder."""

    lab, first, follower = reading()
    parts: list[object] = [Part() for _ in range(10)]
    alive = [weakref.ref(part) for part in parts]
    follower.machine.parts = lambda _: parts  # type: ignore[attr-defined]
    run_until(lab, lambda: core_of(follower).applied_index == core_of(first).journal.last_index)
    run_until(lab, lambda: not parts)
    assert [part() for part in alive] == [None] * 10


def test_the_leader_keeps_its_log_until_then() -> None:
    lab, first, follower = reading()
    begins = core_of(first).snapshots.last_index
    for _ in range(2 * COMPACT_ENTRIES):
        write_one(lab, first)
    assert core_of(first).snapshots.last_index == begins
    assert not core_of(first).snapshots.busy
    run_until(lab, lambda: core_of(first).snapshots.last_index > begins)
    assert not core_of(follower).arrivals.busy


def test_it_does_not_keep_it_for_ever() -> None:
    lab, first, follower = reading()
    begins = core_of(first).snapshots.last_index
    for _ in range(2 * LANDING_PATIENCE * COMPACT_ENTRIES):
        write_one(lab, first)
    assert core_of(first).snapshots.last_index > begins or core_of(first).snapshots.writing
    run_until(lab, lambda: core_of(follower).applied_index == core_of(first).journal.last_index)


def test_a_leader_that_is_replaced_forgets_whom_it_was_sending_to() -> None:
    lab, first, _ = reading()
    assert core_of(first).snapshots.landing
    core_of(first).adopt_term(core_of(first).term + 1)
    run_until(lab, lambda: not core_of(first).snapshots.landing, limit_s=HELD_S / 2)


def test_with_another_term_it_waits_for_the_new_leader() -> None:
    lab, _, follower = reading()
    core_of(follower).adopt_term(core_of(follower).term + 1)
    run_until(lab, lambda: not core_of(follower).arrivals.busy)
    assert core_of(follower).applied_index == 1
    second = leader(lab)
    run_until(lab, lambda: core_of(follower).applied_index == core_of(second).journal.last_index)


def test_a_state_that_cannot_be_read_ends_the_member() -> None:
    lab, _, follower = reading()

    def read(data: bytes | memoryview) -> object:
        raise ValueError("written by a later version")

    follower.machine.read = read  # type: ignore[method-assign]
    with pytest.raises(CorruptData, match="cannot read the snapshot"):
        run_until(lab, lambda: False)
