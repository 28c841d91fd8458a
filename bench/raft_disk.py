"""Restarts with a long journal and a large snapshot, and what compaction and installation of a large state cost."""

from __future__ import annotations

import time
from typing import Any

from bench.figures import Check, Figure, Limit, Report
from bench.raft_hosts import BareHosts, RaftHosts
from tests.testbed.host import Host
from tests.testbed.process import wait_until

ENTRIES, ENTRY_BYTES = 200_000, 64
STATE_BYTES = 50 << 20
NEVER_BYTES = 1 << 40
UNDER_LOAD = {"outstanding": 16, "rate": 500.0}
LOAD_S = 12.0
FILL_S = 300.0
COMPACT_AFTER = 2_000  # entries, under load: a few seconds' worth
RESTART = (Limit("median", 2.0),)
TICK = (Limit("worst", 50.0),)


def measure(report: Report, bare: BareHosts, rounds: int) -> None:
    """All of it, on one cluster after the other."""
    ours = RaftHosts(bare.hosts)
    try:
        _restart_with_entries(report, ours, rounds)
        _write_state(ours)
        _compaction(report, ours)
        _restart_with_snapshot(report, ours, rounds)
        _installation(report, ours)
    finally:
        ours.stop()


def _restart_with_entries(report: Report, ours: RaftHosts, rounds: int) -> None:
    ours.form("keys", compact_entries=10 * ENTRIES, compact_bytes=NEVER_BYTES)
    _fill(ours, "fill_entries", count=ENTRIES, size_bytes=ENTRY_BYTES)
    took = [_restart(ours) for _ in range(rounds)]
    report.figures.append(Figure(f"restart with {ENTRIES:,} entries, until all are applied", "s", took, limits=RESTART))


def _fill(ours: RaftHosts, do: str, **arguments: int) -> None:
    """Have it written by whoever leads; begun anew when the lead changes meanwhile, on a busy machine."""
    wait_until(lambda: bool(ours.on(ours.leader()).ask(do, **arguments)), f"{do} to end with one leader", FILL_S)


def _restart(ours: RaftHosts) -> float:
    """Stop a follower and start it again; the seconds from its start until it has applied what it had before."""
    follower = ours.others(ours.leader())[0]
    last = ours.on(follower).ask("status")["last"]
    ours.stop(follower)
    began = time.monotonic()
    ours.start(follower)
    ours.wait_applied(follower, last)
    return time.monotonic() - began


def _write_state(ours: RaftHosts) -> None:
    """A state of STATE_BYTES of real objects on all disks, as a snapshot, and members that begin with it."""
    ours.form("store", compact_entries=10 * ENTRIES, compact_bytes=NEVER_BYTES)
    _fill(ours, "fill_state", size_bytes=STATE_BYTES)
    for host in ours.hosts:
        ours.stop(host)
        ours.start(host, compact_entries=2)
    ours.leader()
    for host in ours.hosts:
        wait_until(lambda host=host: bool(_status(ours, host)["snapshot"]), f"{host.name}'s snapshot", 60)  # type: ignore[misc]
    for host in ours.hosts:
        ours.stop(host)
        ours.start(host, compact_entries=COMPACT_AFTER)


def _status(ours: RaftHosts, host: Host) -> dict[str, Any]:
    status: dict[str, Any] = ours.on(host).ask("status")
    return status


def _compaction(report: Report, ours: RaftHosts) -> None:
    leader = ours.leader()
    before = {host.name: _status(ours, host) for host in ours.hosts}
    ours.on(leader).ask("write", duration_s=LOAD_S, **UNDER_LOAD)
    after = {host.name: _status(ours, host) for host in ours.hosts}
    ticks_ms = [after[leader.name]["longest_tick_s"] * 1000]
    others_ms = [after[host.name]["longest_tick_s"] * 1000 for host in ours.others(leader)]
    what = "longest tick while 50 MB are compacted under 500 writes/s"
    report.figures += [
        Figure(f"{what}: leader", "ms", ticks_ms, limits=TICK),
        Figure(f"{what}: followers", "ms", others_ms, limits=TICK),
    ]
    compacted = all(after[name]["snapshot"] > before[name]["snapshot"] for name in before)
    terms = {status["term"] for status in (*before.values(), *after.values())}
    report.checks += [
        Check("every member compacted meanwhile", holds=compacted, seen="yes" if compacted else "no"),
        Check("compaction caused no election", holds=len(terms) == 1, seen=f"terms {sorted(terms)}"),
    ]


def _restart_with_snapshot(report: Report, ours: RaftHosts, rounds: int) -> None:
    took = [_restart(ours) for _ in range(rounds)]
    report.figures.append(Figure("restart with a snapshot of 50 MB", "s", took, limits=RESTART))


def _installation(report: Report, ours: RaftHosts) -> None:
    leader = ours.leader()
    follower = ours.others(leader)[0]
    term = _status(ours, leader)["term"]
    ours.stop(follower)
    ours.wipe(follower)
    ours.on(leader).ask("write", duration_s=1.0, **UNDER_LOAD)
    began = time.monotonic()
    ours.start(follower)
    ours.wait_applied(follower, _status(ours, leader)["last"])
    took_s = time.monotonic() - began
    status = _status(ours, follower)
    tick_ms = [status["longest_tick_s"] * 1000]
    report.figures += [
        Figure("an empty follower is brought up to 50 MB", "s", [took_s]),
        Figure("longest tick of the follower meanwhile", "ms", tick_ms, limits=TICK),
    ]
    same = _status(ours, leader)["term"] == term == status["term"]
    report.checks.append(Check("installation caused no election", holds=same, seen=f"term {status['term']}"))
