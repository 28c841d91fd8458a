"""How three managers fare with a thousand workers: real managers with real disks, workers that only pretend to run.

Measured   create    seconds until all tasks (--services services of --replicas each) are known to run
           rest      CPU of each manager as a share of one core, over --rest-s seconds, with every worker's heartbeat
                     once a second (beyond 500 workers: 500 a second together); and its resident memory
           lost      seconds until all tasks run again after the worker with the most tasks fell silent (it is
                     given up after three heartbeats' time)
           scale     seconds until one service has twice its replicas
           failover  seconds from kill -9 of the leader to the next accepted create, and until all workers have
                     a session again
Clock      starts right before the request or the fault; stops when the last worker has the leader's word that its
           report is committed
Fake       a worker's engine: tasks take 0.1 s to start. Sessions, certificates and reports are a worker's own (see
           bench/fake_workers.py), in --processes processes that share the machine's cores with the managers
Disk       the managers' journals are in --folder, and every commit is synced
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm_api.client import Client, replicated
from swarm_api.errors import ClientError

from bench.figures import Check, Figure, Limit, Report
from bench.fleet import PROCESSES, Fleet, client_of, managers_up
from bench.side import BenchError
from tests.integration.manager.processes import ManagerProcess
from tests.testbed.process import cpu_seconds, resident_bytes

JOIN_S, CREATE_S, SETTLE_S = 90.0, 120.0, 5.0
CREATE_LIMIT = (Limit("worst", 60.0),)
CPU_LIMIT = (Limit("worst", 50.0),)
MEMORY_LIMIT = (Limit("worst", 700.0),)


@dataclass(frozen=True)
class Spent:
    """Processor seconds of each manager and of all at one moment."""

    at_s: float
    of: dict[int, float]

    @staticmethod
    def now(managers: Sequence[ManagerProcess]) -> Spent:
        return Spent(time.monotonic(), {pid: cpu_seconds(pid) for pid in map(_pid, managers)})


class Scale:
    """One run: the cluster under measurement and what was found."""

    def __init__(self, managers: list[ManagerProcess], fleet: Fleet, options: argparse.Namespace) -> None:
        self.report = Report("workers")
        self._managers = managers
        self._fleet = fleet
        self._options = options
        self._client: Client = client_of(managers)
        self._tasks = options.services * options.replicas

    def run(self) -> None:
        """Everything in turn; the workers end with it."""
        try:
            self._measure()
        finally:
            self._fleet.stop()

    def _measure(self) -> None:
        self._join()
        self._create()
        time.sleep(SETTLE_S)
        self._rest()
        self._lose()
        self._scale()
        self._fail_over()

    def _join(self) -> None:
        workers, began_ns = self._options.workers, time.time_ns()
        at_ns = self._fleet.wait(lambda now: now.sessions == workers, f"{workers} workers' sessions", JOIN_S)
        self._took(f"{workers} workers join", began_ns, at_ns)

    def _create(self) -> None:
        leader, before, began_ns = self._leader(), Spent.now(self._managers), time.time_ns()
        for number in range(self._options.services):
            self._client.services.create(replicated(f"s{number}", "app:1", replicas=self._options.replicas))
        accepted_ns = time.time_ns()
        at_ns = self._wait_running(self._tasks)
        self._took(f"{self._options.services} services created", began_ns, accepted_ns)
        self._took(f"create to {self._tasks} tasks running", began_ns, at_ns, CREATE_LIMIT)
        after = Spent.now(self._managers)
        used_s = after.of[_pid(leader)] - before.of[_pid(leader)]
        self._add("create: CPU seconds of the leader", "s", [used_s])

    def _rest(self) -> None:
        leader, before = self._leader(), Spent.now(self._managers)
        time.sleep(self._options.rest_s)
        after = Spent.now(self._managers)
        share = {p: 100 * (after.of[p] - before.of[p]) / (after.at_s - before.at_s) for p in before.of}
        led = share.pop(_pid(leader))
        self._add("rest: CPU of the leader", "% of a core", [led], CPU_LIMIT)
        self._add("rest: CPU of the followers", "% of a core", list(share.values()))
        self._add("rest: memory of the leader", "MiB", [_memory_mib(leader)], MEMORY_LIMIT)
        followers = [_memory_mib(manager) for manager in self._managers if manager is not leader]
        self._add("rest: memory of the followers", "MiB", followers, MEMORY_LIMIT)

    def _lose(self) -> None:
        began_ns = time.time_ns()
        self._fleet.silence()
        self._fleet.wait(lambda now: now.running < self._tasks, "the loss of a worker", 10)
        self._took("a worker lost, to all tasks running", began_ns, self._wait_running(self._tasks))

    def _scale(self) -> None:
        began_ns = time.time_ns()
        more = self._options.replicas
        self._client.services.scale("s0", 2 * more)
        self._tasks += more
        self._took(f"a service scaled from {more} to {2 * more}", began_ns, self._wait_running(self._tasks))

    def _fail_over(self) -> None:
        doomed, workers = self._leader(), self._fleet.now().joined
        self._client.info()
        began_ns = time.time_ns()
        doomed.kill(signal.SIGKILL)
        refused = self._create_persistently("after")
        self._took("leader killed, to the next accepted create", began_ns, time.time_ns())
        self._say(f"{refused} refusals")
        self._tasks += 1
        at_ns = self._fleet.wait(lambda now: now.sessions == workers and now.at_ns > began_ns, "new sessions", 60)
        self._took("leader killed, to all workers' new sessions", began_ns, at_ns)
        self._wait_running(self._tasks)
        nodes = [node.status.message for node in self._client.nodes.list() if "heard" in node.status.message]
        self.report.checks.append(Check("the fail-over cost no node", len(nodes) == 1, f"{len(nodes) - 1} lost"))

    # ------------------------------------------------------------------------------------------ means

    def _leader(self) -> ManagerProcess:
        leader_id = self._client.info().leader_id
        return next(manager for manager in self._managers if manager.node_id == leader_id)

    def _wait_running(self, tasks: int) -> int:
        return self._fleet.wait(lambda now: now.running == tasks, f"{tasks} running tasks", CREATE_S)

    def _create_persistently(self, name: str) -> int:
        for refused in range(1000):
            try:
                self._client.services.create(replicated(name, "app:1"))
            except ClientError:
                time.sleep(0.01)
            else:
                return refused
        raise BenchError("no create was accepted after the fail-over")

    def _took(self, what: str, began_ns: int, at_ns: int, limits: Sequence[Limit] = ()) -> None:
        self._add(what, "s", [(at_ns - began_ns) / 1e9], limits)

    def _add(self, what: str, unit: str, values: Sequence[float], limits: Sequence[Limit] = ()) -> None:
        self.report.figures.append(Figure(what, unit, values, limits=limits))
        self._say(f"{what}: {', '.join(f'{value:.2f}' for value in values)} {unit}")

    def _say(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)


def _pid(manager: ManagerProcess) -> int:
    assert manager.process is not None
    return manager.process.pid


def _memory_mib(manager: ManagerProcess) -> float:
    return resident_bytes(_pid(manager)) / 2**20


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    with _folder(options) as folder, managers_up(folder) as managers:
        scale = Scale(managers, Fleet(managers, options.workers, folder, options.processes), options)
        reached = _run(scale)
    scale.report.print()
    return 1 if scale.report.failed or not reached else 0


def _run(scale: Scale) -> bool:
    """Whether all could be measured; else it is said why not, and what was measured before stands."""
    try:
        scale.run()
    except (BenchError, ClientError) as error:
        print(f"bench workers: {error}", file=sys.stderr)
        return False
    return True


@contextlib.contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    if options.keep_logs is not None:
        options.keep_logs.mkdir(parents=True)
        yield options.keep_logs
        return
    with tempfile.TemporaryDirectory(prefix="workers-", dir=options.folder) as name:
        yield Path(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"workers": 1000, "services": 30, "replicas": 1000, "rest-s": 60, "processes": PROCESSES}
    for name, number in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"default: {number}")
    parser.add_argument("--folder", default="/var/tmp", help="on a real disk (default: /var/tmp)")
    parser.add_argument("--keep-logs", type=Path, help="put disks and logs into this folder, and leave them there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
