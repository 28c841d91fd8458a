"""What a benchmark measured, beside its peer or floor, against its aim; as a table and as one JSON line.

    Report
    ├── Figure  samples of ours and of the peer, their ratio, limits on some statistic of ours
    └── Check   a statement that held or did not: nothing was lost, nothing runs twice

A limit that is missed is shown as such and is not an error: the machine may be busy. A check that fails is one.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

STATISTICS = ("median", "worst", "ratio")


@dataclass(frozen=True)
class Limit:
    """What is aimed at: `statistic` of ours (or the ratio of the medians) is at most `most`, or at least `least`."""

    statistic: str
    most: float | None = None
    least: float | None = None

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"{self.statistic!r} is none of {', '.join(STATISTICS)}")

    def __str__(self) -> str:
        return f"{self.statistic} <= {self.most:g}" if self.most is not None else f"{self.statistic} >= {self.least:g}"

    def kept(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True)
class Figure:
    """One row. `unit` is of all samples and limits, save the ratio's. None among samples: it never came."""

    what: str
    unit: str
    ours: Sequence[float | None]
    peer: Sequence[float | None] = ()
    peer_name: str = ""
    limits: Sequence[Limit] = ()

    @property
    def ratio(self) -> float | None:
        ours, peer = median(self.ours), median(self.peer)
        return None if ours is None or not peer else ours / peer

    def statistic(self, name: str) -> float | None:
        """The value a limit is put on; None when a sample it needs never came."""
        if name == "ratio":
            return self.ratio
        return median(self.ours) if name == "median" else worst(self.ours)

    def met(self) -> bool | None:
        """Whether all limits are kept; None when there are none."""
        if not self.limits:
            return None
        values = [(self.statistic(limit.statistic), limit) for limit in self.limits]
        return all(value is not None and limit.kept(value) for value, limit in values)

    def as_dict(self) -> dict[str, object]:
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": _summary(self.ours),
            "peer": {"name": self.peer_name, **_summary(self.peer)} if self.peer else None,
            "ratio": _rounded(self.ratio),
            "aim": [asdict(limit) for limit in self.limits],
            "met": self.met(),
        }


@dataclass(frozen=True)
class Check:
    """A statement that must hold, and what was seen."""

    what: str
    holds: bool
    seen: str


@dataclass
class Report:
    """All that one benchmark found."""

    bench: str
    figures: list[Figure] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    spin_ms: float = field(default_factory=lambda: spin_ms())

    @property
    def failed(self) -> bool:
        return any(not check.holds for check in self.checks)

    def json_line(self) -> str:
        """The report as one line, for machines."""
        return json.dumps(
            {
                "bench": self.bench,
                "cores": os.cpu_count(),
                "load_before": round(self.load_before, 2),
                "spin_ms": [round(self.spin_ms, 1), round(spin_ms(), 1)],
                "figures": [figure.as_dict() for figure in self.figures],
                "checks": [asdict(check) for check in self.checks],
            }
        )

    def table(self) -> str:
        """The report for people."""
        rows = [_HEAD, *(_cells(figure) for figure in self.figures)] if self.figures else []
        checks = [f"{'ok  ' if check.holds else 'FAIL'}  {check.what}: {check.seen}" for check in self.checks]
        load = f"load before: {self.load_before:.2f} on {os.cpu_count()} cores"
        spin = f"a fixed loop took {self.spin_ms:.0f} ms of CPU before, {spin_ms():.0f} ms after"
        return "\n".join([f"== {self.bench}   ({load}; {spin})", *aligned(rows), *checks])

    def print(self) -> None:
        print(self.table())
        print(self.json_line(), flush=True)


_HEAD = ("WHAT", "UNIT", "OURS median (min..max) n", "PEER median (min..max) n", "RATIO", "AIM", "")


def spin_ms() -> float:
    """How much CPU time a fixed loop takes now. It grows when others use the caches and the other half of a core."""
    start = time.process_time()
    for _ in range(2_000_000):
        pass
    return (time.process_time() - start) * 1000


def median(samples: Sequence[float | None]) -> float | None:
    """The median; None when there are no samples or one never came."""
    values = [value for value in samples if value is not None]
    return statistics.median(values) if values and len(values) == len(samples) else None


def worst(samples: Sequence[float | None]) -> float | None:
    values = [value for value in samples if value is not None]
    return max(values) if values and len(values) == len(samples) else None


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with their columns one under the other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(figure: Figure) -> tuple[str, ...]:
    peer = f"{_spread(figure.peer)} {figure.peer_name}" if figure.peer else "-"
    ratio = "-" if figure.ratio is None else f"{figure.ratio:.2f}"
    aim = ", ".join(map(str, figure.limits)) or "-"
    verdict = {True: "met", False: "MISSED", None: ""}[figure.met()]
    return (figure.what, figure.unit, _spread(figure.ours), peer, ratio, aim, verdict)


def _spread(samples: Sequence[float | None]) -> str:
    values = [value for value in samples if value is not None]
    if not values:
        return "never came" if samples else "-"
    missing = f", {len(samples) - len(values)} never came" if len(values) < len(samples) else ""
    return f"{statistics.median(values):.3g} ({min(values):.3g}..{max(values):.3g}) {len(values)}{missing}"


def _summary(samples: Sequence[float | None]) -> dict[str, object]:
    return {
        "median": _rounded(median(samples)),
        "worst": _rounded(worst(samples)),
        "samples": [_rounded(value) for value in samples],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
