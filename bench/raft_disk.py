"""Restarts with a long journal and a large snapshot, and what compaction and installation of a large state cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bench import raft_state
from bench.figures import Check, Figure, Limit, Report
from bench.raft_floor import SyncFloor
from bench.raft_hosts import BareHosts, RaftHosts
from tests.testbed.host import Host
from tests.testbed.process import wait_until

ENTRIES, ENTRY_BYTES = 200_000, 64
STATE_BYTES = 50 << 20
NEVER_BYTES = 1 << 40
UNDER_LOAD = {"outstanding": 16, "rate": 500.0}
LOAD_S = 12.0
COMPACTED_S = 90.0
INSTALL_LOAD_S = 6.0
FILL_S = 120.0
COMPACT_AFTER = 2_000  # entries, under load: a few seconds' worth
RESTART = (Limit("median", 2.0),)
TICK = (Limit("worst", 50.0),)
Statuses = dict[str, dict[str, Any]]
FLOOR = "a loop that syncs a page"


def measure(report: Report, bare: BareHosts, rounds: int) -> None:
    """All of it, on one cluster after the other."""
    ours = RaftHosts(bare.hosts)
    try:
        _restart_with_entries(report, ours, rounds)
        ours.found(raft_state.written(STATE_BYTES))
        _installation(report, ours)
        _compaction(report, ours, rounds)
        _restart_with_snapshot(report, ours, rounds)
    finally:
        ours.stop()


def measure_compaction(report: Report, bare: BareHosts, rounds: int) -> None:
    """Compaction alone."""
    ours = RaftHosts(bare.hosts)
    try:
        ours.found(raft_state.written(STATE_BYTES))
        for host in ours.hosts[1:]:
            ours.join(host)
            ours.wait_applied(host, _status(ours, ours.hosts[0])["last"])
        _compaction(report, ours, rounds)
    finally:
        ours.stop()


def _restart_with_entries(report: Report, ours: RaftHosts, rounds: int) -> None:
    ours.form("keys", compact_entries=10 * ENTRIES, compact_bytes=NEVER_BYTES)
    wait_until(lambda: bool(_filled(ours)), "the journal to be filled under one leader", FILL_S)
    took = [_restart(ours) for _ in range(rounds)]
    report.figures.append(Figure(f"restart with {ENTRIES:,} entries, until all are applied", "s", took, limits=RESTART))


def _filled(ours: RaftHosts) -> bool:
    """Fill it; to be done anew when the lead changes meanwhile, on a busy machine."""
    filled: bool = ours.on(ours.leader()).ask("fill", count=ENTRIES, size_bytes=ENTRY_BYTES)
    return filled


def _restart(ours: RaftHosts) -> float:
    """Stop a follower and start it again; the seconds from its start until it has applied what it had before."""
    follower = ours.others(ours.leader())[0]
    last = ours.on(follower).ask("status")["last"]
    ours.stop(follower)
    began = time.monotonic()
    ours.start(follower)
    ours.wait_applied(follower, last)
    return time.monotonic() - began


def _status(ours: RaftHosts, host: Host) -> dict[str, Any]:
    status: dict[str, Any] = ours.on(host).ask("status")
    return status


def _installation(report: Report, ours: RaftHosts) -> None:
    """The others join the one that has the state, while it takes writes."""
    first, *others = ours.hosts
    term = _status(ours, first)["term"]
    with SyncFloor(first.folder / "raftswarm") as floor:
        took_s = [_joined(ours, first, host) for host in others]
    statuses = [_status(ours, host) for host in others]
    ticks_ms = [status["longest_tick_s"] * 1000 for status in statuses]
    leaders_ms = [_status(ours, first)["longest_tick_s"] * 1000]
    floors_ms = [floor.longest_ms]
    report.figures += [
        Figure("an empty follower is brought up to 50 MB", "s", took_s),
        Figure("longest tick of the follower meanwhile", "ms", ticks_ms, floors_ms, FLOOR, TICK),
        Figure("longest tick of the leader meanwhile", "ms", leaders_ms, floors_ms, FLOOR, TICK),
    ]
    terms = sorted({term, *(status["term"] for status in statuses)})
    report.checks.append(Check("installation caused no election", holds=len(terms) == 1, seen=f"terms {terms}"))


def _joined(ours: RaftHosts, leader: Host, host: Host) -> float:
    """Seconds from the start of its process until it has applied what the leader had then."""
    ours.join(host)
    began = time.monotonic()
    needed = _status(ours, leader)["last"]
    ours.on(leader).send("write", duration_s=INSTALL_LOAD_S, **UNDER_LOAD)
    ours.wait_applied(host, needed)
    took_s = time.monotonic() - began
    ours.on(leader).answer()
    return took_s


def _compaction(report: Report, ours: RaftHosts, rounds: int) -> None:
    turns = [_compact(ours) for _ in range(rounds)]
    what = "longest tick while 50 MB are compacted under 500 writes/s"
    floors_ms = [turn.floor_ms for turn in turns]
    followers_ms = [tick_ms for turn in turns for tick_ms in turn.followers_ms]
    report.figures += [
        Figure(f"{what}: leader", "ms", [turn.leader_ms for turn in turns], floors_ms, FLOOR, TICK),
        Figure(f"{what}: followers", "ms", followers_ms, floors_ms, FLOOR, TICK),
    ]
    compacted = all(turn.compacted for turn in turns)
    terms = [turn.terms for turn in turns]
    report.checks += [
        Check("every member compacted meanwhile", holds=compacted, seen="yes" if compacted else "no"),
        Check("compaction caused no election", holds=all(len(seen) == 1 for seen in terms), seen=f"terms {terms}"),
    ]


@dataclass(frozen=True)
class _Compaction:
    leader_ms: float
    followers_ms: list[float]
    floor_ms: float
    compacted: bool
    terms: list[int]


def _compact(ours: RaftHosts) -> _Compaction:
    for host in ours.hosts:  # anew, for the longest tick of all that follows
        ours.stop(host)
        ours.start(host, compact_entries=COMPACT_AFTER)
    leader = ours.leader()
    before = {host.name: _status(ours, host) for host in ours.hosts}
    with SyncFloor(leader.folder / "raftswarm") as floor:
        after = _load_until_compacted(ours, leader, before)
    ticks_ms = {name: status["longest_tick_s"] * 1000 for name, status in after.items()}
    return _Compaction(
        leader_ms=ticks_ms.pop(leader.name),
        followers_ms=list(ticks_ms.values()),
        floor_ms=floor.longest_ms,
        compacted=_have_compacted(before, after),
        terms=sorted({status["term"] for status in (*before.values(), *after.values())}),
    )


def _load_until_compacted(ours: RaftHosts, leader: Host, before: Statuses) -> Statuses:
    """At least LOAD_S of load, and until all have a newer snapshot; how they are then."""
    began = time.monotonic()
    while True:
        ours.on(leader).ask("write", duration_s=LOAD_S / 3, **UNDER_LOAD)
        after = {host.name: _status(ours, host) for host in ours.hosts}
        waited_s = time.monotonic() - began
        if waited_s > COMPACTED_S or (waited_s >= LOAD_S and _have_compacted(before, after)):
            return after


def _have_compacted(before: Statuses, after: Statuses) -> bool:
    return all(after[name]["snapshot"] > before[name]["snapshot"] for name in before)


def _restart_with_snapshot(report: Report, ours: RaftHosts, rounds: int) -> None:
    took = [_restart(ours) for _ in range(rounds)]
    report.figures.append(Figure("restart with a snapshot of 50 MB", "s", took, limits=RESTART))
