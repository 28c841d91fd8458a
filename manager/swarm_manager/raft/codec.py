"""Bytes on the wire and in the log, and nothing else: no pickle, no type chosen by the sender.

Every message is one type byte and that type's fields, in order, in the fixed encodings below.  A decoder
accepts exactly what an encoder makes: unknown types, short or surplus bytes, numbers or lists out of bounds
raise WireError.  So whatever reaches PySyncObj has the fields and types it expects.

    u  unsigned, below 2^63     o  optional u          ?  boolean
    s  ASCII text up to 255     y  bytes               E  log entries [(command, index, term)]
    M  members [Member]

In memory a message is a dict with its name under "type", because that is what PySyncObj speaks.
"""

import struct
from collections.abc import Callable
from typing import Any

from swarm_manager.raft.config import MAX_MEMBERS, Member, Membership, check_member
from swarm_manager.raft.errors import InvalidConfig, WireError

Message = dict[str, Any]
Entry = tuple[bytes, int, int]  # command, index, term: PySyncObj's shape

_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_ENTRY = struct.Struct("<IQQ")
_NONE = 2**64 - 1
_LIMIT = 2**63  # no term or index gets there; so one more can always be encoded

# name: (type byte, fields)
MESSAGES: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {
    "append_entries": (
        1,
        (
            ("term", "u"),
            ("commit_index", "u"),
            ("seq", "u"),
            ("prevLogIdx", "o"),
            ("prevLogTerm", "o"),
            ("entries", "E"),
        ),
    ),
    "next_node_idx": (
        2,
        (("term", "u"), ("seq", "u"), ("next_node_idx", "u"), ("reset", "?"), ("success", "?")),
    ),
    "request_vote": (3, (("term", "u"), ("last_log_index", "u"), ("last_log_term", "u"))),
    "response_vote": (4, (("term", "u"),)),
    "timeout_now": (5, (("term", "u"),)),
    "pre_vote": (6, (("term", "u"), ("round", "u"), ("last_log_index", "u"), ("last_log_term", "u"))),
    "pre_vote_reply": (7, (("term", "u"), ("round", "u"), ("granted", "?"))),
    "read_index": (8, (("term", "u"), ("round", "u"))),
    "read_index_reply": (9, (("term", "u"), ("round", "u"))),
    "snapshot_chunk": (
        10,
        (
            ("term", "u"),
            ("commit_index", "u"),
            ("seq", "u"),
            ("snapshot", "u"),
            ("offset", "u"),
            ("last", "?"),
            ("data", "y"),
        ),
    ),
    "snapshot_wait": (11, (("term", "u"), ("commit_index", "u"), ("seq", "u"))),
    "higher_term": (12, (("term", "u"),)),
    "hello": (13, (("address", "s"), ("era", "o"), ("index", "u"), ("members", "M"))),
    "not_member": (14, (("index", "u"), ("members", "M"))),
}
_BY_BYTE = {byte: (name, fields) for name, (byte, fields) in MESSAGES.items()}


def encode(message: Message) -> bytes:
    """The message as one frame; KeyError when a field is missing (a programming error)."""
    byte, fields = MESSAGES[message["type"]]
    parts = [bytes((byte,))]
    for name, kind in fields:
        _ENCODERS[kind](parts, message[name])
    return b"".join(parts)


def decode(frame: bytes) -> Message:
    """The message in this frame, or WireError."""
    if not frame:
        raise WireError("empty frame")
    known = _BY_BYTE.get(frame[0])
    if known is None:
        raise WireError(f"unknown message type {frame[0]}")
    name, fields = known
    message: Message = {"type": name}
    reader = Reader(frame, 1)
    for field, kind in fields:
        message[field] = _DECODERS[kind](reader)
    reader.finish()
    return message


