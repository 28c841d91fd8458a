"""A cluster of real managers on loopback, with a fleet of fake workers in a few processes of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from swarm_api.access import Access, Endpoint
from swarm_api.client import Client

from bench.fake_workers import Standing, Wanted
from bench.side import BenchError
from tests.integration.manager.processes import ManagerProcess, api_ports, grow

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 4
BUDGET_S = 60.0


class Fleet:
    """The fake workers of a cluster, as their processes tell."""

    def __init__(
        self, managers: Sequence[ManagerProcess], count: int, folder: Path, processes: int = PROCESSES
    ) -> None:
        self._changed = threading.Condition()
        self._standings: dict[int, Standing] = {}
        self._children: list[subprocess.Popen[str]] = []
        token, ca_pem = managers[0].tokens()["worker"], managers[0].credentials.ca_pem.decode()
        addresses = [manager.address for manager in managers]
        for number in range(processes):
            first, last = count * number // processes, count * (number + 1) // processes
            self._spawn(Wanted(addresses, token, ca_pem, first + 1, last - first), folder / f"workers{number}.log")

    def _spawn(self, wanted: Wanted, log: Path) -> None:
        with log.open("ab") as errors:
            argv = [sys.executable, "-m", "bench.fake_workers"]
            child = subprocess.Popen(
                argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._children.append(child)
        self._write(child, json.dumps(asdict(wanted)))
        assert child.stdout is not None
        threading.Thread(target=self._read, args=(len(self._children), child.stdout), daemon=True).start()

    def _write(self, child: subprocess.Popen[str], line: str) -> None:
        assert child.stdin is not None
        child.stdin.write(line + "\n")
        child.stdin.flush()

    def _read(self, number: int, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self._standings[number] = Standing(**json.loads(line))
                self._changed.notify_all()

    def silence(self, count: int = 1) -> None:
        """Let so many workers fall silent for ever."""
        self._write(self._children[0], str(count))

    def now(self) -> Standing:
        """All of them together; `at_ns` is when the last of them changed."""
        with self._changed:
            return self._total()

    def _total(self) -> Standing:
        all_of_them = self._standings.values()
        return Standing(
            sum(one.joined for one in all_of_them),
            sum(one.sessions for one in all_of_them),
            sum(one.running for one in all_of_them),
            max((one.at_ns for one in all_of_them), default=0),
        )

    def wait(self, reached: Callable[[Standing], bool], what: str, timeout_s: float) -> int:
        """Wait until they stand as they should; when that was, in ns since the epoch. BenchError: it never came."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not reached(standing := self._total()):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise BenchError(f"waited {timeout_s:g} s for {what}; last seen: {standing}")
                if any(child.poll() is not None for child in self._children):
                    raise BenchError(f"a process of fake workers ended while {what} was waited for; see its log")
                self._changed.wait(min(left_s, 1.0))
            return standing.at_ns

    def stop(self) -> None:
        """End all of them."""
        for child in self._children:
            child.kill()
            child.wait()


@contextlib.contextmanager
def managers_up(folder: Path, count: int = 3) -> Iterator[list[ManagerProcess]]:
    """Real managers with their disks in `folder`, the first of which leads at first."""
    cluster = [ManagerProcess(folder / f"m{n}", port) for n, port in enumerate(api_ports(count), 1)]
    try:
        grow(cluster)
        yield cluster
    finally:
        for manager in cluster:
            manager.stop()


def client_of(managers: Sequence[ManagerProcess]) -> Client:
    """A client that knows the local sockets of all of them, and waits as long as it takes: that is what is measured."""
    sockets = tuple(Endpoint(f"unix:{manager.run_dir}/manager.sock") for manager in managers)
    return Client(Access(sockets), budget_s=BUDGET_S)
