"""What a manager makes of its disk: I/O errors, power losses, and data that is not what it was."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from swarm_api.control_pb2 import CreateConfigRequest, CreateServiceRequest, ListRequest

from tests.integration.manager.processes import ManagerProcess, api_ports, service, wait_for
from tests.nemesis.disk import Disk

pytestmark = pytest.mark.integration


@pytest.fixture(params=[1])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    with Disk(tmp_path / "m1" / "state", request.param) as mounted:
        yield mounted


@pytest.fixture
def manager(disk: Disk, tmp_path: Path) -> Iterator[ManagerProcess]:
    """One manager that leads, its state on the disk."""
    alone = ManagerProcess(tmp_path / "m1", api_ports(1)[0])
    assert alone.state_dir == disk.mountpoint
    alone.init()
    alone.start()
    try:
        alone.wait_until_leading()
        yield alone
    finally:
        alone.stop()
        print(alone.log)  # shown by pytest when the test fails


def create(manager: ManagerProcess, name: str) -> str:
    return manager.control.CreateService(CreateServiceRequest(spec=service(name, 0)), timeout=10).service.id


def names(manager: ManagerProcess) -> set[str]:
    services = manager.control.ListServices(ListRequest(), timeout=5).services
    return {found.spec.annotations.name for found in services}


def refusal(manager: ManagerProcess, name: str) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        create(manager, name)
    return refused.value


def test_after_an_io_error_it_refuses_says_why_and_goes_on_when_the_disk_does(
    manager: ManagerProcess, disk: Disk
) -> None:
    create(manager, "before")
    disk.break_()
    refusal(manager, "lost")
    refused = refusal(manager, "refused")
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Input/output error" in (refused.details() or "")
    assert "repair the disk" in manager.info().journal_error
    assert not manager.info().leader_id
    disk.heal()
    wait_for("writes to be taken again", lambda: create(manager, "after"))
    assert not manager.info().journal_error
    assert {"before", "after"} <= names(manager) <= {"before", "after", "lost"}


def test_what_a_failed_sync_dropped_is_written_again(manager: ManagerProcess, disk: Disk) -> None:
    """The kernel reports a failed sync once and forgets the data: to sync again says yes, and saves nothing."""
    disk.break_()
    refusal(manager, "doubtful")
    disk.heal()
    wait_for("writes to be taken again", lambda: create(manager, "after"))
    seen = names(manager)
    manager.kill()
    disk.lose_power(everything=True)
    manager.start()
    wait_for("the manager to lead again", lambda: manager.info().leader_id)
    assert names(manager) == seen


@pytest.mark.parametrize("disk", [1, 2, 3], indirect=True)
def test_a_power_loss_takes_nothing_that_was_acknowledged(manager: ManagerProcess, disk: Disk) -> None:
    """Right after init, and again after a few writes; a part of what was not synced comes back, by the seed."""
    for number in range(3):
        create(manager, f"s{number}")
        manager.kill()
        disk.lose_power()
        manager.start()
        wait_for("the manager to lead again", lambda: manager.info().leader_id)
        assert names(manager) == {f"s{n}" for n in range(number + 1)}


def snapshotted(manager: ManagerProcess) -> Path:
    """Write until there is a snapshot, and stop the manager."""
    request = CreateConfigRequest()
    request.spec.data = os.urandom(450 * 1024)
    snapshot = manager.state_dir / "manager/raft/snapshot"
    for number in range(200):
        request.spec.annotations.name = f"c{number}"
        manager.control.CreateConfig(request, timeout=10)
        if snapshot.exists():
            break
    wait_for("a snapshot", snapshot.exists)
    manager.kill()
    return snapshot


def start_and_fail(manager: ManagerProcess) -> str:
    command = [sys.executable, "-m", "swarm_manager.server", "run", "--state-dir", str(manager.state_dir)]
    command += ["--run-dir", str(manager.run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == 1, done.stderr
    assert len(said) == 1, done.stderr
    return said[0]


def test_a_damaged_or_missing_snapshot_is_named_and_never_becomes_an_empty_state(manager: ManagerProcess) -> None:
    snapshot = snapshotted(manager)
    whole = snapshot.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 0x01
        snapshot.write_bytes(damaged)
        said = start_and_fail(manager)
        assert "Raft cannot start" in said
        assert "snapshot" in said
        assert "join again" in said
    snapshot.write_bytes(whole)
    manager.start()
    wait_for("the manager to lead again", lambda: manager.info().leader_id)
    assert manager.control.ListConfigs(ListRequest(), timeout=10).configs
