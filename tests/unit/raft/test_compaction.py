"""When members compact their logs."""

from tests.unit.raft.lab import leader, world, write

USUAL = 60


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
    apart = [after - before for before, after in zip(indexes, indexes[1:], strict=False)]
    assert min(apart) > USUAL // len(lab.members) // 2, indexes
