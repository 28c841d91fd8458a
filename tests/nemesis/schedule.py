"""Which faults, when and where: drawn from a seed before anything runs, so that a seed is a schedule."""

import enum
import random
from collections.abc import Sequence
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What can happen to managers."""

    KILL = "kill"  # kill -9 of the process
    KILL_ALL = "kill-all"  # of all at once
    FREEZE = "freeze"  # the host stops, and goes on later as if nothing had been
    PARTITION = "partition"  # one cannot reach the others, nor they it
    ONE_WAY = "one-way"  # one hears the others but is not heard, or the other way round
    FLAP = "flap"  # its cable is pulled and put back, again and again
    SLOW_DISK = "slow-disk"  # syncs take long
    FULL_DISK = "full-disk"  # no room
    BROKEN_DISK = "broken-disk"  # I/O errors
    CLOCK = "clock"  # its wall clock steps, forth or back
    POWER = "power"  # its host and what its disk had not synced are gone
    POWER_ALL = "power-all"  # of all at once


TARGETS = ("leader", "any", "all")
#: What can be done to all at once beside having a kind of its own.
_TO_ALL = frozenset({Kind.FREEZE, Kind.FLAP, Kind.SLOW_DISK, Kind.FULL_DISK, Kind.BROKEN_DISK, Kind.CLOCK})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.  `number` and `toss` (0 to 1) decide whatever else the kind has to decide.

    The leader, or any one, does not suffer alone where the managers stand the loss of more than one: with five, every
    other fault takes two at once.
    """

    kind: Kind
    at_s: float
    lasts_s: float
    target: str  # leader | any | all; who leads shows only when it happens
    number: int
    toss: float

    def victims(self, managers: int, leader: int | None) -> list[int]:
        """The places of those it hits among so many managers, of whom that one leads: a minority, or all."""
        if self.target == "all":
            return list(range(managers))
        minority = max(1, (managers - 1) // 2)
        first = leader if self.target == "leader" and leader is not None else self.number % managers
        return [(first + step) % managers for step in range(1 + self.number % minority)]

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s  {self.kind} of {self.target} ({self.number}) for {self.lasts_s:.1f} s"


def schedule(seed: int, seconds: float, kinds: Sequence[Kind] = tuple(Kind)) -> list[Fault]:
    """The faults of a run, in order.  Each kind comes once before any comes again; some overlap."""
    rng = random.Random(seed)
    faults: list[Fault] = []
    at_s, bag = 1.0, list[Kind]()
    while True:
        if not bag:
            bag = rng.sample(list(kinds), len(kinds))
        fault = _draw(rng, bag.pop(), at_s)
        if fault.at_s + fault.lasts_s > seconds:
            return faults
        faults.append(fault)
        overlaps = rng.random() < 0.2
        at_s += fault.lasts_s * (rng.random() if overlaps else 1.0) + rng.uniform(0.3, 1.5)


def _draw(rng: random.Random, kind: Kind, at_s: float) -> Fault:
    weights = (5, 3, 2) if kind in _TO_ALL else (5, 3, 0)
    target = rng.choices(TARGETS, weights=weights)[0]
    if kind in (Kind.KILL_ALL, Kind.POWER_ALL):
        target = "all"
    return Fault(kind, at_s, rng.uniform(1.0, 3.5), target, rng.randrange(1000), rng.random())
