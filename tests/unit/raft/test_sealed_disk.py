"""Data at rest: nothing in the clear, nothing forged, the journal's promises kept, keys replaced at any moment."""

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_manager.raft import seal
from swarm_manager.raft.codec import regular_command
from swarm_manager.raft.config import Member, Membership
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.errors import CorruptData, KeysUnusable, WrongUnlockKey
from swarm_manager.raft.journal import Journal
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.seal import DataKey, Opener, Writer
from swarm_manager.raft.sealed_disk import SealedDisk, open_disk, open_folder

from tests.sim.fake_disk import FakeDisk, Platter, PowerCut

FOUNDING = Membership.of([Member("a", "1.2.3.4:1")])
FIRST, SECOND = b"1" * 32, b"2" * 32
SEGMENT = "journal-0000000000000001"


class Machine:
    """One manager's two folders, which survive its process."""

    def __init__(self, seed: int = 1) -> None:
        self.data = Platter(random.Random(seed))
        self.keys = Platter(random.Random(seed + 1))
        self._draw = random.Random(seed + 2).randbytes

    def key_file(self) -> KeyFile:
        return KeyFile(FakeDisk(self.keys, "keys"), self._draw)

    def open(self, unlock_key: bytes | None = None) -> SealedDisk:
        return open_disk(FakeDisk(self.data, "data"), self.key_file(), unlock_key, random=self._draw)

    def plain(self) -> FakeDisk:
        return FakeDisk(self.data, "data")

    def crash(self) -> None:
        self.data.crash(power=True)
        self.keys.crash(power=True)

    def bytes_of_everything(self) -> bytes:
        return b"".join(bytes(file.content) for platter in (self.data, self.keys) for file in platter.files.values())


def journal(disk: SealedDisk | FakeDisk) -> Journal:
    opened = Journal(disk, FOUNDING)
    if not len(opened):
        opened.add(b"\1", 1, 0)
        assert opened.sync()
        opened.set_vote(1, "a")
    return opened


def fill(log: Journal, first: int, last: int, term: int = 1) -> None:
    for index in range(first, last + 1):
        log.add(regular_command(b"%d of %d" % (index, term)), index, term)


def flip(platter: Platter, name: str, place: int, mask: int = 1) -> None:
    platter.files[name].content[place] ^= mask
    platter.files[name].settle()


# ------------------------------------------------------------------------------------------------- frames


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=6), st.data())
def test_no_bit_of_a_whole_file_can_change_unnoticed(chunks: list[bytes], data: st.DataObject) -> None:
    machine = Machine()
    machine.open().replace("snapshot", chunks)
    file = machine.data.files["snapshot"].content
    assert machine.open().read("snapshot") == b"".join(chunks)
    place = data.draw(st.integers(0, len(file) - 1))
    if data.draw(st.booleans()):
        flip(machine.data, "snapshot", place, data.draw(st.integers(1, 255)))
    else:
        del file[place:]
    assert machine.open().read("snapshot") == bytes(len(file)), "it reads as a lost page does"


def test_a_large_file_is_sealed_in_pieces_and_without_its_last_piece_it_is_none() -> None:
    machine, content = Machine(), random.Random(3).randbytes(3 * seal.PIECE_BYTES + 17)
    disk = machine.open()
    disk.replace("snapshot", (content[place : place + 1000] for place in range(0, len(content), 1000)))
    assert disk.read("snapshot") == content
    reader = disk.open_read("snapshot")
    assert b"".join(iter(lambda: reader.read(70_000), b"")) == content
    piece = seal.HEAD_BYTES + seal.PIECE_BYTES + 16
    cut = machine.data.files["snapshot"].content
    del cut[3 * piece :]
    assert disk.read("snapshot") == bytes(len(cut))
    reader = disk.open_read("snapshot")
    with pytest.raises(OSError, match="damaged"):
        while reader.read(70_000):
            continue


