"""The journal: what it promised is there after any crash; what it cannot promise it says."""

import copy
import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_manager.raft.codec import Entry, membership_command, regular_command
from swarm_manager.raft.config import Member, Membership
from swarm_manager.raft.disk import Disk, LocalDisk
from swarm_manager.raft.errors import CorruptData, InvalidConfig
from swarm_manager.raft.journal import Journal
from swarm_manager.raft.segment_files import Background, at_once

from tests.sim.fake_disk import FakeDisk, Platter, PowerCut

FOUNDING = Membership.of([Member("a", "1.2.3.4:1")])


def journal(disk: Disk, background: Background = at_once) -> Journal:
    opened = Journal(disk, FOUNDING, background)
    if not len(opened):
        opened.add(b"\1", 1, 0)
        assert opened.sync()
        opened.set_vote(1, "a")
    return opened


def fill(log: Journal, first: int, last: int, term: int = 1) -> None:
    for index in range(first, last + 1):
        log.add(regular_command(b"%d of %d" % (index, term)), index, term)


def fake(seed: int = 1, background: Background = at_once) -> tuple[Platter, Callable[[], Journal]]:
    platter = Platter(random.Random(seed))
    return platter, lambda: journal(FakeDisk(platter, "test"), background)


def test_what_was_synced_is_there_after_a_power_cut(tmp_path: Path) -> None:
    platter, open_journal = fake()
    log = open_journal()
    fill(log, 2, 10)
    assert log.sync()
    fill(log, 11, 20)
    log.set_vote(7, "b")
    platter.crash(power=True)
    again = open_journal()
    assert again.entries[:10] == log.entries[:10]
    assert (again.term, again.vote) == (7, "b")


@pytest.mark.parametrize("seed", range(10))
def test_what_a_failed_sync_left_in_memory_is_not_taken_for_written_by_the_next_process(seed: int) -> None:
    platter, open_journal = fake(seed)
    log = open_journal()
    fill(log, 2, 10)
    assert log.sync()
    fill(log, 11, 20)
    platter.failing = True
    assert not log.sync()
    platter.crash(power=False)
    platter.failing = False
    log = open_journal()
    assert log.sync(), "it says that all it has is durable"
    promised = list(log.entries)
    platter.crash(power=True)
    assert open_journal().entries == promised


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_any_history_keeps_its_promises(seed: int) -> None:
    """Random appends, cuts, rotations, votes and power cuts: the synced log is always a prefix of what is read."""
    jobs: list[Callable[[], None]] = []
    rng, (platter, open_journal) = random.Random(seed), fake(seed, jobs.append)
    log, promised, term = open_journal(), [], 1
    for _ in range(60):
        try:
            kind = rng.random()
            if kind < 0.5:
                fill(log, log.last_index + 1, log.last_index + rng.randrange(1, 4), term)
            elif kind < 0.6 and len(log) > 2:
                term = max(term, log.term) + 1
                log.set_vote(term, None)  # a term is always saved before its first entry
                log.cut_from(rng.randrange(max(1, len(log) - 3), len(log)))
                promised = promised[: len(log)]
                fill(log, log.last_index + 1, log.last_index + 1, term)
            elif kind < 0.8:
                assert log.sync()
                promised = list(log.entries)
            elif kind < 0.85:
                log.rotate()
            elif kind < 0.88 and jobs:
                jobs.pop(0)()
            elif kind < 0.92:
                term = log.term + 1
                log.set_vote(term, "x")
            platter.cut_after = rng.randrange(1, 6) if rng.random() < 0.05 else platter.cut_after
        except PowerCut:
            platter.crash(power=True)
            jobs.clear()
            log = open_journal()
            term = log.term
            assert log.entries[: len(promised)] == promised


def test_a_torn_tail_is_cut_and_reported() -> None:
    platter, open_journal = fake()
    log = open_journal()
    fill(log, 2, 5)
    log.sync()
    file = platter.files["journal-0000000000000001"]
    file.content += b"\x52\x53torn"
    file.settle()
    again = open_journal()
    assert again.torn_bytes == 6 and again.last_index == 5
    fill(again, 6, 6)
    assert again.sync() and open_journal().last_index == 6


