"""A snapshot that rots on the disk while its manager runs: named, no reason to stop, and replaced by the next one."""

from swarm_manager.raft.config import Member

from tests.sim.world import ADDRESS
from tests.unit.raft.lab import leader, run_until, world, write


def test_a_leader_whose_snapshot_was_damaged_goes_on_and_serves_a_newcomer_from_the_next() -> None:
    lab = world(members=1, compact_entries=10)
    first = leader(lab)
    core = first.core
    assert core is not None
    while core.journal.first_index < 10:
        write(lab, first, b"%d" % core.applied_index)
    run_until(lab, lambda: not core.snapshots.busy and core.applied_index - core.snapshots.last_index < 6)
    content = first.platter.files["snapshot"].content
    content[len(content) // 2] ^= 1

    future = core.changes.submit_add(Member("m9", ADDRESS, voter=False), lab.clock.now + 5)
    first.wake_at = lab.clock.now
    run_until(lab, future.done)
    lab.new_member("m9", tuple(future.result().members.values()), joining=True)
    run_until(lab, lambda: "damaged" in core.snapshots.last_error)
    assert first.core is core and core.is_leader, "it leads on"

    for number in range(30):
        write(lab, first, b"later%d" % number)
    run_until(lab, lambda: "m9" in core.journal.membership.voters)
    assert core.snapshots.last_error == ""
