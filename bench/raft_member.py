"""One Raft member as a process under measurement, driven by JSON lines on stdin: `python -m bench.raft_member SPEC`.

The machine is either `keys`, which does next to nothing, so that what is measured is Raft, or `store`, the manager's
own replicated store.  Load is made in this process by a thread of its own, as a manager's callers do: it keeps so
many proposals (or reads) outstanding and notes how long each took.
"""

import asyncio
import itertools
import json
import logging
import queue
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import structlog
from swarm_api.identity import NodeCredentials
from swarm_manager import garbage
from swarm_manager.raft import Member, RaftConfig, Replica, TlsIdentity
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.sealed_disk import open_folder
from swarm_manager.raft.store import ReplicatedStore

from bench import raft_state
from bench.etcd_client import summary

TIMEOUT_S = 5.0
BURST = 64


class Keys:
    """The last `kept` payloads by their first 8 bytes: memory and snapshots stay as large as `kept` makes them."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self.items: dict[int, bytes] = {}

    def apply(self, index: int, term: int, payload: bytes) -> object:  # noqa: ARG002 - Raft's interface
        self.items[index % self._kept] = payload
        return index

    def snapshot(self) -> object:
        return dict(self.items)

    def dump(self, image: object) -> Iterator[bytes]:
        assert isinstance(image, dict)
        for number, payload in image.items():
            yield struct.pack("<II", number, len(payload)) + payload

    def read(self, data: bytes | memoryview) -> object:
        items, place = {}, 0
        while place < len(data):
            number, length = struct.unpack_from("<II", data, place)
            items[number] = bytes(data[place + 8 : place + 8 + length])
            place += 8 + length
        return items

    def load(self, image: object, index: int) -> None:  # noqa: ARG002 - as above
        assert isinstance(image, dict)
        self.items = image

    def parts(self, image: object) -> list[object]:
        assert isinstance(image, dict)
        return list(image.values())


class Load:
    """Keeps `outstanding` requests going and notes their latencies, on a thread of its own."""

    def __init__(self, request: Callable[[], "Future[Any]"], outstanding: int) -> None:
        self._request = request
        self._outstanding = outstanding
        self._done: queue.SimpleQueue[tuple[float, float, BaseException | None]] = queue.SimpleQueue()
        self.latencies_s: list[float] = []
        self.failed = 0

    def run(self, duration_s: float, rate: float = 0.0) -> float:
        """Until the time is over and all have ended; the seconds it took.  `rate` a second at most; 0 for no limit."""
        began = time.monotonic()
        end, sent = began + duration_s, 0
        for _ in range(self._outstanding):
            self._send()
            sent += 1
        under_way = self._outstanding
        while under_way:
            self._note(self._done.get())
            if (now := time.monotonic()) >= end:
                under_way -= 1
                continue
            if rate and (early_s := sent / rate - (now - began)) > 0:
                time.sleep(early_s)
            self._send()
            sent += 1
        return time.monotonic() - began

    def _send(self) -> None:
        began = time.monotonic()
        self._request().add_done_callback(lambda done: self._done.put((began, time.monotonic(), done.exception())))

    def _note(self, ended: tuple[float, float, BaseException | None]) -> None:
        began, now, error = ended
        if error is None:
            self.latencies_s.append(now - began)
        else:
            self.failed += 1
            time.sleep(0.001)  # a refusal comes at once: do not spin on it


class Console:
    """Answers one request at a time."""

    def __init__(self, spec: dict[str, Any], machine: Any) -> None:
        folder = Path(spec["dir"])
        config = RaftConfig(
            node_id=spec["node_id"],
            listen=spec["address"],
            advertise=spec["address"],
            cluster_id=spec["cluster_id"],
            members=tuple(Member(*member) for member in spec["members"]),
            joining=spec["joining"],
            **spec["settings"],
        )
        self._payloads = raft_state.updates if spec["machine"] == "store" else _payloads
        began = time.monotonic()
        disk = open_folder(folder / "raft", KeyFile(LocalDisk(folder / "keys")))
        self.replica = Replica(config, machine, TlsIdentity(NodeCredentials.load(folder / "node")), disk=disk)
        garbage.settle()  # as the manager does
        self.opened_s = time.monotonic() - began

    def answer(self, request: dict[str, Any]) -> object:
        verb: Callable[..., object] = getattr(self, "do_" + request.pop("do"))
        return verb(**request)

    def do_status(self) -> object:
        status = self.replica.status()
        return {
            "ready": status.is_leader,
            "term": status.term,
            "applied": status.applied_index,
            "last": status.last_index,
            "snapshot": status.snapshot_index,
            "responding": len(status.responding),
            "longest_tick_s": status.longest_tick_s,
            "opened_s": self.opened_s,
        }

    def do_write(self, outstanding: int, duration_s: float, size_bytes: int = 1024, rate: float = 0.0) -> object:
        """Propose payloads of this size; how many were committed, and their latencies."""
        payloads = self._payloads(size_bytes)
        load = Load(lambda: self.replica.propose(next(payloads), timeout_s=TIMEOUT_S), outstanding)
        took_s = load.run(duration_s, rate)
        return summary(load.latencies_s, load.failed, took_s)

    def do_read(self, outstanding: int, duration_s: float) -> object:
        """Ask for read barriers."""
        load = Load(lambda: self.replica.read_index(TIMEOUT_S), outstanding)
        took_s = load.run(duration_s)
        return summary(load.latencies_s, load.failed, took_s)

    def do_fill(self, count: int, size_bytes: int) -> object:
        """Propose so many payloads as fast as it goes; whether all were committed."""
        under_way: deque[Future[object]] = deque()
        for _ in range(count):
            under_way.append(self.replica.propose(bytes(size_bytes), timeout_s=TIMEOUT_S))
            if len(under_way) == BURST and under_way.popleft().exception() is not None:
                return False
        return all(future.exception() is None for future in under_way)

    def do_add(self, node_id: str, address: str) -> object:
        """Take a member in; the members it is to start with."""
        after = self.replica.add_member(node_id, address).result(TIMEOUT_S * 3)
        return [[member.node_id, member.address, member.voter] for member in after.members.values()]

    def do_await_commit(self, timeout_s: float) -> object:
        """Propose until one is committed here; when that was (monotonic clock of this machine).

        None: not in time, or another member has taken the lead.
        """
        end, term = time.monotonic() + timeout_s, self.replica.status().term
        while time.monotonic() < end:
            if self.replica.propose(b"a" * 64, timeout_s=timeout_s).exception() is None:
                return time.monotonic()
            status = self.replica.status()
            if status.term > term and status.leader_id not in ("", status.node_id):
                return None
            time.sleep(0.001)
        return None


def _payloads(size_bytes: int) -> Iterator[bytes]:
    return itertools.repeat(bytes(range(256)) * (size_bytes // 256))


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _serve(console: Console) -> None:
    console.replica.start()
    _say("started")
    for line in sys.stdin:
        _say(console.answer(json.loads(line)))
    console.replica.stop()


async def _run(spec: dict[str, Any]) -> None:
    if spec["machine"] == "keys":
        console = Console(spec, Keys(spec["kept"]))
    else:
        store = ReplicatedStore()
        console = Console(spec, store.machine)
        store.attach(console.replica)
    await asyncio.to_thread(_serve, console)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # answers alone go to stdout
    asyncio.run(_run(json.loads(sys.argv[1])))
