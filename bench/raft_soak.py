"""Members left alone under a steady load of changes of the state: the curve of their memory and of their disks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.figures import Check, Figure, Report, aligned
from bench.raft_hosts import BareHosts, RaftHosts
from tests.testbed.host import Host
from tests.testbed.process import resident_bytes

RATE = 500.0
OUTSTANDING = 16
POINTS = 12
WARM = 4  # the first points, in which memory and disk fill for the first time
SAMPLE_S = 1.0
ASKED_S = 10.0
GROWTH = 1.10
_MIB = 2**20


@dataclass
class Curve:
    """What a member needed at most, in each of POINTS spans of time."""

    memory_mib: list[float] = field(default_factory=lambda: [0.0] * POINTS)
    disk_mib: list[float] = field(default_factory=lambda: [0.0] * POINTS)

    def note(self, point: int, memory_bytes: int, disk_bytes: int) -> None:
        self.memory_mib[point] = max(self.memory_mib[point], memory_bytes / _MIB)
        self.disk_mib[point] = max(self.disk_mib[point], disk_bytes / _MIB)


def measure(report: Report, bare: BareHosts, minutes: float) -> None:
    """`minutes` of RATE changes a second of the manager's own store."""
    ours = RaftHosts(bare.hosts)
    ours.form("store")
    written = 0
    curves = [Curve() for _ in bare.hosts]
    try:
        for point in range(POINTS):
            written += _span(ours, curves, point, minutes * 60 / POINTS)
    finally:
        ours.stop()
    _print(bare.hosts, curves, minutes)
    report.figures += [
        Figure("memory of a member, after the first third", "MiB", [m for c in curves for m in c.memory_mib[WARM:]]),
        Figure("disk of a member, after the first third", "MiB", [d for c in curves for d in c.disk_mib[WARM:]]),
    ]
    grown = [text for host, curve in zip(bare.hosts, curves, strict=True) for text in _grown(host, curve)]
    what = f"after {minutes:g} minutes and {written:,} commits, memory and disk did not grow in the last third"
    report.checks.append(Check(what, not grown, ", ".join(grown) or "they did not"))


def _span(ours: RaftHosts, curves: Sequence[Curve], point: int, span_s: float) -> int:
    """Load for this span, and what all members needed meanwhile; how many changes were committed."""
    over = threading.Event()
    pids = [ours.pid(host) for host in ours.hosts]

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            for host, pid, curve in zip(ours.hosts, pids, curves, strict=True):
                curve.note(point, resident_bytes(pid), ours.disk_bytes(host))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        written = _load(ours, span_s)
    finally:
        over.set()
        sampler.join()
    print(f"  {point + 1} of {POINTS}: {written / span_s:.0f} commits a second", file=sys.stderr, flush=True)
    return written


def _load(ours: RaftHosts, span_s: float) -> int:
    """RATE changes a second through whoever leads; how many were committed."""
    end, written = time.monotonic() + span_s, 0
    while (left_s := end - time.monotonic()) > 0:
        leader = ours.on(ours.leader())  # another one, maybe, on a busy machine
        written += leader.ask("write", outstanding=OUTSTANDING, duration_s=min(left_s, ASKED_S), rate=RATE)["count"]
    return written


def _print(hosts: Sequence[Host], curves: Sequence[Curve], minutes: float) -> None:
    head = ("MINUTE", *(f"{host.name} {what}" for host in hosts for what in ("memory", "disk")), "(MiB, at most)")
    rows = [
        (
            f"{(point + 1) * minutes / POINTS:.1f}",
            *(f"{value:.1f}" for curve in curves for value in (curve.memory_mib[point], curve.disk_mib[point])),
            "",
        )
        for point in range(POINTS)
    ]
    for line in aligned([head, *rows]):
        print(f"  {line}")


def _grown(host: Host, curve: Curve) -> list[str]:
    """What the last third needed noticeably more of than the one before."""
    found = []
    for what, values in (("memory", curve.memory_mib), ("disk", curve.disk_mib)):
        before, after = max(values[WARM : 2 * WARM]), max(values[2 * WARM :])
        if after > before * GROWTH:
            found.append(f"{host.name}'s {what} from {before:.1f} to {after:.1f} MiB")
    return found
