"""The log and the vote, on disk before anybody is told.

Theory of operation
    PySyncObj works on the log as a list in memory; this class is that list.  What it appends is collected,
    and `sync` writes and fdatasyncs all of it at once (group commit).  Whoever is about to make a promise -
    an acknowledgement, a vote, the leader counting itself - calls `sync` first, or does not make it.

    Files: `vote` (term and vote, replaced atomically), `journal-<n>` (see segment.py), `founding` (the
    membership an empty log starts with).  A new segment starts whenever a snapshot starts, so that compaction
    is the removal of whole files and never a rewrite; the log keeps a little more than it must, which spares
    slow followers a snapshot.  Segments are made and removed in the background (segment_files.py).

    A membership entry takes effect when it is appended and loses it when it is cut off; so this class, which
    sees both, is where the effective membership is known (`membership`).

    Disk failures never raise out of here once the journal is open: PySyncObj would be left half-way.  They
    make the journal *unhealthy* (`failure` says why): nothing more is promised, the caller steps down, and
    `recover` is tried until the disk takes the pending entries again.
"""

import contextlib
import json
import struct
import zlib
from collections.abc import Callable

from swarm_manager.raft import segment
from swarm_manager.raft.codec import Entry, decode_membership, encode_membership, read_membership
from swarm_manager.raft.config import Membership
from swarm_manager.raft.disk import AppendFile, Disk
from swarm_manager.raft.errors import CorruptData, WireError
from swarm_manager.raft.segment_files import PREFIX, Background, SegmentFiles, at_once, file_name

SEGMENT_LIMIT_BYTES = 128 << 20
_VOTE_CRC = struct.Struct("<I")
_REMEDY = "remove this manager from the cluster and let it join again, or restore its data folder from a backup"


