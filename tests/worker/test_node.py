"""A machine becomes a node and stops being one, asked over the daemon's socket as swarm-cli asks it."""

import asyncio
import contextlib
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from swarm_api.ca_pb2_grpc import add_CaServicer_to_server
from swarm_api.control_pb2 import UnlockRequest, UnlockResponse
from swarm_api.control_pb2_grpc import ControlServicer, add_ControlServicer_to_server
from swarm_api.dispatcher_pb2 import Assignment, ManagerPeer, SessionMessage
from swarm_api.dispatcher_pb2_grpc import add_DispatcherServicer_to_server
from swarm_api.identity import ROLE_MANAGER, ROLE_WORKER
from swarm_api.node_pb2 import InitRequest, JoinRequest, LeaveRequest, StatusRequest, StatusResponse
from swarm_api.node_pb2_grpc import NodeControlStub
from swarm_api.types_pb2 import NodeRole, TaskState
from swarm_worker.config import Config
from swarm_worker.control import serve
from swarm_worker.node import Node
from swarm_worker.storage import NodeFile, NodeStore

from tests.worker.fake_ca import FakeCa
from tests.worker.fakes import FakeEngine, FakeLeader, FakeNetwork
from tests.worker.story import make_task
from tests.worker.waiting import until


@dataclass
class Machine:
    """A machine with a daemon, and the cluster it may join."""

    config: Config
    engine: FakeEngine
    node: Node
    control: NodeControlStub

    async def status(self) -> StatusResponse:
        return await self.control.Status(StatusRequest(), timeout=5)  # type: ignore[misc]  # of the aio stub

    async def refusal(self, call: "grpc.aio.UnaryUnaryCall[object, object]") -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        return refused.value.code(), refused.value.details() or ""


@contextlib.asynccontextmanager
async def machine(folder: Path, *, may_wait: bool = False) -> AsyncIterator[Machine]:
    config = Config(state_dir=folder / "state", run_dir=folder / "run")
    config.run_dir.mkdir(exist_ok=True)
    engine = FakeEngine()
    node = Node(config, lambda _config, _node: (engine, FakeNetwork()))
    node.start(may_wait=may_wait)
    server = await serve(node, config.socket_path)
    try:
        async with grpc.aio.insecure_channel(f"unix:{config.socket_path}") as channel:
            yield Machine(config, engine, node, NodeControlStub(channel))
    finally:
        await node.stop()
        await server.stop(None)


@pytest.fixture
async def this(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path) as made:
        yield made


class Cluster:
    """One manager: CA and dispatcher behind the real mutual TLS."""

    def __init__(self) -> None:
        self.ca, self.leader = FakeCa(), FakeLeader()
        self.address = ""


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    own = made.ca.credentials("manager1", ROLE_MANAGER)
    trusted = made.ca.ca.certificate_pem + b"".join(made.ca.anchors.values())
    chain = own.certificate_pem + made.ca.ca.certificate_pem
    server = grpc.aio.server()
    add_CaServicer_to_server(made.ca, server)
    add_DispatcherServicer_to_server(made.leader, server)
    tls = grpc.ssl_server_credentials([(own.key_pem, chain)], trusted, require_client_auth=True)
    made.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', tls)}"
    await server.start()
    yield made
    await server.stop(None)


async def test_a_machine_joins_works_and_leaves(this: Machine, cluster: Cluster) -> None:
    assert await this.status() == StatusResponse()
    cluster.leader.full = [Assignment(key="task/t1", task=make_task())]
    request = JoinRequest(token=cluster.ca.token(), remote_addresses=[cluster.address])
    answer = await this.control.Join(request, timeout=20)
    assert (answer.node_id, answer.role) == ("node7", NodeRole.WORKER)
    status = await this.status()
    assert (status.node_id, status.connected, status.leader_address) == ("node7", True, cluster.address)
    assert cluster.leader.requests[0].address == "127.0.0.1", "the address that reaches the manager"
    await until(lambda: this.engine.calls == ["create t1", "start c-t1"])

    await this.control.Leave(LeaveRequest(), timeout=20)
    assert this.engine.containers == {}
    assert cluster.leader.reports[-1].status.state == TaskState.SHUTDOWN, "the leader heard of it"
    assert await this.status() == StatusResponse()
    assert not (this.config.state_dir / "node").exists()


async def test_a_node_is_still_one_after_the_daemon_s_restart(tmp_path: Path, cluster: Cluster) -> None:
    async with machine(tmp_path) as first:
        await first.control.Join(JoinRequest(token=cluster.ca.token(), remote_addresses=[cluster.address]), timeout=20)
    async with machine(tmp_path) as again:
        await until(lambda: again.node.status().connected)
        assert (await again.status()).node_id == "node7"


async def test_managers_are_remembered(this: Machine, cluster: Cluster) -> None:
    await this.control.Join(JoinRequest(token=cluster.ca.token(), remote_addresses=[cluster.address]), timeout=20)
    message = cluster.leader.messages
    peers = [ManagerPeer(node_id="m1", address=cluster.address), ManagerPeer(node_id="m2", address="10.0.0.2:2377")]
    message.put_nowait(SessionMessage(sequence=2, managers=peers))
    store = NodeStore(this.config.state_dir)
    await until(lambda: (node := store.load_node()) and node.managers == (cluster.address, "10.0.0.2:2377"))


async def test_a_node_cannot_become_one_again(this: Machine, cluster: Cluster) -> None:
    request = JoinRequest(token=cluster.ca.token(), remote_addresses=[cluster.address])
    await this.control.Join(request, timeout=20)
    for call in (this.control.Join(request, timeout=20), this.control.Init(InitRequest(), timeout=20)):
        code, why = await this.refusal(call)  # type: ignore[arg-type]  # of the aio stub
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert why.startswith("This machine is a node already")


