"""A cluster of real manager processes on loopback, for the tests of this folder."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from swarm_api.identity import ROLE_MANAGER, NodeCredentials, new_key_and_csr, utc_now
from swarm_manager import pki

from tests.ports import free_port

CLUSTER_ID = "c" * 25
SCRIPT = Path(__file__).with_name("member.py")


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """The first true value of `condition`, or an AssertionError that says what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.01)


class Refused(Exception):
    """The member said why it does not start."""


class MemberProcess:
    """One member; `ask` sends a request and waits for its answer."""

    def __init__(self, spec: dict[str, Any], log: Path, preexec: Callable[[], None] | None = None) -> None:
        self.spec = spec
        self.acks: list[str] = []
        self._answers: queue.Queue[Any] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("ab"),
            text=True,
            preexec_fn=preexec,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        first = self._answers.get(timeout=20)
        if isinstance(first, dict) and "refused" in first:
            self.process.wait(10)
            raise Refused(f"{first['refused']}: {first['text']}")

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith("\n"):
                break  # it was killed while speaking
            said = json.loads(line)
            if isinstance(said, dict) and "ack" in said:
                self.acks.append(said["ack"])
            else:
                self._answers.put(said)
        self._answers.put(None)

    def ask(self, do: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        said = self._answers.get(timeout=30)
        if said is None:
            raise AssertionError(f"the member {self.spec['node_id']} has ended")
        return said["answer"]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9, and wait until everything it said has been read."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        wait_for("the pipe to close", lambda: self._answers.queue and self._answers.queue[-1] is None)

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


class Cluster:
    """Members by id; `n` of them form the cluster at the start."""

    def __init__(self, folder: Path, n: int = 3, *, valid_s: float = 1e6, **settings: Any) -> None:
        self.folder = folder
        self.valid_s = valid_s
        self.settings = settings
        self.ca = pki.create_ca(CLUSTER_ID, utc_now())
        self.ids = [f"{'abcdefgh'[i]}" * 25 for i in range(n)]
        self.addresses = {node_id: f"127.0.0.1:{free_port()}" for node_id in self.ids}
        self.members: dict[str, MemberProcess] = {}
        self.founding = [[node_id, self.addresses[node_id]] for node_id in self.ids]
        for node_id in self.ids:
            self.start(node_id)

    def credentials(
        self, node_id: str, role: str = ROLE_MANAGER, cluster_id: str = CLUSTER_ID, valid_s: float | None = None
    ) -> NodeCredentials:
        key, csr = new_key_and_csr()
        certificate = pki.issue_from_csr(
            self.ca,
            csr,
            node_id=node_id,
            role=role,
            cluster_id=cluster_id,
            now=utc_now(),
            validity=timedelta(seconds=self.valid_s if valid_s is None else valid_s),
        )
        return NodeCredentials(self.ca.certificate_pem, certificate, key)

    def dir(self, node_id: str) -> Path:
        return self.folder / node_id[:4]

    def start(self, node_id: str, **changes: Any) -> MemberProcess:
        folder = self.dir(node_id)
        if not (folder / "node").exists():
            self.credentials(node_id).save(folder / "node")
        preexec = changes.pop("preexec", None)
        address = self.addresses.setdefault(node_id, f"127.0.0.1:{free_port()}")
        spec = {
            "dir": str(folder),
            "node_id": node_id,
            "listen": address,
            "cluster_id": CLUSTER_ID,
            "members": self.founding,
            "settings": self.settings,
            **changes,
        }
        self.members[node_id] = MemberProcess(spec, self.folder / "log", preexec)
        return self.members[node_id]

    def join(self, node_id: str) -> MemberProcess:
        """Add a new manager through the leader and start it."""
        address = self.addresses.setdefault(node_id, f"127.0.0.1:{free_port()}")
        members = self.leader().ask("add", node_id=node_id, address=address)
        assert isinstance(members, list), members
        return self.start(node_id, members=members, joining=True)

    def living(self) -> list[MemberProcess]:
        return [member for member in self.members.values() if member.alive]

    def leader(self, timeout_s: float = 20.0) -> MemberProcess:
        """A living member that leads and may act."""

        def ready() -> MemberProcess | None:
            return next((m for m in self.living() if m.ask("status")["ready"]), None)

        member: MemberProcess = wait_for("a leader", ready, timeout_s)
        return member

    def complete(self) -> MemberProcess:
        """Wait until the leader hears from all that live; the leader."""
        leader = self.leader()
        wait_for(
            "all members to answer the leader",
            lambda: len(leader.ask("status")["responding"]) == len(self.living()) - 1,
        )
        return leader

    def converged(self, timeout_s: float = 20.0) -> None:
        """Wait until all living members have applied the same, up to the leader's last entry."""

        def same() -> bool:
            states = [member.ask("status") for member in self.living()]
            return len({(s["applied"], s["last"], s["machine"]) for s in states}) == 1

        wait_for("all members to have applied the same", same, timeout_s)

    def close(self) -> None:
        for member in self.members.values():
            if member.alive:
                member.process.kill()
            member.process.wait(10)
            for pipe in (member.process.stdin, member.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


@contextlib.contextmanager
def running(folder: Path, n: int = 3, **settings: Any) -> Iterator[Cluster]:
    """A cluster that is gone afterwards, whatever happens."""
    cluster = Cluster.__new__(Cluster)
    try:
        cluster.members = {}
        cluster.__init__(folder, n, **settings)  # type: ignore[misc]
        yield cluster
    finally:
        cluster.close()


def file_limit(size_bytes: int) -> Callable[[], None]:
    """For `preexec`: writes beyond this file size fail, as on a full disk."""
    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    return limit


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
