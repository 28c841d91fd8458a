"""Messages of the API as one JSON or YAML document.

The names are the API's field names; every field is there, also when it is empty, so that a script need not
guess.  Enumerations are their names, timestamps RFC 3339, durations `5s`, bytes base64.  Unlike protobuf's own
JSON, 64-bit integers are numbers, not strings: `.progress.ID.running < 3` does what one thinks.
"""

import base64
import json
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def print_document(message: Message | list[Message] | Any, form: str) -> None:
    """Print one document (`form`: json or yaml) to standard output."""
    click.echo(format_document(to_data(message), form), nl=False)


def format_document(data: Any, form: str) -> str:
    """Plain data as text that ends with a newline."""
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    import yaml

    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def to_data(message: Any, *, with_empty: bool = True) -> Any:
    """A message, or a list of them, as JSON-like data; `with_empty=False` leaves out fields at their defaults."""
    if isinstance(message, (list, tuple)):
        return [to_data(item, with_empty=with_empty) for item in message]
    if isinstance(message, Message):
        return _message(message, with_empty)
    return message


def _message(message: Message, with_empty: bool) -> Any:
    if isinstance(message, (Timestamp, Duration)):
        return message.ToJsonString()
    data = {}
    for field in message.DESCRIPTOR.fields:
        if _is_absent(message, field, with_empty):
            continue
        data[field.name] = _field(getattr(message, field.name), field, with_empty)
    return data


def _is_absent(message: Message, field: Any, with_empty: bool) -> bool:
    if field.has_presence:
        return not message.HasField(field.name)
    value = getattr(message, field.name)
    return not with_empty and not value


def _field(value: Any, field: Any, with_empty: bool) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _scalar(value[key], inner, with_empty) for key in sorted(value)}
    if field.is_repeated:
        return [_scalar(item, field, with_empty) for item in value]
    return _scalar(value, field, with_empty)


def _scalar(value: Any, field: Any, with_empty: bool) -> Any:
    if field.message_type is not None:
        return _message(value, with_empty)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