def test_frames_cannot_change_places_or_files() -> None:
    machine = Machine()
    disk = machine.open()
    file = disk.create(SEGMENT, b"head")
    ends = [len(machine.data.files[SEGMENT].content)]
    for number in range(3):
        file.append(b"frame %d" % number)
        file.sync()
        ends.append(len(machine.data.files[SEGMENT].content))
    whole = bytes(machine.data.files[SEGMENT].content)
    frames = [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    for order in ([0, 2, 1, 3], [0, 1, 1, 2, 3], [0, 1, 3]):
        machine.data.put(SEGMENT, b"".join(frames[number] for number in order))
        with pytest.raises(CorruptData, match=rf"{SEGMENT} in disk of data is damaged at byte \d+.*join again"):
            disk.read(SEGMENT)
    machine.data.put("vote", whole)
    assert disk.read("vote") == bytes(len(whole)), "under another name it opens nothing"


def test_a_frame_of_a_tail_that_was_cut_does_not_fit_into_what_replaced_it() -> None:
    machine = Machine()
    disk = machine.open()
    file = disk.create(SEGMENT, b"head")
    begin = len(machine.data.files[SEGMENT].content)
    file.append(b"old")
    old = bytes(machine.data.files[SEGMENT].content[begin:])
    file.truncate(4)
    file.append(b"new")
    file.sync()
    file.append(b"later")
    file.sync()
    content = machine.data.files[SEGMENT].content
    assert disk.read(SEGMENT) == b"headnewlater"
    assert old[-19:] != content[begin : begin + len(old)][-19:], "the place was sealed anew, not with the same nonce"
    content[begin : begin + len(old)] = old
    with pytest.raises(CorruptData, match="damaged at byte"):
        disk.read(SEGMENT)


def test_no_nonce_is_used_twice_whatever_is_written_cut_and_opened_again() -> None:
    machine, seen = Machine(), set()
    rng = random.Random(5)
    log = journal(machine.open())
    for round_ in range(60):
        fill(log, log.last_index + 1, log.last_index + 2)
        before = len(machine.data.files[SEGMENT].content)
        machine.data.full = rng.random() < 0.4
        log.sync()
        machine.data.full = False
        frame = bytes(machine.data.files[SEGMENT].content[before:])
        if len(frame) > seal.HEAD_BYTES:
            nonce = frame[8:40]  # key, salt, counter
            assert nonce not in seen, f"round {round_}"
            seen.add(nonce)
        if rng.random() < 0.3:
            machine.crash()
            log = journal(machine.open())
        elif not log.healthy:
            assert log.recover()
    assert len(seen) > 20


def test_another_key_is_told_from_damage() -> None:
    machine = Machine()
    journal(machine.open()).close()
    stranger = Machine(seed=50)
    journal(stranger.open())
    machine.keys = stranger.keys
    with pytest.raises(KeysUnusable, match=r"sealed with the key [0-9a-f]{16}, which this manager's key file does not"):
        journal(machine.open())
    flip(machine.data, "vote", 10)
    assert machine.open().read("vote") == bytes(len(machine.data.files["vote"].content)), "damage, whatever the key"


def test_a_key_shows_itself_nowhere() -> None:
    key = DataKey.of(b"s" * 32)
    assert "s" * 8 not in repr(key) and b"ssss" not in key.key_id
    frame = Writer(key, "vote", lambda size: bytes(size)).seal(b"term 7")
    assert b"term" not in frame and b"ssss" not in frame
    assert Opener(lambda: {key.key_id: key}).open_file("vote", frame, "here").data == b"term 7"


# ------------------------------------------------------------------------------- the journal's promises on top


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_any_history_keeps_the_journals_promises(seed: int) -> None:
    """As in test_journal.py, with keys that are wrapped, rotated and forgotten in between."""
    rng, machine = random.Random(seed), Machine(seed)
    unlock_key: bytes | None = None
    disk = machine.open()
    log, promised, term = journal(disk), [], 1
    for _ in range(60):
        try:
            kind = rng.random()
            if kind < 0.5:
                fill(log, log.last_index + 1, log.last_index + rng.randrange(1, 4), term)
            elif kind < 0.6 and len(log) > 2:
                term = max(term, log.term) + 1
                log.set_vote(term, None)
                log.cut_from(rng.randrange(max(1, len(log) - 3), len(log)))
                promised = promised[: len(log)]
                fill(log, log.last_index + 1, log.last_index + 1, term)
            elif kind < 0.8:
                assert log.sync()
                promised = list(log.entries)
            elif kind < 0.85:
                log.rotate()
            elif kind < 0.95:
                wanted = rng.choice((None, FIRST, SECOND))
                disk.ring.wrap(wanted, as_of=disk.ring.as_of + 1)
                unlock_key = wanted
                disk.ring.keep(disk.keys_in_use())
            machine.data.cut_after = rng.randrange(1, 6) if rng.random() < 0.05 else machine.data.cut_after
        except PowerCut:
            machine.crash()
            disk = machine.open(unlock_key)
            disk.ring.keep(disk.keys_in_use())
            log = journal(disk)
            term = log.term
            assert log.entries[: len(promised)] == promised


def test_a_torn_tail_is_cut_and_a_damaged_middle_is_named() -> None:
    machine = Machine()
    log = journal(machine.open())
    for index in range(2, 8):
        fill(log, index, index)
        log.sync()
    whole = bytes(machine.data.files[SEGMENT].content)
    machine.data.put(SEGMENT, whole[:-5])
    again = journal(machine.open())
    assert again.last_index == 6 and again.torn_bytes > 100
    fill(again, 7, 9)
    assert again.sync() and journal(machine.open()).last_index == 9
    for place in (0, 90, len(whole) // 2):
        machine.data.put(SEGMENT, whole)
        flip(machine.data, SEGMENT, place)
        with pytest.raises(CorruptData, match=rf"{SEGMENT} .*is damaged at byte \d+.*join again"):
            journal(machine.open())


def test_a_full_disk_loses_nothing() -> None:
    machine = Machine()
    log = journal(machine.open())
    for first in (2, 10):
        fill(log, first, first + 3)
        machine.data.full = True
        assert not log.sync() and not log.recover()
        machine.data.full = False
        fill(log, first + 4, first + 7)
        assert log.recover()
    assert journal(machine.open()).entries == log.entries


# --------------------------------------------------------------------------------------------------- keys


def test_autolock_wraps_the_keys_and_only_the_unlock_key_opens_them() -> None:
    machine = Machine()
    disk = machine.open()
    log = journal(disk)
    fill(log, 2, 5)
    open_secret = disk.ring.current.secret
    disk.ring.wrap(FIRST, as_of=7)
    assert disk.ring.current.secret != open_secret, "what lay open seals nothing that is written later"
    log.rotate()
    fill(log, 6, 9)
    assert log.sync()
    everything = machine.bytes_of_everything()
    for secret in (open_secret, disk.ring.current.secret, FIRST):
        assert secret not in everything and secret.hex().encode() not in everything
    assert machine.key_file().is_locked
    with pytest.raises(KeysUnusable, match="locked: the cluster's unlock key opens them"):
        machine.open()
    with pytest.raises(WrongUnlockKey, match=r"not the key that unlocks.*takes the one from before"):
        machine.open(SECOND)
    again = machine.open(FIRST)
    assert again.ring.as_of == 7 and journal(again).entries == log.entries
    again.ring.wrap(None, as_of=8)
    assert journal(machine.open()).entries == log.entries


def test_old_keys_go_with_the_last_file_they_sealed() -> None:
    machine = Machine()
    disk = machine.open()
    log = journal(disk)
    for number in range(3):
        fill(log, 10 * number + 2, 10 * number + 11)
        assert log.rotate()
        disk.ring.wrap(FIRST, as_of=number)
        disk.ring.keep(disk.keys_in_use())
    assert len(disk.ring.by_id) == 4
    log.set_vote(2, "a")
    fill(log, 32, 33)
    assert log.sync()
    log.drop_before(len(log) - 1)
    disk.replace("founding", [disk.read("founding")])
    disk.ring.keep(disk.keys_in_use())
    assert len(disk.ring.by_id) == 2, "the open segment's and the newest"
    assert journal(machine.open(FIRST)).entries == log.entries


@pytest.mark.parametrize("change", ["lock", "rotate", "open"])
def test_killed_at_any_step_of_wrapping_anew_the_old_key_or_the_new_one_opens(change: str) -> None:
    before, after = {"lock": (None, FIRST), "rotate": (FIRST, SECOND), "open": (FIRST, None)}[change]
    outcomes = set()
    for operations in range(1, 6):
        machine = Machine()
        disk = machine.open()
        if before:
            disk.ring.wrap(before, as_of=1)
        log = journal(disk)
        fill(log, 2, 9)
        assert log.sync()
        machine.keys.cut_after = operations
        try:
            disk.ring.wrap(after, as_of=2)
            disk.ring.keep(disk.keys_in_use())
        except PowerCut:
            machine.crash()
        machine.keys.cut_after = None
        opens = _what_opens(machine, (FIRST, SECOND))
        assert journal(machine.open(opens)).entries == log.entries, operations
        outcomes.add(opens)
    assert outcomes == {before, after}, "the cuts came before and after the moment that decides"


def _what_opens(machine: Machine, candidates: tuple[bytes, ...]) -> bytes | None:
    if not machine.key_file().is_locked:
        return None
    for key in candidates:
        with contextlib.suppress(WrongUnlockKey):
            machine.key_file().open(key)
            return key
    raise AssertionError("no key opens it")


def test_a_full_disk_leaves_the_keys_as_they_were() -> None:
    machine = Machine()
    disk = machine.open()
    current = disk.ring.current
    machine.keys.full = True
    with pytest.raises(OSError, match="space"):
        disk.ring.wrap(FIRST, as_of=1)
    assert disk.ring.current is current and disk.ring.unlock_key is None
    assert not machine.key_file().is_locked


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is damaged; without it"),
        (b"[]", "is damaged"),
        (b'{"format": 1}', "is damaged"),
        (b'{"format": 1, "data_keys": ["00"], "as_of": 0, "adopts_plain": false}', "is damaged"),
        (b'{"format": 2}', "has the format 2, but this version"),
    ],
)
def test_a_key_file_that_is_no_good_is_named(content: bytes, complaint: str) -> None:
    machine = Machine()
    journal(machine.open())
    machine.keys.put("keys", content)
    with pytest.raises(KeysUnusable, match=complaint):
        machine.open()


