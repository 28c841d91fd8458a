"""Writes that are all kept in order: whatever is lost, doubled, reordered or invented shows."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from swarm_manager.raft.errors import NotCommitted

from tests.sim.oracle import Violation
from tests.sim.workload import Machine

if TYPE_CHECKING:
    from tests.sim.world import World


class LogMachine:
    """Keeps everything it ever applied."""

    def __init__(self, node_id: str, workload: "LogWorkload") -> None:
        self._node_id = node_id
        self._workload = workload
        self.items: list[tuple[int, bytes]] = []

    def apply(self, index: int, term: int, payload: bytes) -> object:
        if self.items and index <= self.items[-1][0]:
            raise Violation(f"{self._node_id} applies {index} after {self.items[-1][0]}")
        self._workload.on_apply(self._node_id, index, payload)
        self.items.append((index, payload))
        if payload.endswith(b"!"):
            raise ValueError("contained")
        return index

    def snapshot(self) -> object:
        return tuple(self.items)

    def dump(self, image: object) -> Iterator[bytes]:
        for index, payload in image:  # type: ignore[attr-defined]
            yield index.to_bytes(8, "little") + len(payload).to_bytes(4, "little") + payload

    def read(self, data: bytes | memoryview) -> object:
        items, place = [], 0
        while place < len(data):
            length = int.from_bytes(data[place + 8 : place + 12], "little")
            payload = bytes(data[place + 12 : place + 12 + length])
            items.append((int.from_bytes(data[place : place + 8], "little"), payload))
            place += 12 + length
        return tuple(items)

    def load(self, image: object, index: int) -> None:
        self.items = list(image)  # type: ignore[call-overload]

    def parts(self, image: object) -> list[object]:
        return list(image)  # type: ignore[call-overload, no-any-return]

    def content(self) -> object:
        return self.items


class LogWorkload:
    """Clients that write something new each time, and never retry."""

    def __init__(self) -> None:
        self.acked = 0
        self.newest_ack = 0
        self._written = 0
        self._acked: dict[bytes, int] = {}  # payload: index
        self._refused: set[bytes] = set()  # definitely not written
        self._applied: dict[bytes, int] = {}  # payload: index

    def machine(self, node_id: str) -> LogMachine:
        return LogMachine(node_id, self)

    def write(self, world: "World") -> None:
        member = world.somebody_to_ask()
        if member is None:
            return
        self._written += 1
        rng = world.rng
        payload = b"w%06d" % self._written + b"x" * rng.randrange(60) + (b"!" if rng.random() < 0.05 else b"")
        world.propose(member, payload).add_done_callback(lambda done: self._outcome(world, payload, done))

    def _outcome(self, world: "World", payload: bytes, done: "Future[object]") -> None:
        error = done.exception()
        if isinstance(error, NotCommitted):
            self._on_refusal(payload)
        elif error is not None:
            world.stats["outcomes unknown"] += 1
        elif isinstance(result := done.result(), int):
            self._on_ack(payload, result)

    def on_apply(self, who: str, index: int, payload: bytes) -> None:
        """A state machine applies an entry."""
        if self._applied.setdefault(payload, index) != index:
            raise Violation(f"{who} applies {payload!r} at {index}, it was applied at {self._applied[payload]}")
        if payload in self._refused:
            raise Violation(f"{payload!r} was refused for good, and {who} applies it at {index}")

    def _on_ack(self, payload: bytes, index: int) -> None:
        """A client was told that its write is committed."""
        if self._applied.get(payload) != index:
            raise Violation(f"{payload!r} was acknowledged at {index} but is not applied there")
        self._acked[payload] = index
        self.acked += 1
        self.newest_ack = max(self.newest_ack, index)

    def _on_refusal(self, payload: bytes) -> None:
        """A client was told that its write definitely did not happen."""
        self._refused.add(payload)
        if payload in self._applied:
            raise Violation(f"{payload!r} was refused for good but is applied at {self._applied[payload]}")

    def finish(self, world: "World") -> None:
        """Nobody retries."""

    def check_end(self, machines: Mapping[str, Machine]) -> None:
        for machine in machines.values():
            assert isinstance(machine, LogMachine)
            have = dict(machine.items)
            for payload, index in self._acked.items():
                if have.get(index) != payload:
                    raise Violation(f"acknowledged write {payload!r} at {index} is lost")
