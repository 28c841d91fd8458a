"""When members compact their logs."""

import itertools

from tests.unit.raft.lab import leader, run_until, world, write

USUAL = 60


def test_it_pauses_between_the_pieces_of_an_image() -> None:
    pauses: list[None] = []
    written: list[bytes] = []
    lab = world(members=1)
    first = leader(lab)
    assert first.core is not None
    snapshots = first.core.snapshots
    snapshots._pause = lambda: pauses.append(None)
    for number in range(20):
        write(lab, first, b"%d" % number)
    written += first.machine.dump(first.machine.snapshot())
    first.core.forceLogCompaction()
    run_until(lab, lambda: snapshots.last_index > 0)
    assert len(pauses) >= len(written) > 1


def test_members_write_their_snapshots_at_different_entries() -> None:
    """Not all at once: a majority is always free of that work."""
    lab = world(compact_entries=USUAL)
    first = leader(lab)
    taken: dict[int, str] = {}
    for number in range(5 * USUAL):
        write(lab, first, b"%d" % number)
        for member in lab.living():
            assert member.core is not None
            taken[member.core.snapshots.last_index] = member.node_id
    taken.pop(0, None)
    indexes = sorted(taken)
    assert set(taken.values()) == set(lab.members)
    assert len(indexes) >= 4 * len(lab.members)
    apart = [after - before for before, after in itertools.pairwise(indexes)]
    assert min(apart) > USUAL // len(lab.members) // 2, indexes