def test_damage_before_a_later_sync_is_refused_with_the_place() -> None:
    platter, open_journal = fake()
    log = open_journal()
    for index in range(2, 8):
        fill(log, index, index)
        log.sync()
    file = platter.files["journal-0000000000000001"]
    file.content[120] ^= 1
    file.settle()
    with pytest.raises(CorruptData, match=r"journal-0000000000000001 is damaged at byte \d+.*join again"):
        open_journal()


def test_a_gap_between_files_is_refused() -> None:
    platter, open_journal = fake()
    log = open_journal()
    for first in (2, 4, 6):
        fill(log, first, first + 1)
        log.rotate()
    del platter.files["journal-0000000000000002"]
    with pytest.raises(CorruptData, match="missing"):
        open_journal()


def test_a_reset_voids_the_old_log_even_when_the_removal_was_cut_off() -> None:
    for operations in range(1, 6):
        platter, open_journal = fake()
        log = open_journal()
        fill(log, 2, 9)
        log.rotate()
        fill(log, 10, 12)
        log.sync()
        log.reset()
        log.add(b"\1", 50, 1)
        log.add(b"\1", 51, 1)
        platter.cut_after = operations
        try:
            synced = log.sync()
        except PowerCut:
            synced = False
        platter.crash(power=True)
        entries = [entry[1] for entry in open_journal().entries]
        assert entries == [50, 51] or (not synced and entries == list(range(1, 13))), operations


def test_compaction_removes_whole_files_and_the_rest_is_read_back() -> None:
    platter, open_journal = fake()
    log = open_journal()
    for first in (2, 12, 22):
        fill(log, first, first + 9)
        assert log.rotate()
    log.drop_before(25 - log.first_index)
    assert log.first_index == 22 and "journal-0000000000000001" not in platter.files
    assert open_journal().entries == log.entries


def test_a_segment_is_made_beside_the_thread_that_goes_over_to_it() -> None:
    jobs: list[Callable[[], None]] = []
    platter, open_journal = fake(background=jobs.append)
    log = open_journal()
    fill(log, 2, 5)
    assert not log.rotate() and not log.rotate() and log.healthy
    assert len(jobs) == 1
    jobs.pop()()
    before = platter.syncs
    assert log.rotate() and log.rotate()
    assert platter.syncs == before, "going over waits for nothing"
    fill(log, 6, 9)
    assert log.sync()
    log.drop_before(6 - log.first_index)
    assert log.first_index == 6 and "journal-0000000000000001" in platter.files
    jobs.pop()()
    assert list(platter.files) == ["founding", "vote", "journal-0000000000000002"]
    assert open_journal().entries == log.entries


def test_a_torn_tail_before_a_segment_that_was_made_ahead_is_cut() -> None:
    jobs: list[Callable[[], None]] = []
    platter, open_journal = fake(background=jobs.append)
    log = open_journal()
    fill(log, 2, 5)
    assert not log.rotate()
    jobs.pop()()
    file = platter.files["journal-0000000000000001"]
    file.content += b"\x52\x53torn"
    file.settle()
    again = open_journal()
    assert again.torn_bytes == 6 and again.last_index == 5
    assert "journal-0000000000000002" not in platter.files


@pytest.mark.parametrize("made_first", [True, False])
def test_a_fresh_log_voids_what_was_made_ahead(made_first: bool) -> None:
    jobs: list[Callable[[], None]] = []
    platter, open_journal = fake(background=jobs.append)
    log = open_journal()
    fill(log, 2, 5)
    assert not log.rotate()
    if made_first:
        jobs.pop()()
    log.reset()
    log.add(b"\1", 50, 1)
    assert log.sync()
    while jobs:
        jobs.pop(0)()
    assert list(platter.files) == ["founding", "vote", "journal-0000000000000003"]
    assert not log.rotate()
    jobs.pop()()
    assert log.rotate()
    fill(log, 51, 52)
    assert log.sync() and open_journal().entries == log.entries


def test_a_segment_that_the_disk_refuses_to_make_is_tried_again() -> None:
    jobs: list[Callable[[], None]] = []
    platter, open_journal = fake(background=jobs.append)
    log = open_journal()
    fill(log, 2, 5)
    assert not log.rotate()
    platter.full = True
    jobs.pop()()
    assert not log.rotate() and not log.healthy and "space" in str(log.failure)
    platter.full = False
    assert log.recover() and not log.rotate() and log.healthy
    jobs.pop()()
    assert log.rotate()


