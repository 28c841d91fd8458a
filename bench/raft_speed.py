"""Commits and linearizable reads: how many a second, and how long one takes, beside etcd."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from bench.etcd import Etcd
from bench.figures import Check, Figure, Limit, Report
from bench.raft_hosts import BareHosts, RaftHosts

Loads = dict[tuple[str, int], list[dict[str, Any]]]
POINTS = (("write", 1), ("write", 64), ("write", 256), ("read", 1), ("read", 64))


def measure(report: Report, bare: BareHosts, rounds: int, load_s: float) -> None:
    """Both stand on the same hosts at once and take turns, so that what slows the machine slows both."""
    ours, peer = RaftHosts(bare.hosts), Etcd(bare.hosts)
    try:
        peer.form()
        ours.form("keys")
        found = _rounds(ours, peer, rounds, load_s)
    finally:
        ours.stop()
        peer.stop()
    report.figures += _figures(*found, peer.name)
    failed = sum(result["failed"] for side in found for results in side.values() for result in results)
    report.checks.append(Check("every request under load was answered", holds=failed == 0, seen=f"{failed} were not"))


def _rounds(ours: RaftHosts, peer: Etcd, rounds: int, load_s: float) -> tuple[Loads, Loads]:
    mine: Loads = {point: [] for point in POINTS}
    theirs: Loads = {point: [] for point in POINTS}
    for _ in range(rounds):
        for what, outstanding in POINTS:
            leader = ours.on(ours.leader())
            result = leader.ask(what, outstanding=outstanding, duration_s=load_s)
            mine[what, outstanding].append(result)
            theirs[what, outstanding].append(peer.load(peer.leader(), what, outstanding, load_s))
            shown = (f"{side[what, outstanding][-1]['per_s']:.0f}/s" for side in (mine, theirs))
            print(f"  {what}, {outstanding} outstanding: {', '.join(shown)}", file=sys.stderr, flush=True)
    return mine, theirs


def _figures(mine: Loads, theirs: Loads, peer: str) -> list[Figure]:
    def row(what: str, point: tuple[str, int], key: str, limits: Sequence[Limit]) -> Figure:
        unit = "ms" if key.endswith("_ms") else "/s"
        ours, etcds = ([result[key] for result in side[point]] for side in (mine, theirs))
        return Figure(what, unit, ours, etcds, peer, limits)

    one, many, crowd = ("write", 1), ("write", 64), ("write", 256)
    return [
        row("commit of 1 KB, 1 outstanding: p50", one, "p50_ms", [Limit("ratio", 1.5)]),
        row("commit of 1 KB, 1 outstanding: p99", one, "p99_ms", []),
        row("commits of 1 KB, 64 outstanding", many, "per_s", [Limit("median", least=15_000)]),
        row("commits of 1 KB, 64 outstanding: p99", many, "p99_ms", []),
        row("commits of 1 KB, 256 outstanding", crowd, "per_s", [Limit("ratio", least=1.0)]),
        row("linearizable reads, 64 outstanding", ("read", 64), "per_s", [Limit("median", least=5_000)]),
        row("linearizable read, 1 outstanding: p50", ("read", 1), "p50_ms", [Limit("median", 1.0)]),
    ]
