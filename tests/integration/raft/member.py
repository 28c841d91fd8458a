"""One Raft member as a process, driven by JSON lines: the replicas under test are real processes.

    python member.py '{"dir": ..., "node_id": ..., "listen": ..., "members": [[id, address], ...], ...}'

Requests on stdin, answers on stdout; `load` streams acknowledgements until the process is told or killed.
"""

import json
import logging
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from swarm_api.identity import NodeCredentials
from swarm_manager.raft import Member, RaftConfig, RaftError, Replica, TlsIdentity
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.sealed_disk import open_folder


class KeyValue:
    """key (24 bytes) -> index of the write.  Counts what it applied, so that a double apply shows."""

    def __init__(self) -> None:
        self.keys: dict[bytes, int] = {}
        self.applied = 0

    def apply(self, index: int, term: int, payload: bytes) -> object:
        if payload.startswith(b"raise"):
            raise ValueError("the machine was asked to fail")
        self.applied += 1
        self.keys[payload[:24]] = index
        return index

    def snapshot(self) -> object:
        return self.applied, dict(self.keys)

    def dump(self, image: object) -> Iterator[bytes]:
        applied, keys = image  # type: ignore[misc]
        yield struct.pack("<Q", applied)
        for key, index in keys.items():
            yield key.ljust(24) + struct.pack("<Q", index)

    def read(self, data: bytes | memoryview) -> object:
        (applied,) = struct.unpack_from("<Q", data)
        keys = {
            bytes(data[at : at + 24]).rstrip(): struct.unpack_from("<Q", data, at + 24)[0]
            for at in range(8, len(data), 32)
        }
        return applied, keys

    def load(self, image: object, index: int) -> None:
        self.applied, self.keys = image  # type: ignore[misc]

    def parts(self, image: object) -> list[object]:
        return [image]


class Console:
    """Runs one request at a time; answers are one line each."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self.machine = KeyValue()
        settings = spec.get("settings", {})
        config = RaftConfig(
            node_id=spec["node_id"],
            listen=spec["listen"],
            advertise=spec.get("advertise", spec["listen"]),
            cluster_id=spec["cluster_id"],
            members=tuple(Member(*member) for member in spec["members"]),
            joining=spec.get("joining", False),
            seeds=tuple(spec.get("seeds", ())),
            **settings,
        )
        identity = TlsIdentity(NodeCredentials.load(Path(spec["dir"]) / "node"))
        self.identity = identity
        self.dir = Path(spec["dir"])
        disk = open_folder(self.dir / "raft", KeyFile(LocalDisk(self.dir / "keys")))
        self.replica = Replica(config, self.machine, identity, disk=disk)
        self.leadership: list[tuple[bool, int]] = []
        self.replica.on_leadership(lambda ready, term: self.leadership.append((ready, term)))
        self.replica.start()

    def say(self, answer: object) -> None:
        with self._lock:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    def run(self, request: dict[str, Any]) -> object:
        verb: Callable[..., object] = getattr(self, "do_" + request.pop("do"))
        try:
            return verb(**request)
        except (RaftError, TimeoutError) as error:
            return {"error": type(error).__name__, "text": str(error)}

    def do_status(self) -> object:
        status = self.replica.status()
        return {
            "leader": status.leader_id,
            "ready": status.is_leader,
            "term": status.term,
            "commit": status.commit_index,
            "applied": status.applied_index,
            "last": status.last_index,
            "snapshot": status.snapshot_index,
            "members": dict(status.members),
            "voters": sorted(status.voters),
            "connected": sorted(status.connected),
            "responding": sorted(status.responding),
            "removed": status.removed,
            "disk_problem": status.disk_problem,
            "longest_tick_s": status.longest_tick_s,
            "machine": self.machine.applied,
        }

    def do_propose(self, key: str, timeout_s: float = 5.0, size: int = 0) -> object:
        payload = key.encode().ljust(max(size, 1), b"x") if size else key.encode()
        result = self.replica.propose(payload, timeout_s=timeout_s).result(timeout_s + 5)
        return {"result": result if not isinstance(result, Exception) else repr(result)}

    def do_keys(self) -> object:
        return sorted(key.decode() for key in dict(self.machine.keys))

    def do_read(self) -> object:
        return {"index": self.replica.read_index(2.0).result(5), "applied": self.replica.status().applied_index}

    def do_add(self, node_id: str, address: str, timeout_s: float = 10.0) -> object:
        after = self.replica.add_member(node_id, address, timeout_s=timeout_s).result(timeout_s + 5)
        return [[m.node_id, m.address, m.voter] for m in after.members.values()]

    def do_remove(self, node_id: str, force: bool = False) -> object:
        after = self.replica.remove_member(node_id, force=force).result(15)
        return sorted(after.members)

    def do_remove_at_once(self, node_ids: list[str]) -> object:
        """What each removal left, in the order in which they were asked for."""
        asked = [self.replica.remove_member(node_id) for node_id in node_ids]
        return [sorted(one.result(15).members) for one in asked]

    def do_transfer(self, node_id: str | None = None) -> object:
        self.replica.transfer_leadership(node_id).result(15)
        return "done"

    def do_reload(self) -> object:
        self.identity.replace(NodeCredentials.load(self.dir / "node"))
        return "done"

    def do_leadership(self) -> object:
        return self.leadership

    def do_load(self, prefix: str, outstanding: int = 32) -> object:
        """Write for ever, saying each key that was acknowledged."""
        threading.Thread(target=self._load, args=(prefix, outstanding), daemon=True).start()
        return "loading"

    def _load(self, prefix: str, outstanding: int) -> None:
        slots = threading.Semaphore(outstanding)
        number = 0
        while True:
            slots.acquire()
            key = f"{prefix}-{number:08d}"
            number += 1
            future = self.replica.propose(key.encode(), timeout_s=5)
            future.add_done_callback(lambda done, key=key: self._said(done, key, slots))  # type: ignore[misc]

    def _said(self, done: "Future[object]", key: str, slots: threading.Semaphore) -> None:
        if done.exception() is None:
            self.say({"ack": key})
        slots.release()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        console = Console(json.loads(sys.argv[1]))
    except (RaftError, OSError) as error:
        print(json.dumps({"refused": type(error).__name__, "text": str(error)}), flush=True)
        sys.exit(1)
    console.say("started")
    for line in sys.stdin:
        console.say({"answer": console.run(json.loads(line))})
    console.replica.stop()


if __name__ == "__main__":
    main()