class Journal:
    """The log entries in memory, and their durable image.  Used by one thread."""

    def __init__(self, disk: Disk, founding: Membership, background: Background = at_once) -> None:
        """Read what the disk holds; `founding` counts only when it holds nothing.  May raise CorruptData."""
        self._disk = disk
        self._files = SegmentFiles(disk, background)
        self.entries: list[Entry] = []
        self.term = 0
        self.vote: str | None = None
        self.failure: OSError | None = None
        self.torn_bytes = 0
        self.syncs = 0
        self.bytes_added = 0
        self.on_membership: Callable[[], None] = _nobody_listens
        self._known_commit = 0
        self._pending: list[Entry] = []
        self._vote_pending = False
        self._starts_fresh = False
        self._file: AppendFile | None = None
        self._durable_end = 0
        self._segments: list[tuple[int, int]] = []  # (sequence, highest index that ever was in it)
        self._memberships: list[Membership] = []
        self.founding = founding
        self._load(founding)

    # ------------------------------------------------------------------------------------- the log

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, place: int) -> Entry:
        return self.entries[place]

    @property
    def first_index(self) -> int:
        """Index of the first entry still in the log."""
        return self.entries[0][1]

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self.entries[-1][1]

    def entry(self, index: int) -> Entry | None:
        """The entry at this log index, or None when it is not in the log (any more)."""
        place = index - self.entries[0][1]
        return self.entries[place] if 0 <= place < len(self.entries) else None

    def add(self, command: bytes, index: int, term: int) -> None:
        """Append in memory; durable only after the next successful `sync`."""
        entry = (command, index, term)
        self.entries.append(entry)
        self._pending.append(entry)
        self.bytes_added += len(command)
        membership = read_membership(command, index)
        if membership is not None:
            self._memberships.append(membership)
            self.on_membership()

    def cut_from(self, place: int) -> None:
        """Drop entries[place:].  Needs no I/O: the records that replace them say so."""
        if place >= len(self.entries):
            return
        index = self.entries[place][1]
        del self.entries[place:]
        before = len(self._memberships)
        self._memberships = [m for m in self._memberships if m.index < index] or self._memberships[:1]
        if len(self._memberships) != before:
            self.on_membership()

    def reset(self) -> None:
        """Void the whole log: a snapshot replaces it.  The next `add`s and `sync` begin a fresh segment."""
        self.entries.clear()
        self._pending.clear()
        del self._memberships[1:]
        self._starts_fresh = True

    def rebase(self, membership: Membership) -> None:
        """Say who the members were where the log begins, as a snapshot knows it."""
        self._memberships = [membership, *(m for m in self._memberships if m.index > membership.index)]
        self.on_membership()

    def align(self, previous: Entry, last: Entry) -> None:
        """Make the log begin with `previous`, `last`: the two entries a snapshot ends with.

        What the log has beyond them stays when it continues them; else the snapshot knows better and the log
        is void.  CorruptData when the log begins after the snapshot ends.
        """
        mine = self.entry(last[1]) if self.entries else None
        if mine is not None and mine[2] == last[2]:
            self.entries = [previous, *self.entries[last[1] - self.first_index :]]
        elif self.entries and self.first_index > last[1]:
            raise CorruptData(
                f"the snapshot in {self._disk.describe()} ends at entry {last[1]} but the journal begins at "
                f"{self.first_index}: files are missing; {_REMEDY}"
            )
        else:
            self.reset()
            self.add(*previous)
            self.add(*last)

    # ----------------------------------------------------------------------------------- membership

    @property
    def membership(self) -> Membership:
        """Who the members are as of the end of the log, committed or not."""
        return self._memberships[-1]

    def membership_at(self, index: int) -> Membership:
        """Who the members were once the entry at `index` was in the log."""
        return next((m for m in reversed(self._memberships) if m.index <= index), self._memberships[0])

    def memberships_since(self, index: int) -> list[Membership]:
        """The membership as of `index` and all that followed: any of them may turn out to be the one."""
        base = self.membership_at(index)
        return [base, *(m for m in self._memberships if m.index > base.index)]

    # ----------------------------------------------------------------------------------- durability

    @property
    def healthy(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return self.failure is None

    @property
    def durable_index(self) -> int:
        """The last index up to which everything is known to be on disk."""
        return min((entry[1] for entry in self._pending), default=self.last_index + 1) - 1

    @property
    def known_commit(self) -> int:
        """The highest commit index found on disk or noted, within the log."""
        return max(1, min(self._known_commit, self.last_index if self.entries else 1))

    def note_commit(self, index: int) -> None:
        """Remember the commit index; it travels with the next record and speeds up the next start."""
        self._known_commit = max(self._known_commit, index)

    def sync(self) -> bool:
        """Make everything appended so far durable; False when the disk refuses (see `failure`)."""
        if self.failure is not None:
            return False
        return not self._pending or self._attempt(self._write_pending)

    def set_vote(self, term: int, vote: str | None) -> bool:
        """Make term and vote durable; False when the disk refuses, and then no vote may be cast."""
        self.term, self.vote = term, vote
        self._vote_pending = True
        return self.failure is None and self._attempt(self._write_vote)

    def recover(self) -> bool:
        """After a failure: bring the disk up to date with memory.  True when it is."""
        self.failure = None
        return self._attempt(self._write_everything)

    def rotate(self) -> bool:
        """Begin a new segment, so that the old ones can be removed once a snapshot covers them.

        False when the disk refuses, and while the file is being made: ask again in a later tick.
        """
        if not self.sync() or self._starts_fresh:
            return False
        return self._segments[-1][1] == 0 or (self._attempt(self._go_over) and self._segments[-1][1] == 0)

    def drop_before(self, place: int) -> None:
        """Remove the segments that hold nothing at or after entries[place]; memory follows the files."""
        keep_from = self.entries[place][1]
        void: list[int] = []
        while len(self._segments) > 1 and self._segments[0][1] < keep_from:
            sequence, highest = self._segments.pop(0)
            void.append(sequence)
            del self.entries[: max(0, highest + 1 - self.first_index)]
        self._files.remove(void)
        base = self.membership_at(self.first_index)
        self._memberships = [base, *(m for m in self._memberships if m.index > base.index)]

    def close(self) -> None:
        """Write what is pending and close the files."""
        self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _attempt(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self.failure = error
            return False
        return True

    def _write_everything(self) -> None:
        if self._vote_pending:
            self._write_vote()
        if self._file is not None:
            self._file.truncate(self._durable_end)
        self._write_pending()

    def _write_vote(self) -> None:
        body = json.dumps({"term": self.term, "vote": self.vote}).encode()
        self._disk.replace("vote", [_VOTE_CRC.pack(zlib.crc32(body)) + body])
        self._vote_pending = False

    def _write_pending(self) -> None:
        if not self._pending and not self._starts_fresh:
            return
        if self._file is None or self._starts_fresh:
            self._begin_afresh()
            return
        data = segment.encode_records(self._pending, self._known_commit, self._durable_end)
        self._append_durably(self._file, data)
        self.syncs += 1
        self._durable_end += len(data)
        self._note_written()
        if self._durable_end > SEGMENT_LIMIT_BYTES:
            self._go_over()

    def _append_durably(self, file: AppendFile, data: bytes) -> None:
        """Append and sync; what could not be synced is cut off again.

        The kernel reports such a failure once and then takes the data for written: a process that came after us
        would read them, sync without an error, and promise what a power cut takes away.
        """
        try:
            file.append(data)
            file.sync()
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(self._durable_end)
            raise

    def _go_over(self) -> None:
        """Write on in the next segment if it is there, else have it made; nothing is pending."""
        sequence = self._segments[-1][0] + 1
        self._files.make_ahead(sequence)
        file = self._files.take()
        if file is None:
            return
        if self._file is not None:
            self._file.close()
        self._file, self._durable_end = file, segment.HEADER_BYTES
        self._segments.append((sequence, 0))

    def _begin_afresh(self) -> None:
        """A segment that voids all others, with the whole log in it, durable when this returns."""
        sequence = self._files.void_ahead(self._segments[-1][0] if self._segments else 0)
        head = segment.encode_header(sequence, starts_fresh=True)
        head += segment.encode_records(self.entries, self._known_commit, 0)
        file = self._disk.create(file_name(sequence), head)
        if self._file is not None:
            self._file.close()
        self._file, self._durable_end = file, len(head)
        self.syncs += 1
        void, self._segments = self._segments, [(sequence, 0)]
        self._starts_fresh = False
        self._note_written()
        self._files.remove(old for old, _ in void)

    def _note_written(self) -> None:
        sequence, highest = self._segments[-1]
        highest = max([highest, *(entry[1] for entry in self._pending)])
        self._segments[-1] = (sequence, highest)
        self._pending.clear()

    # -------------------------------------------------------------------------------------- loading

    def _load(self, founding: Membership) -> None:
        names = self._disk.names()
        segments = self._read_segments([name for name in names if name.startswith(PREFIX)])
        has_vote = "vote" in names
        if has_vote:
            self._read_vote()
        self._refuse_amnesia(bool(segments), has_vote)
        if not segments:
            self._found(founding)
            return
        for part in segments:
            self._replay(part)
        self._open_last(segments[-1])
        if self.entries and self.term < self.entries[-1][2]:
            raise CorruptData(f"the vote file in {self._disk.describe()} is older than the journal; {_REMEDY}")
        self.founding = self._read_founding()
        self._memberships = [self.founding]
        for command, index, _ in self.entries:
            membership = self._read_logged_membership(command, index)
            if membership is not None:
                self._memberships.append(membership)

    def _found(self, founding: Membership) -> None:
        self._starts_fresh = True
        if "founding" in self._disk.names():
            founding = self._read_founding()
        else:
            body = encode_membership(founding)
            self._disk.replace("founding", [_VOTE_CRC.pack(zlib.crc32(body)) + body])
        self.founding = founding
        self._memberships = [founding]

    def _refuse_amnesia(self, has_log: bool, has_vote: bool) -> None:
        if has_vote and self.term > 0 and not has_log:
            raise CorruptData(f"the journal in {self._disk.describe()} is missing, but a vote is there; {_REMEDY}")
        if has_log and not has_vote and any(name == "founding" for name in self._disk.names()):
            return  # a first start that was cut off before its first vote
        if has_log and not has_vote:
            raise CorruptData(f"the vote file in {self._disk.describe()} is missing; {_REMEDY}")

    def _read_segments(self, names: list[str]) -> list[segment.Segment]:
        """The segments that make up the log, oldest first; those a fresh one voided are removed."""
        out: list[segment.Segment] = []
        for name in sorted(names, reverse=True):
            if out and out[0].starts_fresh:
                self._disk.remove(name)
                continue
            part = segment.parse(name, self._disk.read(name))
            if part is None and not out:
                self._disk.remove(name)  # its creation was cut off, so nothing in it was ever promised
                continue
            if part is not None and not out and not part.entries and not part.starts_fresh:
                self._disk.remove(name)  # it was made ahead, and nothing that was written in it became durable
                continue
            if part is None or (part.torn_bytes and out):
                raise CorruptData(f"the journal file {name} in {self._disk.describe()} is damaged; {_REMEDY}")
            if out and part.sequence != out[0].sequence - 1:
                raise CorruptData(f"a journal file after {name} is missing; {_REMEDY}")
            out.insert(0, part)
        return out

    def _replay(self, part: segment.Segment) -> None:
        self._known_commit = max(self._known_commit, part.commit)
        self._segments.append((part.sequence, max((entry[1] for entry in part.entries), default=0)))
        for entry in part.entries:
            if self.entries and entry[1] > self.last_index + 1:
                raise CorruptData(f"the journal in {self._disk.describe()} has a gap at {entry[1]}; {_REMEDY}")
            if self.entries and entry[1] <= self.last_index:  # it replaces the log from there
                del self.entries[max(0, entry[1] - self.first_index) :]
            self.entries.append(entry)

    def _open_last(self, part: segment.Segment) -> None:
        self.torn_bytes = part.torn_bytes
        self._file = self._disk.open_append(file_name(part.sequence), part.size_bytes)
        self._durable_end = part.size_bytes

    def _read_vote(self) -> None:
        try:
            saved = json.loads(self._read_checked("vote"))
            self.term, self.vote = int(saved["term"]), saved["vote"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptData(f"the vote file in {self._disk.describe()} is damaged; {_REMEDY}") from error

    def _read_founding(self) -> Membership:
        try:
            return decode_membership(self._read_checked("founding"))
        except (WireError, FileNotFoundError) as error:
            raise CorruptData(f"the file 'founding' in {self._disk.describe()} is damaged; {_REMEDY}") from error

    def _read_checked(self, name: str) -> bytes:
        data = self._disk.read(name)
        body = data[_VOTE_CRC.size :]
        if data[: _VOTE_CRC.size] != _VOTE_CRC.pack(zlib.crc32(body)):
            raise CorruptData(f"the file {name!r} in {self._disk.describe()} is damaged; {_REMEDY}")
        return body

    def _read_logged_membership(self, command: bytes, index: int) -> Membership | None:
        try:
            return read_membership(command, index)
        except WireError as error:
            raise CorruptData(f"entry {index} of the journal is no membership: {error}; {_REMEDY}") from error


def _nobody_listens() -> None:
    """Until the core listens, during construction, nobody has to know of membership changes."""