class StubbornDisk(FakeDisk):
    """Refuses to remove one file."""

    stubborn = ""

    def remove(self, name: str) -> None:
        if name == self.stubborn:
            raise OSError(errno.EIO, "Input/output error")
        super().remove(name)


def test_old_segments_go_in_order_and_none_is_left_out_when_the_disk_refuses_for_a_while() -> None:
    """A log with a file missing in its middle would not be read any more."""
    platter = Platter(random.Random(1))
    disk = StubbornDisk(platter, "test")
    log = journal(disk)
    disk.stubborn = "journal-0000000000000001"
    for first in (2, 12, 22):
        fill(log, first, first + 9)
        assert log.rotate()
    log.drop_before(25 - log.first_index)
    assert log.first_index == 22
    assert open_sequences(platter) == [1, 2, 3, 4]
    assert journal(FakeDisk(copy.deepcopy(platter), "test")).first_index == 1
    disk.stubborn = ""
    fill(log, 32, 41)
    assert log.rotate()
    log.drop_before(35 - log.first_index)
    assert open_sequences(platter) == [4, 5]


def open_sequences(platter: Platter) -> list[int]:
    return sorted(int(name.removeprefix("journal-")) for name in platter.files if name.startswith("journal-"))


def test_a_full_disk_is_an_unhealthy_journal_and_recovers_with_nothing_lost() -> None:
    platter, open_journal = fake()
    log = open_journal()
    fill(log, 2, 5)
    assert log.sync()
    platter.full = True
    fill(log, 6, 9)
    assert not log.sync() and not log.healthy
    assert log.durable_index == 5 and "space" in str(log.failure)
    assert not log.set_vote(9, "b") and not log.recover()
    platter.full = False
    assert log.recover() and log.healthy and log.durable_index == 9
    again = open_journal()
    assert again.entries == log.entries and (again.term, again.vote) == (9, "b")


def test_the_membership_follows_the_log_and_what_is_cut_off_it() -> None:
    _, open_journal = fake()
    log = open_journal()
    two = FOUNDING.with_member(Member("b", "1.2.3.4:2"))
    log.add(membership_command(two), 2, 1)
    assert set(log.membership.members) == {"a", "b"} and log.membership.index == 2
    log.sync()
    assert set(open_journal().membership.members) == {"a", "b"}
    log.cut_from(1)
    assert set(log.membership.members) == {"a"}
    assert log.membership_at(99) == FOUNDING


ENTRY: Callable[[int, int], Entry] = lambda index, term: (b"\1", index, term)  # noqa: E731


def test_a_snapshot_that_continues_the_log_keeps_its_tail_and_another_voids_it() -> None:
    _, open_journal = fake()
    log = open_journal()
    fill(log, 2, 9)
    log.align(ENTRY(5, 1), ENTRY(6, 1))
    assert [entry[1] for entry in log.entries] == [5, 6, 7, 8, 9]
    log.align(ENTRY(7, 2), ENTRY(8, 2))
    assert [entry[1] for entry in log.entries] == [7, 8]
    log.align(ENTRY(20, 2), ENTRY(21, 2))
    assert [entry[1] for entry in log.entries] == [20, 21]
    with pytest.raises(CorruptData, match="files are missing"):
        log.align(ENTRY(3, 1), ENTRY(4, 1))


def test_the_local_disk_keeps_others_out_and_leaves_no_debris(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path / "d")
    log = journal(disk)
    fill(log, 2, 5)
    log.sync()
    with pytest.raises(InvalidConfig, match="another manager process"):
        LocalDisk(tmp_path / "d")
    with pytest.raises(ZeroDivisionError):
        disk.replace("vote", (b"x" * (1 // n) for n in (1, 0)))
    log.close()
    disk.close()
    (tmp_path / "d" / "vote.tmp").write_bytes(b"left over")
    again = LocalDisk(tmp_path / "d")
    assert again.names() == ["founding", "journal-0000000000000001", "vote"]
    assert journal(again).entries == log.entries
    again.close()
