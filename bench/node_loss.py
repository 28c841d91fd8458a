"""How long a lost node's tasks are missed, and whether a short freeze costs any.

Measured   seconds from the fault until all replicas of a service run on the other nodes, as their engines tell
Clock      starts right before the fault; stops at the engine's own time of the last start that was needed
Faults     power   the host loses power
           cut     its network cable is pulled (it lives on, alone)
           killed  kill -9 of its worker together with its engine (the peer: of dockerd, which is both)
           freeze  all its processes stand still for 2 s: nothing is timed, but no task may be replaced or lost
The node   a worker with its share of a service of ten tasks on five nodes; frozen is also the leader's node
Checked    after the node is back: ten containers run, none twice. After the freeze: the same tasks run, in the same
           containers, and for --watch-s seconds after it none is started or ended
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence

from bench.arena import Arena, both_up, parser
from bench.containers import ContainerWatch, count_running
from bench.docker_swarm import DockerSwarm
from bench.figures import Check, Figure, Limit, Report
from bench.raftswarm import DAEMON, Raftswarm, pids
from bench.side import Side, managers, persistently, remove_wholly, wait_healthy
from tests.testbed.engine import SWARM_MODE_OPTIONS
from tests.testbed.errors import NotReached
from tests.testbed.host import Host
from tests.testbed.process import send_signal, wait_until

REPLICAS = 10
SERVICE = "loss"
FREEZE_S = 2.0
SETTLE_S = 3.0
LIMITS = (Limit("worst", 6.0),)
FAULTS = {"power": "powered off", "cut": "link cut", "killed": "worker killed with its engine"}


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, rounds=3, peer_rounds=1, watch_s=8).parse_args(argv)
    report = Report("node_loss")
    with both_up(options.testbed) as (arena, ours, peer):
        for fault, what in FAULTS.items():
            times = [_lose(arena, ours, fault, report) for _ in range(options.rounds)]
            peer_times = [_lose(arena, peer, fault, report) for _ in range(options.peer_rounds)]
            what = f"{what}, to {REPLICAS} of {REPLICAS} elsewhere"
            report.figures.append(Figure(what, "s", times, peer_times, peer.name, LIMITS))
        for side in (ours, peer):
            for _ in range(options.rounds):
                report.checks.append(_freeze(arena, side, side.hosts[-1], "a worker's node", options.watch_s))
                report.checks.append(_freeze(arena, side, side.leader(), "the leader's node", options.watch_s))
    report.print()
    return 1 if report.failed else 0


def _lose(arena: Arena, side: Raftswarm | DockerSwarm, fault: str, report: Report) -> float | None:
    victim = side.hosts[-1]
    with ContainerWatch(side.hosts, f"{side.service_label}={SERVICE}") as watch:
        share = _start_service(arena, side, watch, victim)
        inflict = _fault(arena, side, fault, victim)
        start_ns = time.time_ns()
        inflict()
        at_ns = watch.wait_running(REPLICAS, timeout_s=60, without=victim.name)
    taken_s = None if at_ns is None else (at_ns - start_ns) / 1e9
    said = "never" if taken_s is None else f"after {taken_s:.2f} s"
    print(f"  {side.name}: {fault}: {share} tasks run elsewhere {said}", file=sys.stderr, flush=True)
    _repair(arena, side, fault, victim)
    report.checks.append(_nothing_twice(side, fault))
    remove_wholly(side, SERVICE)
    return taken_s


def _start_service(arena: Arena, side: Side, watch: ContainerWatch, victim: Host) -> int:
    """Have the service run, and return how many of its tasks are the victim's."""
    wait_healthy(side)
    persistently(lambda: side.create(SERVICE, arena.image_id, REPLICAS, managers(side)))
    if watch.wait_running(REPLICAS, timeout_s=60) is None:
        raise NotReached(f"{side.name}: {REPLICAS} containers of a new service did not start within 60 s")
    wait_until(lambda: _running_tasks(side) == REPLICAS, f"{side.name}: {REPLICAS} running tasks", timeout_s=30)
    time.sleep(SETTLE_S)
    share = count_running([victim], f"{side.service_label}={SERVICE}")[victim.name]
    if share == 0:
        raise NotReached(f"{side.name}: none of {REPLICAS} tasks runs on {victim.name}, so losing it costs nothing")
    return share


def _running_tasks(side: Side) -> int:
    return sum(task.running for task in side.tasks(SERVICE))


def _fault(arena: Arena, side: Raftswarm | DockerSwarm, fault: str, victim: Host) -> Callable[[], object]:
    """What does it; everything slow is done before."""
    if fault == "cut":
        return lambda: arena.testbed.switch.set_port(victim.name, up=False)
    if fault == "power":
        init = victim.init()
        assert init is not None
        return init.kill
    doomed = pids(victim, "dockerd") + (pids(victim, DAEMON) if isinstance(side, Raftswarm) else [])
    return lambda: [send_signal(pid, signal.SIGKILL) for pid in doomed]


def _repair(arena: Arena, side: Raftswarm | DockerSwarm, fault: str, victim: Host) -> None:
    if fault == "cut":
        arena.testbed.switch.set_port(victim.name, up=True)
    elif fault == "power":
        victim.power_off()  # clears what is left of it
        arena.testbed.power_on(victim)
    else:
        victim.engine.start(SWARM_MODE_OPTIONS)
        if isinstance(side, Raftswarm):
            side.start_daemon(victim)
    wait_healthy(side)


def _nothing_twice(side: Side, fault: str) -> Check:
    """After the node came back: exactly the wanted number runs, once the node has cleared away what it had."""
    label = f"{side.service_label}={SERVICE}"

    def as_wanted() -> bool:
        return sum(count_running(side.hosts, label).values()) == REPLICAS == _running_tasks(side)

    what = f"{side.name}: {fault}: {REPLICAS} containers run once the node is back, and it stays so"
    try:
        taken_s = wait_until(as_wanted, what, timeout_s=30, period_s=0.1)
    except NotReached:
        return Check(what, holds=False, seen=f"{count_running(side.hosts, label)} after 30 s")
    time.sleep(SETTLE_S)
    seen = f"after {taken_s:.1f} s, and then {count_running(side.hosts, label)}"
    return Check(what, as_wanted(), seen)


def _freeze(arena: Arena, side: Side, victim: Host, what: str, watch_s: float) -> Check:
    with ContainerWatch(side.hosts, f"{side.service_label}={SERVICE}") as watch:
        _start_service(arena, side, watch, victim)
        tasks, starts, ends = _ids(side), watch.starts(), watch.ends()
        victim.cgroup.freeze()
        try:
            time.sleep(FREEZE_S)
        finally:
            victim.cgroup.thaw()
        time.sleep(watch_s)
        started, ended = len(watch.starts()) - len(starts), len(watch.ends()) - len(ends)
        lost = len(tasks - _ids(side))
    remove_wholly(side, SERVICE)
    seen = f"{lost} tasks lost, {started} containers started, {ended} ended"
    print(f"  {side.name}: freeze of {what}: {seen}", file=sys.stderr, flush=True)
    return Check(f"{side.name}: {what}, frozen for {FREEZE_S:g} s, loses nothing", not (lost or started or ended), seen)


def _ids(side: Side) -> set[str]:
    return {task.id for task in side.tasks(SERVICE) if task.running}


if __name__ == "__main__":
    sys.exit(main())