def test_damage_to_wrapped_keys_is_told_from_a_wrong_unlock_key() -> None:
    machine = Machine()
    machine.open().ring.wrap(FIRST, as_of=1)
    content = bytearray(machine.keys.files["keys"].content)
    place = content.index(b'"wrapped": "') + 12
    content[place] = ord("1" if content[place] == ord("0") else "0")
    machine.keys.put("keys", bytes(content))
    with pytest.raises(KeysUnusable, match="key file in disk of keys is damaged"):
        machine.open(FIRST)


def test_sealed_data_without_their_keys_are_refused_and_stay_as_they_are() -> None:
    machine = Machine()
    journal(machine.open()).close()
    before = {name: bytes(file.content) for name, file in machine.data.files.items()}
    machine.keys.files.clear()
    with pytest.raises(KeysUnusable, match="key file that belongs to them is missing"):
        machine.open()
    assert not machine.keys.files and before == {n: bytes(f.content) for n, f in machine.data.files.items()}


# ------------------------------------------------------------------------------- data from before they were sealed


def before_sealing() -> tuple[Machine, list[tuple[bytes, int, int]]]:
    """A folder as the version without sealing leaves it, with a torn tail."""
    machine = Machine()
    log = journal(machine.plain())
    fill(log, 2, 20)
    assert log.rotate()
    fill(log, 21, 30)
    assert log.sync()
    machine.plain().replace("snapshot", [b"RSWS0001 and more"])
    machine.data.files["journal-0000000000000002"].content += b"\x52\x53torn"
    machine.data.files["journal-0000000000000002"].settle()
    return machine, list(log.entries)


