"""The little of the DNS wire format (RFC 1035, 6891) that the resolver speaks: one question in, A or PTR answers out.

Own code instead of dnspython's codec because the resolver runs on every node beside the containers: importing
dnspython alone doubles its memory. The tests read every packet with dnspython.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

A, PTR, OPT, ANY = 1, 12, 41, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5

_IN = 1
_HEADER = struct.Struct("!HHHHHH")
_TYPE_CLASS = struct.Struct("!HH")
_RECORD = struct.Struct("!HHHIH")  # a pointer to the question's name, type, class, ttl, length
_QUESTION_NAME = 0xC00C
_RESPONSE, _OPCODE, _AUTHORITATIVE, _TRUNCATED, _WANTED, _AVAILABLE = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080
_PLAIN_UDP_SIZE_BYTES = 512
_OUR_UDP_SIZE_BYTES = 1232  # fits every path without fragments (DNS flag day 2020)
MAX_MESSAGE_SIZE_BYTES = 65535


class MalformedPacketError(Exception):
    """Not a DNS query we can read. Never answered: it may be a forged source's."""


@dataclass(frozen=True)
class Query:
    """One question. `name` is lower-case without the last dot; `question` is as it came, to be echoed."""

    id: int
    flags: int
    name: str
    qtype: int
    qclass: int
    question: bytes
    edns_size_bytes: int  # 0: the asker speaks no EDNS
    opcode: int

    @property
    def udp_size_bytes(self) -> int:
        """How much the asker takes in one datagram."""
        return max(_PLAIN_UDP_SIZE_BYTES, min(self.edns_size_bytes, _OUR_UDP_SIZE_BYTES))


def parse(packet: bytes) -> Query:
    """Read a query. Raises MalformedPacketError."""
    try:
        return _parse(packet)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedPacketError(str(error)) from error


def _parse(packet: bytes) -> Query:
    identity, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
    if flags & _RESPONSE or questions != 1:
        raise MalformedPacketError("not a query with one question")
    labels, end = _labels(packet, _HEADER.size)
    qtype, qclass = _TYPE_CLASS.unpack_from(packet, end)
    end += _TYPE_CLASS.size
    question = packet[_HEADER.size : end]
    size = _edns_size(packet, end, answers + authorities + additionals)
    name = b".".join(labels).decode("ascii").lower()
    return Query(identity, flags, name, qtype, qclass, question, size, (flags & _OPCODE) >> 11)


def _labels(packet: bytes, at: int) -> tuple[list[bytes], int]:
    """The labels of an uncompressed name, and where it ends."""
    labels = []
    while length := packet[at]:
        if length > 63 or at + 1 + length > len(packet):
            raise MalformedPacketError("a name in the question that is compressed or cut")
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    return labels, at + 1


def _edns_size(packet: bytes, at: int, records: int) -> int:
    for _ in range(min(records, 16)):
        while 0 < packet[at] < 64:  # skip the owner's name: labels, then a zero or a two-byte pointer
            at += 1 + packet[at]
        at += 1 if packet[at] == 0 else 2
        rtype, rclass, _, length = struct.unpack_from("!HHIH", packet, at)
        if rtype == OPT:
            return max(int(rclass), _PLAIN_UDP_SIZE_BYTES)
        at += 10 + length
    return 0


def addresses(query: Query, found: Sequence[str], ttl_s: int, limit_bytes: int) -> bytes:
    """Answer with A records; those beyond `limit_bytes` are left out and the TC bit says so."""
    records = [_RECORD.pack(_QUESTION_NAME, A, _IN, ttl_s, 4) + IPv4Address(address).packed for address in found]
    return _message(query, NOERROR, records, limit_bytes)


def pointer(query: Query, target: str, ttl_s: int) -> bytes:
    """Answer with one PTR record."""
    name = b"".join(bytes([len(label)]) + label.encode() for label in target.split(".")) + b"\0"
    record = _RECORD.pack(_QUESTION_NAME, PTR, _IN, ttl_s, len(name)) + name
    return _message(query, NOERROR, [record], MAX_MESSAGE_SIZE_BYTES)


def status(query: Query, code: int) -> bytes:
    """An answer without records: NXDOMAIN, SERVFAIL, or NOERROR for "the name has no such record"."""
    return _message(query, code, [], MAX_MESSAGE_SIZE_BYTES)


def ask(identity: int, name: str, qtype: int) -> bytes:
    """A plain query, as a client sends it."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return _HEADER.pack(identity, _WANTED, 1, 0, 0, 0) + labels + _TYPE_CLASS.pack(qtype, _IN)


def _message(query: Query, code: int, records: list[bytes], limit_bytes: int) -> bytes:
    edns = b""
    if query.edns_size_bytes:
        edns = b"\0" + struct.pack("!HHIH", OPT, _OUR_UDP_SIZE_BYTES, 0, 0)
    room = limit_bytes - _HEADER.size - len(query.question) - len(edns)
    fitting = _fitting(records, room)
    flags = _RESPONSE | (query.flags & (_OPCODE | _WANTED)) | _AVAILABLE | _AUTHORITATIVE | code
    if code not in (NOERROR, NXDOMAIN):
        flags &= ~_AUTHORITATIVE
    if len(fitting) < len(records):
        flags |= _TRUNCATED
    header = _HEADER.pack(query.id, flags, 1, len(fitting), 0, 1 if edns else 0)
    return header + query.question + b"".join(fitting) + edns


def _fitting(records: list[bytes], room_bytes: int) -> list[bytes]:
    """As many as fit: a resolver that never asks over TCP (musl before 1.2.4) lives on these."""
    total = 0
    for count, record in enumerate(records):
        total += len(record)
        if total > room_bytes:
            return records[:count]
    return records
