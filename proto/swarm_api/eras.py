"""Eras: what keeps a cluster that was restored or recovered apart from the one it came from.

The upper 32 bits of every Raft term are the era of its cluster; the lower ones count elections.  A cluster begins in
era 0.  Whoever is restored from a backup, or recovered by its last manager, begins an era that is above all that the
old one can have reached: the clock's seconds, and at least one more than the era before.  The clock makes two
restorations of one backup differ; "one more" holds where a clock is wrong.

Workers obey no term below one they have seen, so what is left of the old cluster loses them for good.  Log indexes,
which are the API's versions, leap as well: no cluster commits 2^20 entries a second, so a version of the old cluster
is never one of the new, and whoever watches from there is told to read anew.
"""

ERA_BITS = 32
_ERA_EPOCH_S = 1_735_689_600  # 2025-01-01: eras fit into 32 bits, and terms into signed 64, until 2093
_INDEX_SHIFT = 20  # entries a second that a cluster stays below; versions stay below 2^53 for 200 years
_LEAST_LEAP = 1 << 32


def era_of(term: int) -> int:
    """The era a term is of."""
    return term >> ERA_BITS


def election_of(term: int) -> int:
    """The number of the term within its era, as people count elections."""
    return term & ((1 << ERA_BITS) - 1)


def next_era(term: int, now_s: float) -> int:
    """The era that follows a cluster which was seen in `term`, at this time (Unix seconds)."""
    return max(era_of(term) + 1, int(now_s) - _ERA_EPOCH_S)


def first_term(era: int) -> int:
    """The term an era begins with."""
    return era << ERA_BITS


def first_index(era: int, last_index: int) -> int:
    """The log index an era begins with, where the state is that of `last_index`."""
    return max(era << _INDEX_SHIFT, last_index + _LEAST_LEAP)
