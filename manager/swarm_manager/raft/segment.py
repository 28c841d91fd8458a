"""One file of the journal: its format, and how to tell a torn tail from damage.

Layout: a header, then records.  A record is

    marker | length | crc32 | index, term, commit, synced | command

`synced` is how many bytes of this file were known durable when the record was written, `commit` the commit
index known then.  A power cut may lose or tear whatever was written after the last sync, so a bad record
means a *torn tail*, which nobody was promised, and is cut.  Unless a later record in the file is whole and
says that the bad place had been synced before: then the disk has lost what it had promised, and only a
person can decide.  A record whose index is not beyond the last one replaces the log from there: the file
itself is never rewritten.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from swarm_manager.raft.codec import Entry
from swarm_manager.raft.errors import CorruptData

_MAGIC = b"RSWJ0001"
_HEADER = struct.Struct("<8sQB3xI")  # magic, sequence number, starts_fresh, crc32
_RECORD = struct.Struct("<III")  # marker, length, crc32
_FIELDS = struct.Struct("<QQQQ")  # index, term, commit, synced
_MARKER = 0x314A5352
_MARKER_BYTES = struct.pack("<I", _MARKER)
_RECORD_BYTES = _RECORD.size + _FIELDS.size
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment file holds; `size_bytes` is where its sound part ends."""

    sequence: int
    starts_fresh: bool
    entries: list[Entry]
    commit: int
    size_bytes: int
    torn_bytes: int


@dataclass(frozen=True, slots=True)
class _Record:
    entry: Entry
    commit: int
    synced: int
    end: int


def encode_header(sequence: int, *, starts_fresh: bool) -> bytes:
    """The head of a segment.  `starts_fresh`: everything in earlier segments is void."""
    head = _HEADER.pack(_MAGIC, sequence, starts_fresh, 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head))


def encode_records(entries: Iterable[Entry], commit: int, synced: int) -> bytes:
    """These entries as records."""
    parts: list[bytes] = []
    for command, index, term in entries:
        fields = _FIELDS.pack(index, term, commit, synced)
        crc = zlib.crc32(command, zlib.crc32(fields))
        parts.append(_RECORD.pack(_MARKER, len(command), crc))
        parts.append(fields)
        parts.append(command)
    return b"".join(parts)


def parse(name: str, data: bytes) -> Segment | None:
    """Read a segment; None when not even its header became durable.  CorruptData when synced data is bad."""
    header = _parse_header(data)
    if header is None:
        _refuse_if_synced(name, data, 0)
        return None
    sequence, starts_fresh = header
    place, commit, entries = _HEADER.size, 0, []
    while (record := _parse_record(data, place)) is not None:
        entries.append(record.entry)
        commit = max(commit, record.commit)
        place = record.end
    if place < len(data):
        _refuse_if_synced(name, data, place)
    return Segment(sequence, starts_fresh, entries, commit, place, len(data) - place)


def _parse_header(data: bytes) -> tuple[int, bool] | None:
    if len(data) < _HEADER.size:
        return None
    magic, sequence, starts_fresh, crc = _HEADER.unpack_from(data)
    if magic != _MAGIC or crc != zlib.crc32(data[: _HEADER.size - 4]):
        return None
    return sequence, bool(starts_fresh)


def _parse_record(data: bytes, place: int) -> _Record | None:
    if place + _RECORD_BYTES > len(data):
        return None
    marker, length, crc = _RECORD.unpack_from(data, place)
    body = place + _RECORD.size
    end = body + _FIELDS.size + length
    if marker != _MARKER or not length or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[body:end]) != crc:
        return None
    index, term, commit, synced = _FIELDS.unpack_from(data, body)
    return _Record((data[body + _FIELDS.size : end], index, term), commit, synced, end)


def _refuse_if_synced(name: str, data: bytes, bad: int) -> None:
    place = data.find(_MARKER_BYTES, bad + 1)
    while place >= 0:
        record = _parse_record(data, place)
        if record is not None and record.synced > bad:
            raise CorruptData(
                f"the journal file {name} is damaged at byte {bad}, in a part that had been written safely: "
                "the disk lost data; remove this manager from the cluster and let it join again, or restore "
                "its data folder from a backup"
            )
        place = data.find(_MARKER_BYTES, place + 1)
