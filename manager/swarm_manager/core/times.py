"""Times and durations as integers of nanoseconds. Nothing here reads a clock."""

from collections.abc import Callable
from datetime import UTC, tzinfo

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SECOND_NS = 1_000_000_000

#: A time zone by its IANA name, UTC for an empty one; None: there is no such zone.
Zones = Callable[[str], tzinfo | None]


def only_utc(name: str) -> tzinfo | None:
    """Zones where no database can be read."""
    return UTC if name in ("", "UTC") else None


def ns(moment: Timestamp) -> int:
    """Nanoseconds since the epoch; 0 for an unset timestamp."""
    return moment.seconds * SECOND_NS + moment.nanos


def timestamp(moment_ns: int) -> Timestamp:
    """The timestamp of so many nanoseconds since the epoch."""
    seconds, nanos = divmod(moment_ns, SECOND_NS)
    return Timestamp(seconds=seconds, nanos=nanos)


def duration_ns(duration: Duration) -> int:
    """A duration in nanoseconds; 0 for an unset one."""
    return duration.seconds * SECOND_NS + duration.nanos


def seconds_ns(seconds: float) -> int:
    """Seconds (as defaults are written) in nanoseconds."""
    return int(seconds * SECOND_NS)