async def test_a_bad_token_leaves_the_machine_as_it_was(this: Machine, cluster: Cluster) -> None:
    request = JoinRequest(token=FakeCa().token(), remote_addresses=[cluster.address])
    code, why = await this.refusal(this.control.Join(request, timeout=20))  # type: ignore[arg-type]
    assert (code, "does not belong to the cluster" in why) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert not (this.config.state_dir / "node").exists()


async def test_who_is_no_node_cannot_leave(this: Machine) -> None:
    code, why = await this.refusal(this.control.Leave(LeaveRequest(), timeout=5))  # type: ignore[arg-type]
    assert (code, why) == (grpc.StatusCode.FAILED_PRECONDITION, "This machine is not part of a cluster.")


async def test_a_manager_that_cannot_leave_raft_says_why_and_stays(tmp_path: Path) -> None:
    store = NodeStore(tmp_path / "state")
    FakeCa().credentials("node7", ROLE_MANAGER).save(store.node_dir)
    store.save_node(NodeFile("node7", "cluster1", ROLE_MANAGER, "127.0.0.1:1", "", ()))
    async with machine(tmp_path) as this:
        code, why = await this.refusal(this.control.Leave(LeaveRequest(), timeout=15))  # type: ignore[arg-type]
        assert (code, why.endswith("Use --force to leave all the same.")) == (grpc.StatusCode.FAILED_PRECONDITION, True)
        assert (await this.status()).node_id == "node7"
        await this.control.Leave(LeaveRequest(force=True), timeout=30)
        assert await this.status() == StatusResponse()


async def test_a_manager_that_waits_for_the_unlock_key_shows(tmp_path: Path) -> None:
    store = NodeStore(tmp_path / "state")
    FakeCa().credentials("node7", ROLE_MANAGER).save(store.node_dir)
    store.save_node(NodeFile("node7", "cluster1", ROLE_MANAGER, "127.0.0.1:1", "", ()))
    async with machine(tmp_path) as this:
        assert not (await this.status()).locked
        this.config.locked_mark.touch()
        status = await this.status()
        assert (status.locked, "run 'swarm-cli unlock'" in status.manager_state) == (True, True)


class LockedManager(ControlServicer):
    """Waits for the key; it begins to listen late."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def Unlock(self, request: UnlockRequest, context: object) -> UnlockResponse:  # noqa: N802
        self.keys.append(request.unlock_key)
        return UnlockResponse()


async def test_this_node_s_manager_is_unlocked_though_another_one_leads_already(
    tmp_path: Path, cluster: Cluster
) -> None:
    store = NodeStore(tmp_path / "state")
    cluster.ca.credentials("node7", ROLE_MANAGER).save(store.node_dir)
    store.save_node(NodeFile("node7", "cluster1", ROLE_MANAGER, "127.0.0.1:1", "", (cluster.address,)))
    async with machine(tmp_path) as this:
        await until(lambda: this.node.status().connected)
        assert this.node.member is not None
        unlocking = asyncio.ensure_future(this.node.member.unlock_manager("the key"))
        locked, server = LockedManager(), grpc.aio.server()
        add_ControlServicer_to_server(locked, server)
        server.add_insecure_port(f"unix:{this.config.manager_socket}")
        await server.start()
        await unlocking
        assert locked.keys == ["the key"]
        await server.stop(None)


async def test_a_damaged_identity_is_told_and_can_be_thrown_away(tmp_path: Path) -> None:
    store = NodeStore(tmp_path / "state")
    store.save_node(NodeFile("node7", "cluster1", ROLE_WORKER, "127.0.0.1:1", "", ()))  # without certificate
    async with machine(tmp_path) as this:
        assert "cannot be used" in (await this.status()).last_error
        await this.control.Leave(LeaveRequest(force=True), timeout=5)
        assert (await this.status()).last_error == ""
        assert store.load_node() is None


async def test_the_socket_is_root_s_alone(this: Machine) -> None:
    assert stat.S_IMODE(this.config.socket_path.stat().st_mode) == 0o600


class TestCommand:
    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", "import sys; from swarm_worker.daemon import main; sys.exit(main())"]
        return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def folders(self, tmp_path: Path) -> list[str]:
        return ["--state-dir", str(tmp_path / "s"), "--run-dir", str(tmp_path / "r")]

    def test_help_teaches(self) -> None:
        out, _ = self.run("--help").communicate(timeout=30)
        assert "swarm-cli join" in out
        assert "docker_host" in out

    def test_a_mistake_is_one_sentence_and_exit_code_2(self) -> None:
        process = self.run("--docker-host", "nonsense")
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err.count("\n")) == (2, 1)

    async def test_one_daemon_a_run_dir_and_sigterm_ends_it(self, tmp_path: Path) -> None:
        first = self.run(*self.folders(tmp_path))
        try:
            await until(lambda: (tmp_path / "r" / "node.sock").exists(), 30)
            assert int((tmp_path / "r" / "worker.pid").read_text()) == first.pid
            second = self.run(*self.folders(tmp_path))
            _, err = await asyncio.to_thread(second.communicate, timeout=30)
            assert (second.returncode, f"process {first.pid}" in err) == (1, True)
        finally:
            first.terminate()
            await asyncio.to_thread(first.communicate, timeout=30)
        assert first.returncode == 0
        assert not (tmp_path / "r" / "worker.pid").exists()

    def test_folders_that_cannot_be_used_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text("a file, where a folder should be")
        process = self.run(*self.folders(tmp_path))
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err.count("\n")) == (1, 1)
        assert f"{tmp_path / 's'} cannot be used" in err
