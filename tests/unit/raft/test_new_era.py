"""A member whose data begin a new era goes on alone and takes newcomers in; what is left of the old era gives way."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from swarm_api.eras import first_index, first_term, next_era
from swarm_manager.raft.at_rest import write_founding
from swarm_manager.raft.codec import membership_command, regular_command
from swarm_manager.raft.config import Member, Membership
from swarm_manager.raft.disk import Disk
from swarm_manager.raft.errors import CorruptData
from swarm_manager.raft.journal import Journal

from tests.sim.fake_disk import FakeDisk, Platter, PowerCut
from tests.sim.world import ADDRESS, Sabotage, SimMember, World

NEW_ERA = next_era(0, 1_800_000_000)
INDEX, TERM = first_index(NEW_ERA, 10), first_term(NEW_ERA)


def run_until(world: World, condition: Callable[[], Any], limit_s: float = 20.0) -> Any:
    end = world.clock.now + limit_s
    while world.clock.now < end:
        if value := condition():
            return value
        world.advance()
    raise AssertionError("it never came to that: " + world._describe())


def leader_of(world: World, node_ids: set[str]) -> SimMember | None:
    return next((m for m in world.living() if m.node_id in node_ids and m.core is not None and m.core.is_ready), None)


def found(disk: Disk) -> None:
    write_founding(disk, Member("m0", ADDRESS), iter(()), index=INDEX, term=TERM)


def founded(seed: int = 1) -> Platter:
    platter = Platter(random.Random(seed))
    found(FakeDisk(platter, "m0"))
    return platter


def begin_anew(world: World) -> SimMember:
    """m0 is stopped, its data are replaced, and it starts again."""
    m0 = world.members["m0"]
    world.crash(m0, power=True)
    m0.platter = Platter(random.Random(1))
    found(m0.open_disk())
    world.start(m0)
    return m0


@pytest.fixture
def world() -> World:
    """Three members, of which m0 has begun a new era while m1 and m2 go on with the old one."""
    world = World(1, Sabotage(), members=3, compact_entries=100_000)
    run_until(world, lambda: leader_of(world, {"m0", "m1", "m2"}))
    begin_anew(world)
    return world


def write(world: World, member: SimMember, payload: bytes) -> object:
    assert member.core is not None
    future = member.core.proposals.submit(payload, None, world.clock.now + 5)
    member.wake_at = world.clock.now
    run_until(world, future.done)
    return future.result()


def test_it_leads_alone_above_every_term_and_index_of_before(world: World) -> None:
    m0 = run_until(world, lambda: leader_of(world, {"m0"}))
    assert m0.core.term > TERM
    assert m0.core.journal.membership.voters == {"m0"}
    index = write(world, m0, b"new")
    assert isinstance(index, int)
    assert index > INDEX


def test_the_old_managers_stand_down_though_they_are_a_quorum_and_keep_their_data(world: World) -> None:
    old = [world.members["m1"], world.members["m2"]]
    held = [m.core.journal.last_index for m in old if m.core is not None]
    run_until(world, lambda: all(m.core is not None and m.core.transport.superseded for m in old))
    for member, last_index in zip(old, held, strict=True):
        assert member.core is not None
        assert not member.core.transport.removed  # which would delete its data
        assert not member.core.is_leader
        assert member.core.journal.last_index >= last_index
    end = world.clock.now + 10
    run_until(world, lambda: world.clock.now > end)
    assert leader_of(world, {"m1", "m2"}) is None
    m0 = leader_of(world, {"m0"})
    assert m0 is not None
    assert m0.core is not None
    assert m0.core.transport.connected == frozenset()


def test_nothing_of_the_old_log_reaches_the_new_one(world: World) -> None:
    m0 = run_until(world, lambda: leader_of(world, {"m0"}))
    run_until(world, lambda: all(world.members[i].core.transport.superseded for i in ("m1", "m2")))  # type: ignore[union-attr]
    assert m0.core.journal.first_index == INDEX - 1
    assert all(term >= TERM for _, _, term in m0.core.journal.entries)


def test_a_newcomer_is_taken_in_and_votes(world: World) -> None:
    m0 = run_until(world, lambda: leader_of(world, {"m0"}))
    write(world, m0, b"before")
    added = m0.core.changes.submit_add(Member("m9", ADDRESS, voter=False), world.clock.now + 5)
    m0.wake_at = world.clock.now
    run_until(world, added.done)
    world.new_member("m9", tuple(added.result().members.values()), joining=True)
    run_until(world, lambda: m0.core.journal.membership.voters == {"m0", "m9"})
    m9 = world.members["m9"]
    index = write(world, m0, b"after")
    run_until(world, lambda: m9.core is not None and m9.core.applied_index >= index)  # type: ignore[operator]
    assert [payload for _, payload in m9.machine.items] == [b"before", b"after"]


def test_it_survives_a_crash_before_its_first_election() -> None:
    world = World(1, Sabotage(), members=1)
    m0 = begin_anew(world)
    world.crash(m0, power=True)
    run_until(world, lambda: leader_of(world, {"m0"}))


def test_a_power_cut_while_the_data_are_written_leaves_none_that_a_manager_would_start_on() -> None:
    """They are written to a folder that counts only once it was renamed; still, no half of them passes for a whole."""
    for operations in range(1, 40):
        platter = Platter(random.Random(operations))
        platter.cut_after = operations
        disk = FakeDisk(platter, "m0")
        try:
            write_founding(disk, Member("m0", ADDRESS), iter(()), index=INDEX, term=TERM)
        except PowerCut:
            platter.crash(power=True)
        else:
            assert operations > 3
            return
        # A snapshot without its vote file could vote twice in a term: that must be noticed, or harmless.
        journal_names = [name for name in FakeDisk(platter, "m0").names() if name.startswith("journal-")]
        if "vote" in platter.files and not journal_names:
            with pytest.raises(CorruptData):
                Journal(FakeDisk(platter, "m0"), Membership.of(()))
    raise AssertionError("it never came to its end")


def test_a_full_disk_is_an_os_error() -> None:
    platter = Platter(random.Random(1))
    platter.full = True
    with pytest.raises(OSError, match="No space"):
        found(FakeDisk(platter, "m0"))
    platter.full = False
    platter.cut_after = None


def test_the_entry_it_begins_with_says_who_the_members_are() -> None:
    disk = FakeDisk(founded(), "m0")
    log = Journal(disk, Membership.of(()))
    assert log.last_index == INDEX
    assert log.entries[-1][0] == membership_command(Membership.of([Member("m0", ADDRESS)]))
    assert (log.term, log.vote) == (TERM, None)
    log.add(regular_command(b"x"), INDEX + 1, TERM + 1)
    assert log.sync()
