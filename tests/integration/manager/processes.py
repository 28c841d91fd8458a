"""Real manager processes on loopback, and clients of theirs: a user, and a worker that only pretends to run tasks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
from swarm_api import ca_pb2, identity
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.control_pb2 import GetInfoRequest, GetInfoResponse
from swarm_api.control_pb2_grpc import ControlStub
from swarm_api.dispatcher_pb2 import (
    Assignment,
    HeartbeatRequest,
    SessionMessage,
    SessionRequest,
    TaskReport,
    UpdateTaskStatusRequest,
)
from swarm_api.dispatcher_pb2_grpc import DispatcherStub
from swarm_api.identity import NodeCredentials
from swarm_api.join_token import JoinToken
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import TaskState

from tests.ports import free_ports

T = TypeVar("T")
START_S = 15.0
NAME = (
    ("grpc.ssl_target_name_override", "swarm-manager"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
)


def wait_for(what: str, probe: Callable[[], T | None], limit_s: float = START_S) -> T:
    """The first thing `probe` returns that is true; AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + limit_s
    problem: object = None
    while time.monotonic() < deadline:
        try:
            found = probe()
        except grpc.RpcError as error:
            problem = f"{error.code()}: {error.details()}"
        else:
            if found:
                return found
            problem = found
        time.sleep(0.02)
    raise AssertionError(f"waited {limit_s} s for {what}; last seen: {problem}")


def api_ports(count: int) -> list[int]:
    """Ports for the APIs of managers; each has its Raft port beside it."""
    return [free_ports(2)[0] for _ in range(count)]


def service(name: str, replicas: int = 1) -> ServiceSpec:
    """A service that nothing ever runs."""
    spec = ServiceSpec()
    spec.annotations.name = name
    spec.task.container.image = "busybox"
    spec.replicated.replicas = replicas
    return spec


def save_node(node_dir: Path, answer: ca_pb2.IssueNodeCertificateResponse, key_pem: bytes, address: str) -> None:
    """A manager's identity, as the node's daemon writes it down."""
    NodeCredentials(answer.ca_pem, answer.certificate_pem, key_pem).save(node_dir)
    data = {
        "node_id": answer.node_id,
        "cluster_id": answer.cluster_id,
        "role": "swarm-manager",
        "managers": [peer.address for peer in answer.managers],
        "advertise_address": address,
        "listen_address": address,
    }
    identity.write_private(node_dir / "node.json", json.dumps(data).encode())


class ManagerProcess:
    """One `swarm-manager run`, its folders, and clients to it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{port}"
        self.state_dir = folder / "state"
        self.run_dir = folder / "run"
        self.process: subprocess.Popen[bytes] | None = None
        self._channels: list[grpc.Channel] = []

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    @property
    def node_id(self) -> str:
        return str(json.loads((self.state_dir / "node/node.json").read_text())["node_id"])

    @property
    def credentials(self) -> NodeCredentials:
        return NodeCredentials.load(self.state_dir / "node")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "swarm_manager.server", *arguments, "--state-dir", str(self.state_dir)]

    def init(self) -> dict[str, str]:
        """Make a new cluster; what `init` printed."""
        command = self.command("init", "--advertise-address", self.address, "--listen-address", self.address)
        done = subprocess.run(command, capture_output=True, check=True, timeout=30)
        return dict(json.loads(done.stdout))

    def join(self, via: "ManagerProcess", token: str) -> None:
        """Get a manager's certificate and write down what the node's daemon would."""
        key_pem, csr_pem = identity.new_key_and_csr()
        request = ca_pb2.IssueNodeCertificateRequest(csr_pem=csr_pem, hostname=self.folder.name)
        with via.joiner_channel(token) as channel:
            self.become(CaStub(channel).IssueNodeCertificate(request, timeout=10), key_pem)

    def become(self, answer: ca_pb2.IssueNodeCertificateResponse, key_pem: bytes) -> None:
        """Write down an identity as the node's daemon does."""
        save_node(self.state_dir / "node", answer, key_pem, self.address)

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            command = self.command("run", "--run-dir", str(self.run_dir), "--log-format", "json")
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def stop(self) -> None:
        for channel in self._channels:
            channel.close()
        self._channels.clear()
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    # ---------------------------------------------------------------------------------------- clients

    def channel(self, own: NodeCredentials | None = None) -> grpc.Channel:
        """mTLS, as this manager's own node unless other credentials are given."""
        own = own or self.credentials
        credentials = grpc.ssl_channel_credentials(own.ca_pem, own.key_pem, own.certificate_pem)
        channel = grpc.secure_channel(self.address, credentials, NAME)
        self._channels.append(channel)
        return channel

    def joiner_channel(self, token: str) -> grpc.Channel:
        """As the holder of a join token, of whichever role it is."""
        worker = self.tokens()["worker"] == token
        role = identity.JOINER_WORKER if worker else identity.JOINER_MANAGER
        leaf, key = identity.joiner_leaf(JoinToken.parse(token).secret, role, identity.utc_now())
        return self.channel(NodeCredentials(self.credentials.ca_pem, leaf, key))

    def tokens(self) -> dict[str, str]:
        from swarm_api.control_pb2 import GetJoinTokensRequest

        tokens = self.control.GetJoinTokens(GetJoinTokensRequest(), timeout=10).tokens
        return {"worker": tokens.worker, "manager": tokens.manager}

    @property
    def control(self) -> ControlStub:
        """The Control API over TCP."""
        return ControlStub(self.channel())

    @property
    def local(self) -> ControlStub:
        """The Control API over the unix socket."""
        channel = grpc.insecure_channel(f"unix:{self.run_dir}/manager.sock")
        self._channels.append(channel)
        return ControlStub(channel)

    def info(self, *, stale: bool = True) -> GetInfoResponse:
        return self.control.GetInfo(GetInfoRequest(stale=stale), timeout=5)

    def wait_until_leading(self) -> None:
        wait_for("a leader with a cluster", lambda: self.info().leader_id and self.info().cluster_id)


