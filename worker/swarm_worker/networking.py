"""Keeps the node's networking in step with the assignments: one change at a time, the newest set each time."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from swarm_api.dispatcher_pb2 import Assignment
from swarm_api.objects_pb2 import Task

from swarm_worker.core.assignments import AssignmentSet
from swarm_worker.core.events import NetworksApplied

REFRESH_S = 5.0  # without a change: retries what failed, reads back what is there
PATIENCE_S = 5.0  # a stop waits no longer than this for the change that takes the task out of balancing

log = structlog.get_logger(__name__)


class Complaint(Protocol):
    """Why the network is not as wanted; `net.errors.Problem` is one."""

    @property
    def message(self) -> str:
        """One sentence for people."""

    @property
    def network_id(self) -> str:
        """Empty: it concerns all of them."""


class Network(Protocol):
    """The node's networking as the worker uses it; `net.network.NodeNetwork` is one. `apply` blocks."""

    def apply(self, assignments: Iterable[Assignment]) -> Sequence[Complaint]:
        """Make the node's networking equal to the whole current set."""

    def invalidate(self) -> None:
        """Believe nothing at the next apply()."""

    def ready(self, network_id: str) -> bool:
        """Whether containers may be attached to it."""

    def container_dns(self, task: Task) -> Sequence[str]:
        """The name servers of the task's container."""

    def mac_of(self, address: str) -> str:
        """The MAC address of the container with this overlay address."""

    def close(self) -> None:
        """Let go; everything stays as it is."""


@dataclass(frozen=True, slots=True)
class _State:
    generation: int
    ready: frozenset[str]
    problems: tuple[tuple[str, str], ...]


class NetworkKeeper:
    """Applies the assignments whenever `changed` was called, and tells what is ready."""

    def __init__(self, network: Network, assignments: AssignmentSet, tell: Callable[[NetworksApplied], None]) -> None:
        self._network = network
        self._assignments = assignments
        self._tell = tell
        self._wake = asyncio.Event()
        self._told: _State | None = None

    def changed(self) -> None:
        """The assignments changed."""
        self._wake.set()

    def invalidate(self) -> None:
        """The engine came back, or something else may have changed the networking: check all of it."""
        self._network.invalidate()
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                async with asyncio.timeout(REFRESH_S):
                    await self._wake.wait()
            except TimeoutError:
                log.debug("networks checked without a change")
            self._wake.clear()
            await self.apply_once()

    async def apply_once(self) -> None:
        """Apply the current set once and tell the outcome, if it is news."""
        generation, items = self._assignments.generation, list(self._assignments.items.values())
        work = asyncio.ensure_future(asyncio.to_thread(self._network.apply, items))
        _done, pending = await asyncio.wait([work], timeout=PATIENCE_S)
        if pending:
            log.warning("networking takes long; stops wait for it no longer", generation=generation)
            self._report(_State(generation, self._told.ready if self._told else frozenset(), ()))
        complaints = await work
        for complaint in complaints:
            log.warning("network problem", network_id=complaint.network_id, problem=complaint.message)
        problems = tuple((complaint.network_id, complaint.message) for complaint in complaints)
        self._report(_State(generation, self._ready(items), problems))

    def _ready(self, items: Iterable[Assignment]) -> frozenset[str]:
        networks = (item.network.network_id for item in items if item.WhichOneof("item") == "network")
        return frozenset(network_id for network_id in networks if self._network.ready(network_id))

    def _report(self, state: _State) -> None:
        if state != self._told:
            self._told = state
            self._tell(NetworksApplied(state.generation, state.ready, dict(state.problems)))
