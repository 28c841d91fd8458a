"""Requests as nobody should send them: any message type, filled with what breaks programs.

`Hostile` draws from one random generator, so a seed says everything.
"""

import random
import string
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

MAX_DEPTH = 6
_FIELD = FieldDescriptor
_SIGNED = {_FIELD.CPPTYPE_INT32: 31, _FIELD.CPPTYPE_INT64: 63}
_UNSIGNED = {_FIELD.CPPTYPE_UINT32: 32, _FIELD.CPPTYPE_UINT64: 64}
_FLOATS = (_FIELD.CPPTYPE_DOUBLE, _FIELD.CPPTYPE_FLOAT)
TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "/",
    "-",
    "a" * 300,
    "x" * 5000,
    "\0",
    "a\nb",
    "\u202e\u0000\ufeff",
    "😀" * 40,
    "{{.Node.ID}}",
    "{{" * 50,
    "%s%n",
    "'; DROP TABLE",
    "0",
    "-1",
    "1e999",
    "nan",
    "99999999999999999999",
    "10.0.0.1:2378",
    "10.0.0.1",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "[::1]:99999",
    "fe80::1%eth0",
    "node.role==manager",
    "node.labels.x==",
    "==",
    "*/0 * * * *",
    "* * * * *",
    "61 25 32 13 8",
    "Etc/../../../passwd",
    "Europe/Berlin",
    "busybox",
    "UPPER/case:tag@sha256:zz",
    "ß",
)


def _parts(message: Message) -> Iterator[Message]:
    """The message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            parts = [part for part in value.values() if isinstance(part, Message)]
        else:
            parts = value if field.is_repeated else [value]
        for part in parts:
            yield from _parts(part)


class Hostile:
    """`known`: texts that mean something to the receiver, such as ids and names; they make the rest reach deeper."""

    def __init__(self, seed: str, known: Sequence[str] = ()) -> None:
        self._rng = random.Random(seed)
        self._known = tuple(known)

    def message(self, descriptor: Descriptor) -> Message:
        """A message of this type."""
        return self._fill(GetMessageClass(descriptor)(), self._rng.choice((0.15, 0.4, 0.8)), 0)

    def spoil(self, sound: Message) -> Message:
        """A copy of a sound message in which a few fields, at any depth, hold something else."""
        copy = type(sound)()
        copy.CopyFrom(sound)
        for _ in range(self._rng.choice((1, 1, 2, 4))):
            place = self._rng.choice(list(_parts(copy)))
            field = self._rng.choice(place.DESCRIPTOR.fields) if place.DESCRIPTOR.fields else None
            if field is not None:
                if self._rng.random() < 0.3:
                    place.ClearField(field.name)
                else:
                    self._set(place, field, 0.3, 2)
        return copy

    def raw(self, descriptor: Descriptor) -> bytes:
        """Bytes that may or may not be such a message."""
        data = bytearray(self.message(descriptor).SerializeToString())
        for _ in range(self._rng.choice((0, 1, 1, 3))):
            if data:
                data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        return bytes(data[: self._rng.randrange(len(data) + 1)]) if self._rng.random() < 0.2 else bytes(data)

    def _fill(self, message: Message, density: float, depth: int) -> Message:
        for field in message.DESCRIPTOR.fields:
            if self._rng.random() < density and not (depth >= MAX_DEPTH and field.message_type):
                self._set(message, field, density / (1 + 0.3 * depth), depth + 1)
        return message

    def _set(self, message: Message, field: FieldDescriptor, density: float, depth: int) -> None:
        if field.message_type and field.message_type.GetOptions().map_entry:
            self._set_map(getattr(message, field.name), field.message_type, density, depth)
        elif field.is_repeated:
            held = getattr(message, field.name)
            for _ in range(self._rng.choice((1, 1, 2, 5))):
                if field.message_type:
                    self._fill(held.add(), density, depth)
                else:
                    held.append(self._scalar(field))
        elif field.message_type:
            self._fill(getattr(message, field.name), density, depth)
            getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, self._scalar(field))

    def _set_map(self, held: Any, entry: Descriptor, density: float, depth: int) -> None:
        value = entry.fields_by_name["value"]
        for _ in range(self._rng.choice((1, 3))):
            key = self._scalar(entry.fields_by_name["key"])
            if value.message_type:
                self._fill(held[key], density, depth)
            else:
                held[key] = self._scalar(value)

    def _scalar(self, field: FieldDescriptor) -> Any:
        rng, kind = self._rng, field.cpp_type
        if kind in _SIGNED:
            high = 2 ** _SIGNED[kind]
            return rng.choice((0, 1, 2, -1, high - 1, -high, rng.randrange(-high, high), rng.randrange(100)))
        if kind in _UNSIGNED:
            high = 2 ** _UNSIGNED[kind]
            return rng.choice((0, 1, 2, high - 1, high // 2, rng.randrange(high), rng.randrange(100), 80))
        if kind in _FLOATS:
            return rng.choice((0.0, -1.0, 0.5, 1.0, float("inf"), float("-inf"), float("nan"), 1e300, -0.0))
        if kind == _FIELD.CPPTYPE_BOOL:
            return rng.random() < 0.5
        if kind == _FIELD.CPPTYPE_ENUM:
            return rng.choice([*field.enum_type.values_by_number, 2**31 - 1, -1, -(2**31)])
        return self._text() if field.type == _FIELD.TYPE_STRING else self._bytes()

    def _text(self) -> str:
        draw = self._rng.random()
        if draw < 0.35 and self._known:
            return self._rng.choice(self._known)
        if draw < 0.75:
            return self._rng.choice(TEXTS)
        return "".join(self._rng.choices(string.printable, k=self._rng.randrange(12)))

    def _bytes(self) -> bytes:
        return self._rng.choice((b"", b"\xff", self._rng.randbytes(40), self._text().encode(), bytes(3000)))
