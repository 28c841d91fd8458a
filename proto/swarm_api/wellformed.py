"""Whether a message holds only values that mean something, whatever its type.

Protobuf carries more than its types promise: numbers that no enum names, durations that no clock can show, and
numbers that are none.  Nothing behind the API has to reckon with them, because `malformed` is asked first.
"""

import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_MAX_DURATION_S = 315_576_000_000  # 10,000 years, as google/protobuf/duration.proto says
_MIN_TIMESTAMP_S, _MAX_TIMESTAMP_S = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_NANOS = 10**9
_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def malformed(message: Message, path: str = "") -> Iterator[str]:
    """What makes no sense in it, one sentence each, named by field."""
    if isinstance(message, Duration):
        yield from _duration(message, path)
        return
    if isinstance(message, Timestamp):
        yield from _timestamp(message, path)
        return
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        if field.message_type is not None:
            for part in _messages(field, field.message_type, value):
                yield from malformed(part, name)
        elif field.enum_type is not None:
            yield from _enums(field, value, name)
        elif field.cpp_type in _FLOATS:
            yield from (f"{name} is {number}, which is no number." for number in _each(field, value) if _is_odd(number))


def _messages(field: FieldDescriptor, kind: Descriptor, value: Any) -> Iterator[Message]:
    """The messages in a field; of a map, those among its values."""
    if not kind.GetOptions().map_entry:
        yield from _each(field, value)
    elif kind.fields_by_name["value"].message_type is not None:
        yield from value.values()


def _each(field: FieldDescriptor, value: Any) -> Any:
    return value if field.is_repeated else (value,)


def _enums(field: FieldDescriptor, value: Any, name: str) -> Iterator[str]:
    assert field.enum_type is not None
    known = field.enum_type.values_by_number
    for number in _each(field, value):
        if number not in known:
            names = ", ".join(each.name for each in known.values())
            yield f"{name} is {number}, which is none of {names}."


def _is_odd(number: float) -> bool:
    return not math.isfinite(number)


def _duration(duration: Duration, name: str) -> Iterator[str]:
    mixed = duration.seconds * duration.nanos < 0
    if abs(duration.seconds) > _MAX_DURATION_S or abs(duration.nanos) >= _NANOS or mixed:
        yield f"{name} is no duration: {duration.seconds} seconds and {duration.nanos} nanoseconds."


def _timestamp(moment: Timestamp, name: str) -> Iterator[str]:
    if not _MIN_TIMESTAMP_S <= moment.seconds <= _MAX_TIMESTAMP_S or not 0 <= moment.nanos < _NANOS:
        yield f"{name} is no time: {moment.seconds} seconds and {moment.nanos} nanoseconds."
