"""What the two orchestrators have in common for a benchmark: the same questions, asked of each in its own API."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.containers import count_all
from tests.testbed.errors import TestbedError
from tests.testbed.host import Host
from tests.testbed.process import wait_until

POLL_S = 0.02
# The same for both: it runs for ever and dies at once when it is stopped.
COMMAND = ("sleep", "1000000")
STOP_SIGNAL = "SIGKILL"


class BenchError(TestbedError):
    """A benchmark could not measure: what it stands on did not come about."""


class NotAcceptedError(BenchError):
    """An orchestrator did not accept a request, this time."""


@dataclass(frozen=True)
class Joined:
    """How a service is reached: its overlay network, which exists, and the port that every node answers on."""

    overlay: str
    published_port: int
    target_port: int = 80


@dataclass(frozen=True)
class SeenTask:
    """A task that is wanted, as the orchestrator shows it."""

    id: str
    host: str
    running: bool


class Side(Protocol):
    """One orchestrator on the hosts of a testbed: the first three are managers, the others workers."""

    name: str
    service_label: str  # the label, on every container, whose value is the service's name
    hosts: Sequence[Host]

    def form(self) -> None:
        """Make the cluster as a person would, with its command line, one node after the other; wait until ready."""

    def healthy(self) -> bool:
        """Whether all nodes are ready and all managers take part."""

    def leader(self) -> Host:
        """The host whose manager leads; NotAcceptedError while there is none."""

    def create_overlay(self, name: str) -> None:
        """Create an overlay network."""

    def create(self, name: str, image: str, replicas: int, asked: Sequence[Host], joined: Joined | None = None) -> None:
        """Create a service; return when it is accepted. NotAcceptedError: not this time, try again."""

    def remove(self, name: str) -> None:
        """Remove a service; its containers go later."""

    def tasks(self, name: str) -> list[SeenTask]:
        """The tasks of a service that are wanted to run."""

    def processes_of_manager(self, host: Host) -> list[int]:
        """The pids of what takes part in Raft on this host."""


def managers(side: Side) -> list[Host]:
    return list(side.hosts[:3])


def wait_healthy(side: Side, timeout_s: float = 90) -> float:
    """Wait until the side is healthy; the seconds that took."""
    return wait_until(side.healthy, f"{side.name}: all nodes ready and all managers taking part", timeout_s, POLL_S)


def remove_wholly(side: Side, name: str) -> None:
    """Remove a service and wait until no engine has a container of it."""
    persistently(lambda: side.remove(name))
    label = f"{side.service_label}={name}"
    wait_until(lambda: count_all(side.hosts, label) == 0, f"{side.name}: the end of {name}'s containers", 60, 0.1)


def persistently(request: Callable[[], None], timeout_s: float = 90, pause_s: float = POLL_S) -> int:
    """Repeat a request until it is accepted; return how often it was not."""
    deadline = time.monotonic() + timeout_s
    refusals = 0
    while True:
        try:
            request()
        except NotAcceptedError:
            if time.monotonic() > deadline:
                raise
            refusals += 1
            time.sleep(pause_s)
        else:
            return refusals
