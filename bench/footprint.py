"""What a cluster costs at rest: memory and CPU of its daemons with eight tasks running, in one overlay network and
behind one published port.

Measured   resident memory (VmRSS, MiB), and CPU time used in --rest-s seconds as a share of one core (%), from
           /proc/PID/stat, of swarm-manager (the leader's; the worst of the followers'), of swarm-worker with all the
           processes it starts (the worst of all nodes), and of dockerd
Clock      starts --settle-s seconds after eight tasks run
Peer       the dockerd of Docker Swarm's leading manager: engine, manager and worker in one process. For a fair sum the
           table also has our leader's node as a whole: swarm-manager, swarm-worker and the engine below them
Hosts      five for each side, at rest at the same time, so that both meet the same machine
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.arena import Arena, hosts_up, parser
from bench.docker_swarm import DockerSwarm
from bench.figures import Figure, Limit, Report
from bench.raftswarm import DAEMON, MANAGER, Raftswarm
from bench.side import Joined, Side, managers, persistently
from tests.testbed.host import Host
from tests.testbed.process import command_line, cpu_seconds, resident_bytes, wait_until

TASKS = 8
PUBLISHED_PORT = 8080
MEMORY_LIMIT = (Limit("worst", 110.0),)
CPU_LIMIT = (Limit("worst", 2.0),)
ENGINE = "dockerd"


@dataclass(frozen=True)
class Usage:
    """Memory and CPU of one program on one host."""

    memory_mib: float
    cpu_percent: float


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, rest_s=60, settle_s=10).parse_args(argv)
    report = Report("footprint")
    with hosts_up(options.testbed) as arena, hosts_up(f"{options.testbed}-peer") as peer_arena:
        ours, peer = Raftswarm(arena.hosts), DockerSwarm(peer_arena.hosts)
        for side, place in ((ours, arena), (peer, peer_arena)):
            side.form()
            _start_tasks(side, place)
        time.sleep(options.settle_s)
        usage = _rest([*arena.hosts, *peer_arena.hosts], options.rest_s)
        leader, peer_leader = ours.leader(), peer.leader()
    _fill(report, usage, ours, leader, usage[peer_leader.folder, ENGINE], peer.name)
    report.print()
    return 0


def _start_tasks(side: Side, arena: Arena) -> None:
    persistently(lambda: side.create_overlay("rest-net"))
    joined = Joined("rest-net", PUBLISHED_PORT)
    persistently(lambda: side.create("rest", arena.image_id, TASKS, managers(side), joined))
    wait_until(lambda: _running(side) == TASKS, f"{side.name}: {TASKS} running tasks", timeout_s=60)


def _running(side: Side) -> int:
    return sum(task.running for task in side.tasks("rest"))


# -- what is measured


def _rest(hosts: Sequence[Host], rest_s: float) -> dict[tuple[Path, str], Usage]:
    """Watch the programs of all hosts for a while; their usage by host's folder and program."""
    before = {host.folder: _families(host) for host in hosts}
    used_s = {pid: cpu_seconds(pid) for families in before.values() for pids in families.values() for pid in pids}
    start = time.monotonic()
    time.sleep(rest_s)
    taken_s = time.monotonic() - start
    return {
        (folder, program): Usage(
            sum(resident_bytes(pid) for pid in pids) / 2**20,
            100 * sum(cpu_seconds(pid) - used_s[pid] for pid in pids) / taken_s,
        )
        for folder, families in before.items()
        for program, pids in families.items()
    }


def _families(host: Host) -> dict[str, list[int]]:
    """The pids of each of our programs, with those of the helpers it started; and dockerd's."""
    names = {process.pid: process.name for process in host.processes()}
    families: dict[str, list[int]] = {MANAGER: [], DAEMON: [], ENGINE: []}
    for pid in names:
        owner = _owner(pid, names, families)
        if owner:
            families[owner].append(pid)
    return {program: pids for program, pids in families.items() if pids}


def _owner(pid: int, names: dict[int, str], families: dict[str, list[int]]) -> str | None:
    """Which of our programs a process is or was started by, whichever is nearer. Not a container's: see containerd."""
    while pid in names:
        if names[pid] in families:
            return names[pid]
        if names[pid] == "containerd":
            return None
        pid = _parent(pid)
    return None


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; empty when the process is gone."""
    if not command_line(pid):
        return []
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


# -- what is reported


def _fill(
    report: Report, usage: dict[tuple[Path, str], Usage], ours: Raftswarm, leader: Host, peer: Usage, peer_name: str
) -> None:
    followers = [host for host in managers(ours) if host.name != leader.name]
    rows = {
        "swarm-manager, leader": [usage[leader.folder, MANAGER]],
        "swarm-manager, followers": [usage[host.folder, MANAGER] for host in followers],
        "swarm-worker, all nodes": [usage[host.folder, DAEMON] for host in ours.hosts],
    }
    for what, found in rows.items():
        _add(report, what, found, peer, peer_name, limited=True)
    _add(report, "dockerd below them", [usage[host.folder, ENGINE] for host in ours.hosts], peer, peer_name)
    whole = [usage[leader.folder, program] for program in (MANAGER, DAEMON, ENGINE)]
    total = Usage(sum(one.memory_mib for one in whole), sum(one.cpu_percent for one in whole))
    _add(report, "our leader's node in all", [total], peer, peer_name)


def _add(
    report: Report, what: str, found: Sequence[Usage], peer: Usage, peer_name: str, *, limited: bool = False
) -> None:
    memory, cpu = [one.memory_mib for one in found], [one.cpu_percent for one in found]
    limits = (MEMORY_LIMIT, CPU_LIMIT) if limited else ((), ())
    name = f"dockerd of {peer_name}"
    report.figures.append(Figure(f"{what}: memory", "MiB", memory, [peer.memory_mib], name, limits[0]))
    report.figures.append(Figure(f"{what}: CPU", "% of a core", cpu, [peer.cpu_percent], name, limits[1]))


if __name__ == "__main__":
    sys.exit(main())