def test_data_from_before_are_sealed_at_the_first_start_and_go_on() -> None:
    machine, entries = before_sealing()
    disk = machine.open()
    assert all(seal.is_sealed(bytes(file.content)) for file in machine.data.files.values())
    log = journal(disk)
    assert log.entries == entries and log.torn_bytes == 6
    assert disk.read("snapshot") == b"RSWS0001 and more"
    fill(log, 31, 40)
    assert log.sync()
    assert journal(machine.open()).last_index == 40


def test_killed_at_any_step_of_the_upgrade_nothing_is_lost_and_the_next_start_goes_on() -> None:
    for operations in range(1, 40):
        machine, entries = before_sealing()
        machine.data.cut_after = operations
        try:
            log = journal(machine.open())
        except PowerCut:
            machine.crash()
            log = journal(machine.open())
        machine.data.cut_after = None
        assert log.entries == entries, operations
        assert not machine.open().ring.adopts_plain


def test_killed_while_the_first_keys_are_made_the_data_from_before_are_there() -> None:
    for operations in (1, 2, 3, 4):
        machine, entries = before_sealing()
        machine.keys.cut_after = operations
        with pytest.raises(PowerCut):
            machine.open()
        machine.crash()
        assert journal(machine.open()).entries == entries


def test_once_all_is_sealed_plain_data_are_a_forgery() -> None:
    machine, _ = before_sealing()
    forged = {name: bytes(file.content) for name, file in machine.data.files.items()}
    journal(machine.open())
    for name in ("vote", "founding"):
        machine.data.put(name, forged[name])
        with pytest.raises(CorruptData, match=name):
            journal(machine.open())
        journal_before, _ = before_sealing()
        machine = journal_before
        machine.open()


def test_in_folders_of_this_machine_nothing_is_readable_and_the_files_are_the_owners(tmp_path: Path) -> None:
    keys = KeyFile(LocalDisk(tmp_path / "keys"))
    disk = open_folder(tmp_path / "raft", keys)
    log = journal(disk)
    log.add(regular_command(b"a-service-name and a secret's data"), 2, 1)
    log.set_vote(1234567, "a-node-name")
    assert log.sync()
    log.close()
    disk.close()
    for path in (tmp_path / "raft").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        for text in (b"service", b"secret", b"a-node-name", b"1234567", b"1.2.3.4"):
            assert text not in path.read_bytes(), path.name
    assert (tmp_path / "keys/keys").stat().st_mode & 0o777 == 0o600
    again = open_folder(tmp_path / "raft", keys)
    assert journal(again).last_index == 2
    again.close()
    keys.close()
