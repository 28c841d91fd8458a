"""Sizes, durations and CPU counts as people write them.  ValueError says what is wrong, as one sentence."""

import re
from decimal import Decimal, InvalidOperation

from google.protobuf.duration_pb2 import Duration
from swarm_api.types_pb2 import Share

_BYTE_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgtp]?)(?:i?b)?", re.IGNORECASE)
_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_UNITS_NS |= {"d": 86400 * 10**9, "w": 7 * 86400 * 10**9}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)")
_LIMIT = 2**63


def parse_size(text: str | float) -> int:
    """Bytes in `512m`, `1.5g`, `100MB` or a plain number; units are powers of 1024, as in Docker."""
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write a number with b, k, m or g, such as 512m.")
    amount = int(Decimal(match.group(1)) * _BYTE_UNITS[match.group(2).lower()])
    if amount >= _LIMIT:
        raise ValueError(f"{text!r} is more memory than there is.")
    return amount


def parse_nano_cpus(text: str | float) -> int:
    """Billionths of a core in `0.5`."""
    try:
        nano = Decimal(str(text).strip()) * 10**9
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number of CPUs: write something like 0.5.") from None
    if not nano.is_finite() or nano < 0 or nano >= _LIMIT:
        raise ValueError(f"{text!r} is no number of CPUs: write something like 0.5.")
    if nano != int(nano):
        raise ValueError(f"{text!r} is finer than a billionth of a CPU.")
    return int(nano)


def parse_duration_ns(text: str | float) -> int:
    """Nanoseconds in `1m30s`, `500ms`, `0`; a plain number is seconds."""
    written = str(text).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", written):
        return _in_range(int(Decimal(written) * 10**9), text)
    parts = _DURATION_PART.findall(written)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != written:
        raise ValueError(f"{text!r} is no duration: write something like 1m30s, 10s or 500ms.")
    return _in_range(sum(int(Decimal(number) * _UNITS_NS[unit]) for number, unit in parts), text)


def _in_range(length_ns: int, text: object) -> int:
    if length_ns >= _LIMIT:
        raise ValueError(f"{text!r} is too long a duration: at most 292 years.")
    return length_ns


def parse_duration(text: str | float) -> Duration:
    """A Duration in `1m30s`."""
    length_ns = parse_duration_ns(text)
    return Duration(seconds=length_ns // 10**9, nanos=length_ns % 10**9)


def parse_bool(text: str) -> bool:
    """`true` or `false`, with the other spellings Docker takes."""
    lower = text.strip().lower()
    if lower in ("1", "t", "true", "yes", "on", ""):
        return True
    if lower in ("0", "f", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither true nor false.")


def parse_whole(text: str, what: str) -> int:
    """A whole number that is not negative."""
    if not re.fullmatch(r"\d{1,18}", text.strip()):
        raise ValueError(f"{text!r} is no {what}: write a whole number that is not negative.")
    return int(text)


def parse_mode(text: str | int) -> int:
    """A file's mode: `0440` in octal, or a number that is the mode already."""
    if isinstance(text, int):
        mode = text
    else:
        if not re.fullmatch(r"(0o?)?[0-7]{1,5}", text.strip()):
            raise ValueError(f"{text!r} is no file mode: write it in octal, such as 0440.")
        mode = int(text.strip().removeprefix("0o"), 8)
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"{text!r} is no file mode: write it in octal, such as 0440.")
    return mode


def parse_share(text: str) -> Share:
    """A Share in `10%` or `3`: that part of a service's tasks."""
    written = text.strip()
    number = written.removesuffix("%")
    if not number.isdecimal() or int(number) == 0 or (written != number and int(number) > 99):
        raise ValueError(f"{text!r} is no part of the tasks: write 1% to 99%, or how many.")
    return Share(tasks=int(number)) if written == number else Share(percent=int(number))
