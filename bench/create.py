"""How long it takes from creating a service until its containers run.

Measured   seconds until 1 and until 20 containers of a new service run on five hosts, for us and for Docker Swarm
Clock      starts right before the request (both over a manager's local socket, both sent to the leader); stops at the
           engine's own time of the last container's start
Floor      the same 20 containers made and started through the five engines' own API, all engines at once, 4 each,
           two requests at a time an engine: what no orchestrator can be faster than by much
Same       hosts, engines (without live-restore, which swarm mode refuses), image (by its id), command; the turns are
           interleaved, and who begins changes from round to round
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.arena import Arena, both_up, parser
from bench.containers import ContainerWatch
from bench.figures import Figure, Limit, Report
from bench.side import COMMAND, STOP_SIGNAL, BenchError, Side, managers, remove_wholly, wait_healthy
from tests.testbed.host import Host

SETTLE_S = 1.0
LIMITS = (Limit("ratio", 1.1),)
FLOOR_LABEL = "bench.floor"
REQUESTS_AT_ONCE = 2


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, rounds=9).parse_args(argv)
    report = Report("create")
    with both_up(options.testbed) as (arena, ours, peer):
        for replicas in (1, 20):
            times: dict[str, list[float]] = {ours.name: [], peer.name: [], "floor": []}
            for number in range(-1, options.rounds):  # round -1 warms up and is not counted
                _round(arena, [ours, peer] if number % 2 else [peer, ours], replicas, number, times)
            report.figures += _figures(replicas, times, ours.name, peer.name)
    report.print()
    return 0


def _figures(replicas: int, times: dict[str, list[float]], ours: str, peer: str) -> list[Figure]:
    what = f"create to {replicas} running"
    floor = Figure(f"{what}, beside the engines' own API", "s", times[ours], times["floor"], "raw API")
    return [Figure(what, "s", times[ours], times[peer], peer, LIMITS), floor]


def _round(arena: Arena, sides: Sequence[Side], replicas: int, number: int, times: dict[str, list[float]]) -> None:
    taken = {side.name: _create(arena, side, replicas, f"c{replicas}-{max(number, 0)}") for side in sides}
    taken["floor"] = _floor(arena, replicas)
    said = ", ".join(f"{name} {taken_s:.2f} s" for name, taken_s in taken.items())
    print(f"  {replicas} replicas, round {number}: {said}", file=sys.stderr, flush=True)
    if number >= 0:
        for name, taken_s in taken.items():
            times[name].append(taken_s)


def _create(arena: Arena, side: Side, replicas: int, name: str) -> float:
    wait_healthy(side)
    leader = side.leader()
    asked = [leader, *(host for host in managers(side) if host.name != leader.name)]
    time.sleep(SETTLE_S)
    with ContainerWatch(side.hosts, f"{side.service_label}={name}") as watch:
        start_ns = time.time_ns()
        side.create(name, arena.image_id, replicas, asked)
        at_ns = watch.wait_running(replicas, timeout_s=60)
    remove_wholly(side, name)
    if at_ns is None:
        raise BenchError(f"{side.name}: {replicas} containers did not run within 60 s")
    return (at_ns - start_ns) / 1e9


def _floor(arena: Arena, replicas: int) -> float:
    time.sleep(SETTLE_S)
    places = [arena.hosts[number % len(arena.hosts)] for number in range(replicas)]
    with ContainerWatch(arena.hosts, FLOOR_LABEL) as watch, ThreadPoolExecutor(len(arena.hosts)) as pool:
        start_ns = time.time_ns()
        list(pool.map(lambda host: _run_share(arena, host, places.count(host)), arena.hosts))
        at_ns = watch.wait_running(replicas, timeout_s=60)
    for host in arena.hosts:
        for container in host.engine.containers(everything=True, label=FLOOR_LABEL):
            host.engine.request("DELETE", f"/containers/{container['Id']}", query={"force": 1})
    if at_ns is None:
        raise BenchError(f"the engines did not start {replicas} containers within 60 s")
    return (at_ns - start_ns) / 1e9


def _run_share(arena: Arena, host: Host, share: int) -> None:
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        list(pool.map(lambda _: _run_one(arena.image_id, host), range(share)))


def _run_one(image: str, host: Host) -> None:
    body = {"Image": image, "Cmd": list(COMMAND), "StopSignal": STOP_SIGNAL, "Labels": {FLOOR_LABEL: ""}}
    made = host.engine.request("POST", "/containers/create", body=body)
    host.engine.request("POST", f"/containers/{made['Id']}/start")


if __name__ == "__main__":
    sys.exit(main())
