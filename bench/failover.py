"""How long the cluster takes no orders after its leading manager was killed.

Measured   seconds from kill -9 of the leading manager to the moment a create is accepted by the cluster,
           and until the created service's container runs, as its engine tells
Clock      starts right before the signal; stops when the create's answer is there (for the container: at the
           engine's own time of its start)
Client     one, which repeats its create until it is accepted. Ours knows all three managers and was connected to
           the one that is killed. Docker's is connected to a manager that survives, for it can know only one.
Killed     `manager`: our swarm-manager process; `daemon`: it together with the node's daemon that would start it
           again; the peer: the leader's dockerd, which is manager and worker in one
Rounds     --rounds of the first, --daemon-rounds of the second, --peer-rounds of the peer (10 to 16 s each)
Checked    the service exists once, and every manager takes part again before the next round
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.arena import Arena, both_up, parser
from bench.containers import ContainerWatch
from bench.docker_swarm import DockerSwarm
from bench.figures import Check, Figure, Limit, Report
from bench.raftswarm import DAEMON, Raftswarm, pids
from bench.side import Side, managers, persistently, remove_wholly, wait_healthy
from tests.testbed.engine import SWARM_MODE_OPTIONS
from tests.testbed.host import Host

SETTLE_S = 1.0
LIMITS = (Limit("median", 1.0), Limit("worst", 2.5))
Create = Callable[[], None]


@dataclass(frozen=True)
class Round:
    """What one round took, and which service it made."""

    accepted_s: float
    running_s: float | None
    refusals: int


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, rounds=20, daemon_rounds=5, peer_rounds=3).parse_args(argv)
    report = Report("failover")
    with both_up(options.testbed) as (arena, ours, peer):
        killed = [_ours(arena, ours, f"fm{n}", [], report) for n in range(options.rounds)]
        with_daemon = [_ours(arena, ours, f"fd{n}", [DAEMON], report) for n in range(options.daemon_rounds)]
        docker = [_peer(arena, peer, f"fp{n}", report) for n in range(options.peer_rounds)]
    for what, rounds in (("manager killed", killed), ("manager and daemon killed", with_daemon)):
        report.figures += _figures(what, rounds, docker, peer.name)
    report.print()
    return 1 if report.failed else 0


def _figures(what: str, ours: Sequence[Round], peer: Sequence[Round], peer_name: str) -> list[Figure]:
    accepted = ([r.accepted_s for r in ours], [r.accepted_s for r in peer])
    running = ([r.running_s for r in ours], [r.running_s for r in peer])
    return [
        Figure(f"{what}, to the next accepted create", "s", *accepted, peer_name, LIMITS),
        Figure(f"{what}, until its container runs", "s", *running, peer_name),
    ]


def _ours(arena: Arena, side: Raftswarm, name: str, also: Sequence[str], report: Report) -> Round:
    victim, survivors = _settled(side)
    with side.client([victim, *survivors]) as client:
        client.info()  # connected to the manager that will die
        doomed = [pid for program in also for pid in pids(victim, program)] + side.processes_of_manager(victim)
        found = _measure(
            side, name, side.hosts, doomed, lambda: side.create_with(client, name, arena.image_id, replicas=1)
        )
    if also:
        side.start_daemon(victim)
    _aftermath(side, name, report)
    return found


def _peer(arena: Arena, side: DockerSwarm, name: str, report: Report) -> Round:
    victim, survivors = _settled(side)
    doomed = side.processes_of_manager(victim)
    engines = [*survivors, *side.hosts[3:]]  # the victim's dies with its manager
    found = _measure(side, name, engines, doomed, lambda: side.create(name, arena.image_id, 1, survivors))
    victim.engine.start(SWARM_MODE_OPTIONS)
    _aftermath(side, name, report)
    return found


def _settled(side: Side) -> tuple[Host, list[Host]]:
    """The leading manager's host and those of the other managers, when all are well."""
    wait_healthy(side)
    time.sleep(SETTLE_S)
    victim = side.leader()
    return victim, [host for host in managers(side) if host.name != victim.name]


def _measure(side: Side, name: str, engines: Sequence[Host], doomed: Sequence[int], create: Create) -> Round:
    with ContainerWatch(engines, f"{side.service_label}={name}") as watch:
        start_ns = time.time_ns()
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        refusals = persistently(create)
        accepted_ns = time.time_ns()
        running_ns = watch.wait_running(1, timeout_s=15)
    running_s = None if running_ns is None else (running_ns - start_ns) / 1e9
    found = Round((accepted_ns - start_ns) / 1e9, running_s, refusals)
    ran = "no container ran" if running_s is None else f"container after {running_s:.2f} s"
    print(
        f"  {name}: accepted after {found.accepted_s:.2f} s ({refusals} refusals), {ran}", file=sys.stderr, flush=True
    )
    return found


def _aftermath(side: Side, name: str, report: Report) -> None:
    wait_healthy(side)
    tasks = side.tasks(name)
    if len(tasks) != 1:
        report.checks.append(Check(f"{side.name}: {name} was made once", holds=False, seen=f"{len(tasks)} tasks"))
    remove_wholly(side, name)


if __name__ == "__main__":
    sys.exit(main())
