"""Bad input, bad certificates, silent nodes, broken data and full disks: one sentence each, and nothing lost."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from swarm_api import identity
from swarm_api.control_pb2 import (
    CreateConfigRequest,
    CreateServiceRequest,
    GetClusterRequest,
    GetRequest,
    ListRequest,
    RemoveNodeRequest,
    UpdateClusterRequest,
)
from swarm_api.control_pb2_grpc import ControlStub
from swarm_api.identity import NodeCredentials
from swarm_api.join_token import JoinToken
from swarm_api.objects_pb2 import Node
from swarm_api.types_pb2 import NodeState
from swarm_manager import pki

from tests.integration.manager.processes import FakeWorker, ManagerProcess, api_ports, service, wait_for

pytestmark = pytest.mark.integration


@contextlib.contextmanager
def refused(code: grpc.StatusCode, *texts: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as error:
        yield
    details = error.value.details() or ""
    assert error.value.code() == code, details
    assert all(text in details for text in texts), details


def state_of(manager: ManagerProcess, worker: FakeWorker) -> Node:
    return manager.control.GetNode(GetRequest(id=worker.node_id), timeout=5).node


# Certificates


def test_strangers_do_not_get_past_the_handshake(manager: ManagerProcess) -> None:
    now = identity.utc_now()
    foreign = pki.create_ca("c1", now)
    key, csr = identity.new_key_and_csr()
    issued = pki.issue_from_csr(foreign, csr, node_id="evil", role="swarm-manager", cluster_id="c1", now=now)
    leaf, leaf_key = identity.joiner_leaf(pki.new_secret(), identity.JOINER_WORKER, now)
    ca = manager.credentials.ca_pem
    for own in (NodeCredentials(ca, issued, key), NodeCredentials(ca, leaf, leaf_key)):
        with refused(grpc.StatusCode.UNAVAILABLE):
            ControlStub(manager.channel(own)).ListNodes(ListRequest(), timeout=5)
    without = grpc.secure_channel(manager.address, grpc.ssl_channel_credentials(ca))
    with without, refused(grpc.StatusCode.UNAVAILABLE):
        ControlStub(without).ListNodes(ListRequest(), timeout=5)


def test_a_worker_may_not_use_the_control_api(manager: ManagerProcess) -> None:
    worker = FakeWorker(manager, manager.tokens()["worker"])
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ListNodes is for admin and manager only"):
        ControlStub(manager.channel(worker.credentials)).ListNodes(ListRequest(), timeout=5)


def test_a_rotated_token_admits_nobody_any_more(manager: ManagerProcess) -> None:
    old = manager.tokens()["worker"]
    secret = JoinToken.parse(old).secret
    manager.control.UpdateCluster(UpdateClusterRequest(rotate_worker_token=True), timeout=5)
    assert manager.tokens()["worker"] != old
    leaf, key = identity.joiner_leaf(secret, identity.JOINER_WORKER, identity.utc_now())
    with refused(grpc.StatusCode.UNAVAILABLE):
        stranger = manager.channel(NodeCredentials(manager.credentials.ca_pem, leaf, key))
        ControlStub(stranger).ListNodes(ListRequest(), timeout=5)
    FakeWorker(manager, manager.tokens()["worker"])


def test_a_removed_node_is_out_at_once(manager: ManagerProcess) -> None:
    worker = FakeWorker(manager, manager.tokens()["worker"])
    worker.open(manager)
    manager.control.RemoveNode(RemoveNodeRequest(id=worker.node_id, force=True), timeout=5)
    with refused(grpc.StatusCode.PERMISSION_DENIED, "was removed"):
        while True:
            worker.take()
    with refused(grpc.StatusCode.PERMISSION_DENIED, "was removed"):
        worker.heartbeat()


def test_the_local_socket_is_for_root_alone(manager: ManagerProcess) -> None:
    mode = (manager.run_dir / "manager.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert len(manager.local.ListNodes(ListRequest(), timeout=5).nodes) == 1


# Nodes that fall silent


def test_a_silent_node_is_down_and_comes_back(manager: ManagerProcess) -> None:
    worker = FakeWorker(manager, manager.tokens()["worker"])
    worker.open(manager)
    manager.control.CreateService(CreateServiceRequest(spec=service("web")), timeout=5)
    assert state_of(manager, worker).status.state == NodeState.READY_STATE
    wait_for("the silence to be noticed", lambda: state_of(manager, worker).status.state == NodeState.DOWN)
    with refused(grpc.StatusCode.NOT_FOUND, "session"):
        worker.heartbeat()
    worker.open(manager)
    assert state_of(manager, worker).status.state == NodeState.READY_STATE


def test_a_frozen_leader_does_not_declare_its_nodes_down(manager: ManagerProcess) -> None:
    spec = manager.control.GetCluster(GetClusterRequest(), timeout=5).cluster.spec
    spec.node_down_after.FromSeconds(6)  # leaves a busy machine time for the heartbeats below
    manager.control.UpdateCluster(UpdateClusterRequest(spec=spec), timeout=5)
    worker = FakeWorker(manager, manager.tokens()["worker"])
    worker.open(manager)
    assert manager.process is not None
    before = state_of(manager, worker).meta.version.index
    manager.process.send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    wait_for("longer than a node may be silent", lambda: time.monotonic() > frozen + 8)
    manager.process.send_signal(signal.SIGCONT)
    for _ in range(3):
        wait_for("a heartbeat to be answered", lambda: worker.heartbeat() or True)
        node = state_of(manager, worker)
        assert (node.status.state, node.meta.version.index) == (NodeState.READY_STATE, before)


def test_of_two_daemons_with_one_identity_the_older_is_told(manager: ManagerProcess) -> None:
    worker = FakeWorker(manager, manager.tokens()["worker"])
    worker.open(manager)
    old_stream = worker.stream
    worker.boot_id += 1
    worker.open(manager)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "cloned"):
        for _ in old_stream:
            pass


# Starting


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "swarm_manager.server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def assert_one_sentence(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    assert all(text in lines[0] for text in texts), lines[0]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--advertise-address", "nowhere"), "must be HOST:PORT"),
        (("--advertise-address", "host:2377"), "needs an IP address"),
        (("--advertise-address", "0.0.0.0:2377"), "that other machines can reach"),
        (("--advertise-address", "10.0.0.1:2377", "--address-pool", "10.0.0.1/8"), "is no IPv4 network"),
        (("--advertise-address", "10.0.0.1:2377", "--subnet-prefix-length", "8"), "does not fit"),
        (("--advertise-address", "10.0.0.1:2377", "--vxlan-port", "0"), "UDP port"),
        (("--advertise-address", "10.0.0.1:2377", "--state-dir", "/proc/nothing"), "cannot be written"),
    ],
)
def test_init_refuses_what_cannot_be(tmp_path: Path, flags: tuple[str, ...], text: str) -> None:
    assert_one_sentence(run("init", "--state-dir", str(tmp_path), *flags), text)
    assert not (tmp_path / "node").exists()


def test_init_refuses_a_machine_that_is_a_node(tmp_path: Path) -> None:
    flags = ("init", "--state-dir", str(tmp_path), "--advertise-address", "10.0.0.1:2377")
    assert run(*flags).returncode == 0
    assert_one_sentence(run(*flags), "is a node; leave the cluster first")


def test_run_says_why_it_cannot(tmp_path: Path) -> None:
    folders = ("--state-dir", str(tmp_path / "s"), "--run-dir", str(tmp_path / "r"))
    assert_one_sentence(run("run", *folders), "this machine is no node yet")
    port = api_ports(1)[0]
    assert run("init", *folders[:2], "--advertise-address", f"127.0.0.1:{port}").returncode == 0
    (tmp_path / "s/node/node.key").write_bytes(identity.new_key())
    assert_one_sentence(run("run", *folders), "do not belong together")


def test_two_managers_do_not_share_a_port(manager: ManagerProcess, tmp_path: Path) -> None:
    other = ManagerProcess(tmp_path / "other", int(manager.address.split(":")[1]))
    other.init()
    done = run("run", "--state-dir", str(other.state_dir), "--run-dir", str(other.run_dir))
    assert_one_sentence(done, "cannot")


def test_damaged_raft_data_is_named_and_not_started_on(manager: ManagerProcess) -> None:
    manager.kill(signal.SIGTERM)
    journal = max(
        (p for p in (manager.state_dir / "manager/raft").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    journal.write_bytes(data)
    done = run("run", "--state-dir", str(manager.state_dir), "--run-dir", str(manager.run_dir))
    assert_one_sentence(done, "Raft cannot start", journal.name)


def test_what_was_acknowledged_survives_kill_9(manager: ManagerProcess) -> None:
    for number in range(10):
        manager.control.CreateService(CreateServiceRequest(spec=service(f"s{number}")), timeout=5)
    manager.kill()
    manager.start()
    wait_for("the manager to lead again", lambda: manager.info().leader_id)
    assert len(manager.control.ListServices(ListRequest(), timeout=5).services) == 10


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "swarm-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_refuses_writes_keeps_what_there_is_and_recovers(small_disk: Path) -> None:
    manager = ManagerProcess(small_disk / "m1", api_ports(1)[0])
    manager.init()
    manager.start()
    try:
        manager.wait_until_leading()
        control = manager.control

        def config(number: int) -> CreateConfigRequest:
            request = CreateConfigRequest()
            request.spec.annotations.name = f"c{number}"
            request.spec.data = os.urandom(400 * 1024)
            return request

        written = 0
        with refused(grpc.StatusCode.UNAVAILABLE, "make room", "a repetition will tell"):  # it is in the log already
            for written in range(100):
                control.CreateConfig(config(written), timeout=10)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "make room"):
            control.CreateConfig(config(999), timeout=10)
        assert written > 3
        assert manager.process is not None
        assert manager.process.poll() is None
        assert "make room" in manager.info().journal_error
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        wait_for("the manager to recover", lambda: control.CreateConfig(config(1000), timeout=10))
        names = {c.spec.annotations.name for c in control.ListConfigs(ListRequest(), timeout=5).configs}
        assert {f"c{n}" for n in range(written)} <= names
        assert names <= {f"c{n}" for n in (*range(written + 1), 1000)}
    finally:
        manager.stop()
        print(manager.log)
