"""One cluster of managers, each on a host of its own with a failing disk, and a host for their clients.

No worker runs beside them and no engine: a manager needs neither.  What a test asks a manager about itself goes through
its local socket, past every network fault.
"""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
from swarm_api.control_pb2 import GetInfoRequest, GetInfoResponse, GetJoinTokensRequest, ListRequest
from swarm_api.control_pb2_grpc import ControlStub

from tests.nemesis.clients import Settings
from tests.nemesis.disk import Disk
from tests.testbed.cluster import Testbed, in_parallel
from tests.testbed.host import Host
from tests.testbed.process import ProcessRef, send_signal, wait_until

API_PORT = 2377
PROGRAM = "swarm-manager"
CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
START_S = 30.0


@dataclass
class Manager:
    """One manager, its host and its disk."""

    host: Host
    disk: Disk
    is_wanted: bool = False  # it was started, and nobody has killed it since
    _channel: grpc.Channel | None = field(default=None, repr=False)
    _launcher: ProcessRef | None = None

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def address(self) -> str:
        return f"{self.host.address}:{API_PORT}"

    @property
    def state_dir(self) -> Path:
        """/var/lib/raftswarm of the host, as seen from this machine."""
        return self.host.folder / "raftswarm"

    @property
    def log(self) -> Path:
        return self.host.folder / "manager.log"

    @property
    def clock_file(self) -> Path:
        """What its wall clock is off by; libfaketime looks again every second."""
        return self.host.folder / "clock"

    def start(self) -> None:
        """Start the process; nothing happens when it runs."""
        self.is_wanted = True
        if self.runs():
            return
        self.clock_file.touch()
        clock = {
            "LD_PRELOAD": str(CLOCK),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else monotonic waits, such as Python's for its lock, are late
            "NO_FAKE_STAT": "1",
        }
        variables = [f"{key}={value}" for key, value in clock.items()]
        run = [PROGRAM, "run", "--run-dir", str(self.host.folder / "run"), "--log-format", "json"]
        self._launcher = ProcessRef.of(self.host.spawn(["env", *variables, *run], self.log))

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self.is_wanted = False
        if self._launcher is not None:
            self._launcher.kill()  # before it becomes a manager, or after: then it does not matter
        for process in self.host.processes():
            if process.name in (PROGRAM, "env"):
                send_signal(process.pid, signal.SIGKILL)
        wait_until(lambda: not self.runs(), f"the end of the manager on {self.name}", 20)

    def runs(self) -> bool:
        """Whether there is such a process, or one that is about to become it."""
        is_coming = self._launcher is not None and self._launcher.alive()
        return is_coming or any(process.name == PROGRAM for process in self.host.processes())

    def step_clock(self, seconds: float) -> None:
        """Set its wall clock off by so much; the monotonic clock, as in the kernel, never steps."""
        self.clock_file.write_text(f"{seconds:+.0f}s\n")

    @property
    def control(self) -> ControlStub:
        """Its API over the local socket."""
        if self._channel is None:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
            self._channel = grpc.insecure_channel(f"unix:{self.host.folder}/run/manager.sock", options)
        return ControlStub(self._channel)

    def info(self) -> GetInfoResponse | None:
        """What it knows of the cluster; None while it does not say."""
        try:
            return self.control.GetInfo(GetInfoRequest(stale=True), timeout=2)
        except grpc.RpcError:
            return None

    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        info = self.info()
        return info is not None and bool(info.leader_id) and info.leader_id == info.node_id

    def services(self) -> set[tuple[str, int]]:
        """Its own copy: the ids and versions of all services."""
        listed = self.control.ListServices(ListRequest(stale=True), timeout=5).services
        return {(service.id, service.meta.version.index) for service in listed}

    def close(self) -> None:
        """Let go of it."""
        if self._channel is not None:
            self._channel.close()
        self.disk.unmount()


class Cluster:
    """`with Cluster(...)`: formed, and at the end gone without a trace."""

    def __init__(self, bed: Testbed, count: int, seed: int) -> None:
        self.bed = bed
        self._count = count
        self.managers: list[Manager] = []
        self._seed = seed

    def __enter__(self) -> Self:
        try:
            self._boot()
            self._form()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def client_host(self) -> Host:
        return self.bed.host(f"n{self._count + 1}")

    def leader(self) -> Manager | None:
        """Who takes itself for the leader, as far as anybody does."""
        awake = (m for m in self.managers if m.is_wanted and not m.host.cgroup.frozen())
        return next((m for m in awake if m.leads()), None)

    def clients(self, output: Path, seed: int, count: int, *, stale_reads: bool = False) -> subprocess.Popen[bytes]:
        """Let clients loose; they work until their stdin is closed, and end with 0 when they saw everything again."""
        settings = Settings(
            {m.name: m.address for m in self.managers},
            str(self.managers[0].state_dir / "node"),
            str(output),
            seed,
            f"register-{seed}-",
            count,
            stale_reads,
        )
        program = [sys.executable, "-m", "tests.nemesis.clients", json.dumps(vars(settings))]
        log = (self.client_host.folder / "clients.log").open("ab")
        command = self.client_host.exec_argv(program)
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.client_host.environment()
        )

    def settled(self) -> bool:
        """Whether all managers run, follow one leader and have the same state."""
        infos = [m.info() for m in self.managers]
        if any(info is None or not info.leader_id for info in infos):
            return False
        seen = {(info.leader_id, info.term, info.applied_index, info.commit_index) for info in infos if info}
        return len(seen) == 1 and len({frozenset(m.services()) for m in self.managers}) == 1

    def wait_settled(self, timeout_s: float = 60.0) -> None:
        """Until `settled`; NotReached when that does not come."""

        def settled() -> bool:
            try:
                return self.settled()
            except grpc.RpcError:
                return False

        wait_until(settled, "one leader and one state on all managers", timeout_s, period_s=0.1)

    def close(self) -> None:
        """Take everything away."""
        in_parallel(lambda host: host.power_off(), self.bed.hosts)
        for manager in self.managers:
            manager.close()
        self.bed.down()

    # ------------------------------------------------------------------------------------------- start

    def _boot(self) -> None:
        self.bed.down()  # what a run that was killed has left
        for index in range(1, self._count + 1):
            host = Host(self.bed.layout, self.bed.switch, f"n{index}")
            manager = Manager(host, Disk(host.folder / "raftswarm", self._seed + index))
            self.managers.append(manager)
            manager.disk.mount()
        self.bed.up(self._count + 1, engines=False)

    def _form(self) -> None:
        first, *others = self.managers
        first.host.run([PROGRAM, "init", "--advertise-address", first.address])
        first.start()
        wait_until(first.leads, "the first manager to lead", START_S, period_s=0.05)
        token = first.control.GetJoinTokens(GetJoinTokensRequest(), timeout=10).tokens.manager
        for other in others:
            self._enroll(other, first, token)
            other.start()
        wait_until(lambda: self._voters() == len(self.managers), "all managers to vote", START_S, period_s=0.05)
        self.wait_settled(START_S)

    def _enroll(self, other: Manager, via: Manager, token: str) -> None:
        settings = {
            "via": via.address,
            "token": token,
            "ca": str(via.state_dir / "node" / "ca.crt"),
            "node_dir": "/var/lib/raftswarm/node",
            "address": other.address,
        }
        other.host.run([sys.executable, "-m", "tests.nemesis.enroll", json.dumps(settings)])

    def _voters(self) -> int:
        info = self.managers[0].info()
        return 0 if info is None else sum(member.voter for member in info.managers)
