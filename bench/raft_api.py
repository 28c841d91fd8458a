"""Writes end to end: configs of 1 KB created through the Control API of three whole managers, beside etcd's `Put`."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from swarm_api.specs_pb2 import ConfigSpec

from bench.etcd import Etcd
from bench.figures import Figure, Report
from bench.raft_hosts import BareHosts
from bench.raftswarm import Raftswarm

CLIENTS = 16
_DATA = bytes(range(256)) * 4


def measure(report: Report, bare: BareHosts, rounds: int, load_s: float) -> None:
    """Our client is the Python one, over the leader's local socket; etcd's is bench.etcd_client."""
    ours, peer = Raftswarm(bare.hosts), Etcd(bare.hosts)
    names = _names("config")
    alone: list[float] = []
    together: list[float] = []
    puts_ms: list[float] = []
    puts: list[float] = []
    try:
        peer.form()
        ours.form()
        for _ in range(rounds):
            alone.append(statistics.median(_create(ours, names, load_s)) * 1000)
            puts_ms.append(peer.load(peer.leader(), "write", 1, load_s)["p50_ms"])
            together.append(_together(ours, names, load_s))
            puts.append(peer.load(peer.leader(), "write", CLIENTS, load_s)["per_s"])
    finally:
        peer.stop()
    report.figures += [
        Figure("config created by the API, 1 client: p50", "ms", alone, puts_ms, f"{peer.name}'s put"),
        Figure(f"configs created by the API, {CLIENTS} clients", "/s", together, puts, f"{peer.name}'s put"),
    ]


def _together(ours: Raftswarm, names: Iterator[str], load_s: float) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [_names(name) for name in itertools.islice(names, CLIENTS)]
        made = sum(len(took) for took in pool.map(lambda share: _create(ours, share, load_s), shares))
    return made / (time.monotonic() - began)


def _names(prefix: str) -> Iterator[str]:
    return (f"{prefix}-{number}" for number in itertools.count())


def _create(ours: Raftswarm, names: Iterator[str], load_s: float) -> list[float]:
    """One client creates configs, one after the other; how long each took."""
    took_s = []
    with ours.client([ours.leader()]) as client:
        end = time.monotonic() + load_s
        while (began := time.monotonic()) < end:
            spec = ConfigSpec(data=_DATA)
            spec.annotations.name = next(names)
            client.configs.create(spec)
            took_s.append(time.monotonic() - began)
    return took_s
