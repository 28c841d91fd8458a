"""The `key=value,key=value` form of Docker's long flags (--publish, --mount, --secret, --network)."""

import csv
from collections.abc import Collection


def parse_fields(text: str, what: str, known: Collection[str], aliases: dict[str, str] | None = None) -> dict[str, str]:
    """The fields by their canonical names; ValueError names one that is unknown, or came twice."""
    try:
        parts = next(csv.reader([text]), [])
    except csv.Error as error:
        raise ValueError(f"{text!r} cannot be read as KEY=VALUE,KEY=VALUE: {error}.") from error
    fields: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        name = (aliases or {}).get(key.strip().lower(), key.strip().lower())
        if name not in known:
            raise ValueError(f"{what} has no field {key.strip()!r}: it takes {', '.join(sorted(known))}.")
        if name in fields:
            raise ValueError(f"{what} names {name!r} twice in {text!r}.")
        fields[name] = value.strip() if equals else "true"
    return fields


def split_pair(text: str, what: str) -> tuple[str, str]:
    """`KEY=VALUE` or `KEY` (empty value); ValueError without a key."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise ValueError(f"{text!r} is no {what}: write KEY=VALUE.")
    return key.strip(), value
