"""Members left alone under a steady load: the curve of their memory and of their disks."""

from __future__ import annotations

import sys
import time

from bench.figures import Check, Figure, Report, aligned
from bench.raft_hosts import BareHosts, RaftHosts
from tests.testbed.host import Host

RATE = 500.0
OUTSTANDING = 16
POINTS = 12
WARM = 4  # the first points, in which memory and disk fill for the first time
GROWTH = 1.10

Point = tuple[float, float, float]  # minute, MB of memory, MB on disk


def measure(report: Report, bare: BareHosts, minutes: float) -> None:
    """`minutes` of RATE writes a second; says whether the last third needs more than the one before it."""
    ours = RaftHosts(bare.hosts)
    ours.form("keys")
    try:
        curves = _curves(ours, minutes)
    finally:
        ours.stop()
    for name, curve in curves.items():
        for line in aligned([("MINUTE", "MEMORY MB", "DISK MB"), *([f"{value:.1f}" for value in p] for p in curve)]):
            print(f"  {name}  {line}")
    report.figures += [
        Figure("memory, all points after the first third", "MB", [p[1] for c in curves.values() for p in c[WARM:]]),
        Figure("disk, all points after the first third", "MB", [p[2] for c in curves.values() for p in c[WARM:]]),
    ]
    report.checks.append(_is_flat(curves, minutes))


def _curves(ours: RaftHosts, minutes: float) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = {host.name: [] for host in ours.hosts}
    began = time.monotonic()
    for _ in range(POINTS):
        load = ours.on(ours.leader())
        load.ask("write", outstanding=OUTSTANDING, duration_s=minutes * 60 / POINTS, rate=RATE)
        minute = (time.monotonic() - began) / 60
        for host in ours.hosts:
            curves[host.name].append(_point(ours, host, minute))
        print(f"  minute {minute:.1f}: {curves[ours.hosts[0].name][-1][1]:.1f} MB", file=sys.stderr, flush=True)
    return curves


def _point(ours: RaftHosts, host: Host, minute: float) -> Point:
    used = ours.on(host).ask("usage")
    return minute, used["memory_bytes"] / 2**20, used["disk_bytes"] / 2**20


def _is_flat(curves: dict[str, list[Point]], minutes: float) -> Check:
    """Disk is a saw: it counts what it was at most."""
    grown = []
    for name, curve in curves.items():
        middle, last = curve[WARM : WARM * 2], curve[WARM * 2 :]
        for what, place in (("memory", 1), ("disk", 2)):
            before, after = (max(point[place] for point in part) for part in (middle, last))
            if after > before * GROWTH:
                grown.append(f"{name}'s {what} from {before:.1f} to {after:.1f} MB")
    seen = ", ".join(grown) or "it did not"
    return Check(f"memory and disk of {minutes:g} minutes did not grow in the last third", not grown, seen)
