"""Time zones by name, from the machine's database or the package tzdata: what the pure core cannot read."""

import zoneinfo
from datetime import UTC, tzinfo
from functools import lru_cache


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo | None:
    """The zone with an IANA name, UTC for an empty one; None where this machine knows no such zone."""
    if not name:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
