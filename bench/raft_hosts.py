"""Three hosts of a testbed, without engines, and a Raft member (bench.raft_member) on each of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm_api.identity import ROLE_MANAGER, NodeCredentials, new_key_and_csr, utc_now
from swarm_manager import pki
from swarm_manager.raft import Member
from swarm_manager.raft.at_rest import write_founding
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.sealed_disk import open_folder

from bench.side import BenchError
from tests.testbed import requirements
from tests.testbed.cluster import Testbed, in_parallel
from tests.testbed.host import Host
from tests.testbed.process import wait_until
from tests.testbed.switch import Switch

MANAGERS = 3
CLUSTER_ID = "bench"
PORT = 2378
FOLDER = "bench"  # below /var/lib/raftswarm
SETTLE_S = 60.0
FOUNDED_AT = 1000  # the log index that a planted state is at
_PROGRAM = "bench.raft_member"
KEPT_ITEMS = 1000  # of the machine `keys`: a state of about a megabyte


@dataclass(frozen=True)
class BareHosts:
    """Hosts that run nothing yet."""

    switch: Switch
    hosts: list[Host]


@contextlib.contextmanager
def bare_hosts(name: str, count: int = MANAGERS) -> Iterator[BareHosts]:
    """Fresh hosts; nothing of them is left afterwards."""
    requirements.add_sbin_to_path()
    with Testbed(name) as testbed:
        testbed.down()  # what an interrupted run left
        testbed.layout.folder.mkdir(parents=True)
        testbed.switch.up()
        layout = testbed.layout
        hosts = [Host(layout, testbed.switch, layout.host_name(number + 1)) for number in range(count)]
        in_parallel(lambda host: host.power_on(None), hosts)
        yield BareHosts(testbed.switch, hosts)


@dataclass
class Process:
    """A running member: requests and answers are lines of JSON."""

    child: subprocess.Popen[str]

    def ask(self, do: str, **arguments: object) -> Any:
        self.send(do, **arguments)
        return self.answer()

    def send(self, do: str, **arguments: object) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.child.stdin.flush()

    def answer(self) -> Any:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise BenchError("a Raft member ended: see raft.log in its host's folder")
        return json.loads(line)


@dataclass
class RaftHosts:
    """A Raft cluster with a member on each host.  `form` begins anew, with empty disks."""

    hosts: Sequence[Host]
    name: str = "Raftswarm"
    _specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _running: dict[str, Process] = field(default_factory=dict)

    def form(self, machine: str, **settings: object) -> None:
        """Members with this machine (`keys` or `store`) and these settings of RaftConfig; waits for a leader."""
        self._prepare(machine, settings)
        for host in self.hosts:
            self.start(host)
        self.leader()

    def found(self, state: Iterator[bytes], **settings: object) -> None:
        """One member alone whose machine `store` has this state (as `core.codec.dump` writes it)."""
        self._prepare("store", settings)
        first = self.hosts[0]
        with contextlib.closing(KeyFile(LocalDisk(_folder(first) / "keys"))) as key_file:
            disk = open_folder(_folder(first) / "raft", key_file)
            write_founding(disk, Member(_id(first), _address(first)), state, index=FOUNDED_AT, term=1)
            disk.close()
        self.start(first)
        self.leader()

    def join(self, host: Host) -> None:
        """Start a further member on an empty disk, once the leader has taken it in."""
        members = self.on(self.leader()).ask("add", node_id=_id(host), address=_address(host))
        self._specs[host.name] |= {"members": members, "joining": True}
        self.start(host)

    def _prepare(self, machine: str, settings: dict[str, object]) -> None:
        """Empty disks, but for certificates."""
        self.stop()
        ca = pki.create_ca(CLUSTER_ID, utc_now())
        members = [[_id(host), _address(host)] for host in self.hosts]
        for host in self.hosts:
            shutil.rmtree(_folder(host), ignore_errors=True)
            key, csr = new_key_and_csr()
            certificate = pki.issue_from_csr(
                ca, csr, node_id=_id(host), role=ROLE_MANAGER, cluster_id=CLUSTER_ID, now=utc_now()
            )
            NodeCredentials(ca.certificate_pem, certificate, key).save(_folder(host) / "node")
            self._specs[host.name] = {
                "dir": f"/var/lib/raftswarm/{FOLDER}",
                "node_id": _id(host),
                "address": _address(host),
                "cluster_id": CLUSTER_ID,
                "members": members,
                "joining": False,
                "machine": machine,
                "kept": KEPT_ITEMS,
                "settings": settings,
            }

    def start(self, host: Host, **settings: object) -> Process:
        """Start a member, with other settings if given; returns once it has read its disk."""
        spec = self._specs[host.name]
        spec["settings"] = {**spec["settings"], **settings}
        argv = host.exec_argv([sys.executable, "-m", _PROGRAM, json.dumps(spec)])
        log = (host.folder / "raft.log").open("ab")
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=host.environment()
        )
        log.close()
        process = self._running[host.name] = Process(child)
        if process.answer() != "started":
            raise BenchError(f"the Raft member on {host.name} did not start")
        return process

    def on(self, host: Host) -> Process:
        return self._running[host.name]

    def others(self, host: Host) -> list[Host]:
        return [other for other in self.hosts if other.name != host.name]

    def leader(self) -> Host:
        """The leader's host, once all running members answer it and know its term."""
        wait_until(lambda: self._complete_leader() is not None, "a leader that all members answer", SETTLE_S)
        found = self._complete_leader()
        return found if found is not None else self.leader()

    def _complete_leader(self) -> Host | None:
        told = {name: process.ask("status") for name, process in self._running.items()}
        if len({status["term"] for status in told.values()}) > 1:
            return None  # one that has just started, or was cut off, does not know of the newest yet
        for host in self.hosts:
            status = told.get(host.name)
            if status and status["ready"] and status["responding"] == len(told) - 1:
                return host
        return None

    def wait_applied(self, host: Host, index: int) -> None:
        process = self._running[host.name]
        wait_until(lambda: process.ask("status")["applied"] >= index, f"{host.name} to apply entry {index}", SETTLE_S)

    def pid(self, host: Host) -> int:
        """The member's, as this machine counts."""
        return next(process.pid for process in host.processes() if _PROGRAM in process.command)

    def disk_bytes(self, host: Host) -> int:
        """What the member keeps on its disk."""
        sizes = 0
        for file in (_folder(host) / "raft").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a segment that was dropped meanwhile
                sizes += file.stat().st_size
        return sizes

    def kill(self, host: Host) -> None:
        """kill -9."""
        os.kill(self.pid(host), signal.SIGKILL)
        _close(self._running.pop(host.name))

    def stop(self, host: Host | None = None) -> None:
        """End this member, or all, in good order."""
        for name in [host.name] if host is not None else list(self._running):
            process = self._running.pop(name)
            assert process.child.stdin is not None
            process.child.stdin.close()
            _close(process)


def _close(process: Process) -> None:
    process.child.wait(30)
    for pipe in (process.child.stdin, process.child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _id(host: Host) -> str:
    return f"member-{host.name}"


def _address(host: Host) -> str:
    return f"{host.address}:{PORT}"


def _folder(host: Host) -> Path:
    return host.folder / "raftswarm" / FOLDER
