"""What a stale read may show: the state as it was after some prefix of the committed writes, never anything else.

A manager answers a stale read from its own copy.  That may be old, but it is whole: whoever sees the effect of one
write sees all that were committed before it.  And within one run of a manager its copy never goes back.
Versions are positions in the log, so a prefix shows by the highest version in the answer.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.linearizability.history import Operation, Verb


@dataclass(frozen=True, slots=True)
class StaleRead:
    """All objects as one manager showed them: name -> (tag, version)."""

    manager: str  # one run of one manager: a restart is another
    invoked: float
    returned: float
    seen: Mapping[str, tuple[str, int]]


def prefix_faults(history: Iterable[Operation], reads: Sequence[StaleRead]) -> list[str]:
    """A sentence for each stale read that shows what no prefix of the writes can have shown."""
    ledger = _Ledger(history)
    faults = [fault for read in reads for fault in ledger.faults(read)]
    return faults + _going_back(reads)


class _Ledger:
    """The writes of a history, by tag and by object."""

    def __init__(self, history: Iterable[Operation]) -> None:
        self._by_tag: dict[str, Operation] = {}
        self._versioned: dict[str, list[Operation]] = defaultdict(list)
        self._deletes: dict[str, list[Operation]] = defaultdict(list)
        for operation in history:
            if not operation.writes:
                continue
            if operation.verb is Verb.DELETE:
                self._deletes[operation.name].append(operation)
                continue
            self._by_tag[operation.tag] = operation
            if operation.version:
                self._versioned[operation.name].append(operation)

    def faults(self, read: StaleRead) -> Iterable[str]:
        position = max((version for _, version in read.seen.values()), default=0)
        for name, (tag, version) in read.seen.items():
            writer = self._by_tag.get(tag)
            if writer is None or writer.name != name:
                yield f"{read.manager} showed {name} as {tag}, which nobody wrote"
            elif writer.invoked > read.returned:
                yield f"{read.manager} showed {name} as {tag} before that was written"
            elif writer.version not in (0, version):
                yield f"{read.manager} showed {tag} at version {version}; others saw it at {writer.version}"
        for name, writes in self._versioned.items():
            yield from self._hole(read, name, writes, position)

    def _hole(self, read: StaleRead, name: str, writes: list[Operation], position: int) -> Iterable[str]:
        shown = read.seen.get(name, ("", 0))[1]
        missed = max((w for w in writes if shown < w.version <= position), key=lambda w: w.version, default=None)
        if missed is None:
            return
        if not shown and any(d.returned >= missed.invoked and d.invoked <= read.returned for d in self._deletes[name]):
            return  # it was written and removed again
        what = f"version {shown} of {name}" if shown else f"no {name}"
        yield f"{read.manager} showed version {position} but {what}, without {missed.tag} of {missed.version}"


def _going_back(reads: Sequence[StaleRead]) -> list[str]:
    faults = []
    for manager in {read.manager for read in reads}:
        own = sorted((r for r in reads if r.manager == manager), key=lambda r: r.invoked)
        ended = sorted(own, key=lambda r: r.returned)
        highest: dict[str, int] = {}
        place = 0
        for read in own:
            while ended[place].returned < read.invoked:
                for name, (_, version) in ended[place].seen.items():
                    highest[name] = max(version, highest.get(name, 0))
                place += 1
            back = {n: v for n, (_, v) in read.seen.items() if v < highest.get(n, -math.inf)}
            faults += [f"{manager} showed {n} at version {v} after it had shown {highest[n]}" for n, v in back.items()]
    return faults