class Reader:
    """Takes values off the front of a frame; every shortage is a WireError."""

    __slots__ = ("_data", "_place")

    def __init__(self, data: bytes, place: int = 0) -> None:
        self._data = data
        self._place = place

    def take(self, size_bytes: int) -> bytes:
        """The next `size_bytes` bytes."""
        end = self._place + size_bytes
        if end > len(self._data):
            raise WireError("the frame is cut off")
        out = self._data[self._place : end]
        self._place = end
        return out

    def number(self) -> int:
        """An unsigned number."""
        return _in_range(_U64.unpack(self.take(8))[0])

    def optional(self) -> int | None:
        """A number, or None."""
        value: int = _U64.unpack(self.take(8))[0]
        return None if value == _NONE else _in_range(value)

    def boolean(self) -> bool:
        """0 or 1, nothing else."""
        byte = self.take(1)
        if byte not in (b"\0", b"\1"):
            raise WireError("a boolean must be 0 or 1")
        return byte == b"\1"

    def blob(self) -> bytes:
        """Length-prefixed bytes."""
        return self.take(_U32.unpack(self.take(4))[0])

    def text(self) -> str:
        """ASCII text of at most 255 characters."""
        raw = self.take(self.take(1)[0])
        try:
            return raw.decode("ascii")
        except UnicodeDecodeError as error:
            raise WireError("text must be ASCII") from error

    def finish(self) -> None:
        """Nothing may be left over."""
        if self._place != len(self._data):
            raise WireError("the frame has surplus bytes")

    def entries(self) -> list[Entry]:
        """Log entries with consecutive indexes and terms that never fall."""
        out: list[Entry] = []
        for _ in range(_U32.unpack(self.take(4))[0]):
            size_bytes, index, term = _ENTRY.unpack(self.take(_ENTRY.size))
            if not size_bytes or (out and (index != out[-1][1] + 1 or term < out[-1][2])):
                raise WireError("log entries out of order")
            out.append((self.take(size_bytes), _in_range(index), _in_range(term)))
            read_membership(*out[-1][:2])  # what cannot be read must not come to be in a log
        return out

    def members(self) -> tuple[Member, ...]:
        """Members with distinct ids and dialable addresses."""
        count = self.take(1)[0]
        if count > MAX_MEMBERS:
            raise WireError("too many members")
        out = tuple(Member(self.text(), self.text(), self.boolean()) for _ in range(count))
        if len({member.node_id for member in out}) != count:
            raise WireError("a member is named twice")
        try:
            for member in out:
                check_member(member)
        except InvalidConfig as error:
            raise WireError(str(error)) from error
        return out


def _in_range(value: int) -> int:
    if value >= _LIMIT:
        raise WireError("a number is out of range")
    return value


def _put_number(parts: list[bytes], value: int) -> None:
    parts.append(_U64.pack(value))


def _put_optional(parts: list[bytes], value: int | None) -> None:
    parts.append(_U64.pack(_NONE if value is None else value))


def _put_boolean(parts: list[bytes], value: bool) -> None:
    parts.append(b"\1" if value else b"\0")


def _put_blob(parts: list[bytes], value: bytes) -> None:
    parts.append(_U32.pack(len(value)))
    parts.append(value)


def _put_text(parts: list[bytes], value: str) -> None:
    raw = value.encode("ascii")
    parts.append(bytes((len(raw),)))
    parts.append(raw)


def _put_entries(parts: list[bytes], entries: list[Entry]) -> None:
    parts.append(_U32.pack(len(entries)))
    for command, index, term in entries:
        parts.append(_ENTRY.pack(len(command), index, term))
        parts.append(command)


def _put_members(parts: list[bytes], members: tuple[Member, ...]) -> None:
    parts.append(bytes((len(members),)))
    for member in members:
        _put_text(parts, member.node_id)
        _put_text(parts, member.address)
        _put_boolean(parts, member.voter)


_ENCODERS: dict[str, Callable[[list[bytes], Any], None]] = {
    "u": _put_number,
    "o": _put_optional,
    "?": _put_boolean,
    "s": _put_text,
    "y": _put_blob,
    "E": _put_entries,
    "M": _put_members,
}
_DECODERS: dict[str, Callable[[Reader], Any]] = {
    "u": Reader.number,
    "o": Reader.optional,
    "?": Reader.boolean,
    "s": Reader.text,
    "y": Reader.blob,
    "E": Reader.entries,
    "M": Reader.members,
}

# ------------------------------------------------------------------------------------ commands in the log
# The first byte of a log entry's command is PySyncObj's command type.

COMMAND_REGULAR = 0
COMMAND_NO_OP = 1
COMMAND_MEMBERSHIP = 2
_REGULAR = bytes((COMMAND_REGULAR,))


def regular_command(payload: bytes) -> bytes:
    """A log entry that carries a proposal for the state machine."""
    return _REGULAR + payload


def membership_command(membership: Membership) -> bytes:
    """A log entry that makes these members the members, from the moment it is appended."""
    parts = [bytes((COMMAND_MEMBERSHIP,))]
    _put_members(parts, tuple(membership.members.values()))
    return b"".join(parts)


def read_membership(command: bytes, index: int) -> Membership | None:
    """The membership in this log entry, or None when it is an entry of another type."""
    if command[0] != COMMAND_MEMBERSHIP:
        return None
    reader = Reader(command, 1)
    members = reader.members()
    reader.finish()
    return Membership.of(members, index)


def encode_membership(membership: Membership) -> bytes:
    """A membership with its index, for files."""
    parts: list[bytes] = []
    _put_number(parts, membership.index)
    _put_members(parts, tuple(membership.members.values()))
    return b"".join(parts)


def decode_membership(data: bytes) -> Membership:
    """What `encode_membership` wrote, or WireError."""
    reader = Reader(data)
    index, members = reader.number(), reader.members()
    reader.finish()
    return Membership.of(members, index)
