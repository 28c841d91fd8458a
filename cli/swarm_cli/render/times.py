"""Times and sizes as people say them."""

import time

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_STEPS = (("second", 60), ("minute", 60), ("hour", 24), ("day", 7), ("week", 52), ("year", 10**9))
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def ago(moment: Timestamp, now_s: float | None = None) -> str:
    """`3 minutes ago`; empty for a time that was never set."""
    if not moment.seconds:
        return ""
    past_s = (time.time() if now_s is None else now_s) - moment.seconds - moment.nanos / 1e9
    return f"{span(past_s)} ago" if past_s >= 1 else "just now"


def minute(moment: Timestamp) -> str:
    """`2026-11-25 16:30 UTC`; empty for a time that was never set."""
    return f"{moment.ToDatetime():%Y-%m-%d %H:%M} UTC" if moment.seconds else ""


def span(length_s: float) -> str:
    """`3 minutes`: the largest unit of which there is at least one."""
    amount = max(length_s, 0.0)
    for unit, next_unit in _STEPS:
        if amount < next_unit:
            count = int(amount)
            return f"{count} {unit}{'' if count == 1 else 's'}"
        amount /= next_unit
    return "for ever"


def short_duration(value: Duration) -> str:
    """`1m30s`, `5s`, `250ms`."""
    left = value.seconds + value.nanos / 1e9
    if 0 < left < 1:
        return f"{left * 1000:g}ms"
    text = ""
    for letter, size_s in (("h", 3600), ("m", 60)):
        if left >= size_s:
            text += f"{int(left // size_s)}{letter}"
            left %= size_s
    return text + (f"{left:g}s" if left or not text else "")


def size(amount_bytes: float) -> str:
    """`1.9 GiB`."""
    for unit in _BYTES[:-1]:
        if amount_bytes < 1024:
            return f"{_three_digits(amount_bytes)} {unit}"
        amount_bytes /= 1024
    return f"{_three_digits(amount_bytes)} {_BYTES[-1]}"


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def cpus(nano_cpus: int) -> str:
    """Billionths of a core as cores: `0.5`."""
    return f"{nano_cpus / 1e9:g}"
