"""How long nothing is committed after the leader was killed, cut off or frozen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.etcd import Etcd
from bench.figures import Check, Figure, Limit, Report
from bench.raft_hosts import BareHosts, RaftHosts
from tests.testbed.host import Host

LIMITS = (Limit("median", 0.7), Limit("worst", 2.0))
WAIT_S = 15.0
PROBE_S = 6.0
CONNECTED_S = 1.0  # after which etcd's probe has been connected for a while
SETTLE_S = 1.0


def measure(report: Report, bare: BareHosts, rounds: int, peer_rounds: int) -> None:
    """`rounds` of each fault of ours, and `peer_rounds` kills of etcd's leader."""
    ours = RaftHosts(bare.hosts)
    ours.form("keys")
    samples = {fault: [_one(ours, bare, fault) for _ in range(rounds)] for fault in _FAULTS}
    ours.stop()
    killed_peers = _peer_killed(bare, peer_rounds) if peer_rounds else []
    for fault, took in samples.items():
        peer = killed_peers if fault == "killed" else []
        report.figures.append(Figure(f"leader {fault}, to the next commit", "s", took, peer, "etcd", LIMITS))
    every = [seconds for took in samples.values() for seconds in took]
    seen = f"{sum(seconds is not None for seconds in every)} of {len(every)}"
    report.checks.append(Check("after every fault there was a next commit", holds=None not in every, seen=seen))


def _one(ours: RaftHosts, bare: BareHosts, fault: str) -> float | None:
    victim = ours.leader()
    time.sleep(SETTLE_S)
    begin, mend = _FAULTS[fault]
    began = time.monotonic()
    begin(ours, bare, victim)
    survivors = [ours.on(host) for host in ours.others(victim)]
    for process in survivors:
        process.send("await_commit", timeout_s=WAIT_S)
    with ThreadPoolExecutor(len(survivors)) as pool:
        ended = [at for at in pool.map(lambda process: process.answer(), survivors) if at is not None]
    mend(ours, bare, victim)
    took_s = min(ended) - began if ended else None
    print(f"  leader {fault}: {'never' if took_s is None else f'{took_s:.2f} s'}", file=sys.stderr, flush=True)
    return took_s


def _kill(ours: RaftHosts, _: BareHosts, victim: Host) -> None:
    ours.kill(victim)


def _start(ours: RaftHosts, _: BareHosts, victim: Host) -> None:
    ours.start(victim)


def _cut(_: RaftHosts, bare: BareHosts, victim: Host) -> None:
    bare.switch.set_port(victim.name, up=False)


def _plug(_: RaftHosts, bare: BareHosts, victim: Host) -> None:
    bare.switch.set_port(victim.name, up=True)


def _freeze(_: RaftHosts, __: BareHosts, victim: Host) -> None:
    victim.cgroup.freeze()


def _thaw(_: RaftHosts, __: BareHosts, victim: Host) -> None:
    victim.cgroup.thaw()


Act = Callable[[RaftHosts, BareHosts, Host], None]
_FAULTS: dict[str, tuple[Act, Act]] = {
    "killed": (_kill, _start),
    "cut off": (_cut, _plug),
    "frozen": (_freeze, _thaw),
}


def _peer_killed(bare: BareHosts, rounds: int) -> list[float | None]:
    peer = Etcd(bare.hosts)
    try:
        peer.form()
        return [_peer_round(peer) for _ in range(rounds)]
    finally:
        peer.stop()


def _peer_round(peer: Etcd) -> float | None:
    victim = peer.leader()
    survivors = [host for host in peer.hosts if host.name != victim.name]
    with ThreadPoolExecutor(len(survivors)) as pool:
        probes = [pool.submit(peer.probe, host, PROBE_S) for host in survivors]
        time.sleep(CONNECTED_S)
        killed = time.monotonic()
        peer.kill(victim)
        ended = [end for probe in probes for began, end in probe.result() if began >= killed]
    peer.start(victim)
    peer.wait()
    return min(ended) - killed if ended else None