def grow(cluster: list[ManagerProcess]) -> None:
    """Make a cluster of the first, and let the others join."""
    first, *others = cluster
    first.init()
    first.start()
    first.wait_until_leading()
    token = first.tokens()["manager"]
    for other in others:
        other.join(first, token)
        other.start()
    wait_for("three voters", lambda: sum(m.voter for m in first.info().managers) == len(cluster))
    for other in others:
        wait_for("the state", lambda other=other: other.info().cluster_id)  # type: ignore[misc]  # a string


class FakeWorker:
    """A node that holds a session and pretends that every task it is given runs."""

    def __init__(self, manager: ManagerProcess, token: str, hostname: str = "fake") -> None:
        key_pem, csr_pem = identity.new_key_and_csr()
        request = ca_pb2.IssueNodeCertificateRequest(csr_pem=csr_pem, hostname=hostname)
        with manager.joiner_channel(token) as channel:
            answer = CaStub(channel).IssueNodeCertificate(request, timeout=10)
        self.node_id: str = answer.node_id
        self.hostname = hostname
        self.boot_id = int.from_bytes(os.urandom(4), "big")
        self.credentials = NodeCredentials(answer.ca_pem, answer.certificate_pem, key_pem)
        self.assignments: dict[str, Assignment] = {}
        self.session_id = ""
        self.messages: list[SessionMessage] = []

    def open(self, manager: ManagerProcess) -> Iterator[SessionMessage]:
        """Open a session; the stream. `take` reads from it."""
        self.dispatcher = DispatcherStub(manager.channel(self.credentials))
        request = SessionRequest(address="127.0.0.1", boot_id=self.boot_id)
        request.description.hostname = self.hostname
        request.description.resources.nano_cpus = 4_000_000_000
        request.description.resources.memory_bytes = 8 << 30
        request.description.platform.os = "linux"
        request.description.platform.architecture = "amd64"
        self.stream: Any = self.dispatcher.Session(request, timeout=60)
        self.take()
        return cast("Iterator[SessionMessage]", self.stream)

    def take(self) -> SessionMessage:
        """The next message, applied."""
        message: SessionMessage = next(self.stream)
        self.messages.append(message)
        self.session_id = message.session_id
        if message.full:
            self.assignments.clear()
        for item in message.set:
            self.assignments[item.key] = item
        for key in message.removed:
            del self.assignments[key]
        return message

    def tasks(self) -> list[Task]:
        return [item.task for item in self.assignments.values() if item.HasField("task")]

    def heartbeat(self) -> None:
        beats: Any = self.dispatcher.Heartbeat(iter([HeartbeatRequest(session_id=self.session_id)]), timeout=5)
        next(beats)

    def report(self, task: Task, state: "TaskState.ValueType", message: str = "") -> None:
        report = TaskReport(task_id=task.id)
        report.status.state = state
        report.status.message = message
        report.status.timestamp.GetCurrentTime()
        request = UpdateTaskStatusRequest(session_id=self.session_id, reports=[report])
        self.dispatcher.UpdateTaskStatus(request, timeout=5)
