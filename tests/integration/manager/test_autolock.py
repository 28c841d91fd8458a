"""Data at rest of real managers: nothing readable on the disk, and with autolock nothing starts without the key."""

import json
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest
from swarm_api.control_pb2 import (
    CreateSecretRequest,
    CreateServiceRequest,
    GetClusterRequest,
    GetInfoRequest,
    GetUnlockKeyRequest,
    ListRequest,
    UnlockRequest,
    UpdateClusterRequest,
)
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.sealed_disk import open_folder
from swarm_manager.unlock_key import new_unlock_key, unlock_key_bytes

from tests.integration.manager.processes import ManagerProcess, service, wait_for
from tests.integration.manager.test_three_managers import create, leader_of

pytestmark = pytest.mark.integration
SECRET = b"the-data-of-a-secret"


def set_autolock(manager: ManagerProcess, *, on: bool) -> str:
    """The unlock key from then on."""
    cluster = manager.control.GetCluster(GetClusterRequest(), timeout=5).cluster
    cluster.spec.autolock = on
    request = UpdateClusterRequest(version=cluster.meta.version, spec=cluster.spec)
    changed = manager.control.UpdateCluster(request, timeout=5).cluster
    assert not changed.unlock_key, "it is shown by GetUnlockKey alone"
    return unlock_key(manager)


def unlock_key(manager: ManagerProcess) -> str:
    return manager.local.GetUnlockKey(GetUnlockKeyRequest(), timeout=5).unlock_key


def wrapped_by(manager: ManagerProcess) -> str:
    document = json.loads((manager.state_dir / "manager/keys/keys").read_bytes())
    return str(document.get("wrapped_by", ""))


def wait_until_locked(manager: ManagerProcess) -> None:
    def refusal() -> bool:
        try:
            manager.local.GetInfo(GetInfoRequest(stale=True), timeout=2)
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.FAILED_PRECONDITION and "swarm-cli unlock" in (error.details() or "")
        return False

    wait_for("a locked manager", refusal)
    assert (manager.run_dir / "manager.locked").exists()


def unlock(manager: ManagerProcess, key: str) -> None:
    manager.local.Unlock(UnlockRequest(unlock_key=key), timeout=5)


def refused(manager: ManagerProcess, key: str) -> str:
    with pytest.raises(grpc.RpcError) as refusal:
        unlock(manager, key)
    return f"{refusal.value.code().name}: {refusal.value.details()}"


def search(folder: Path, texts: Iterable[bytes]) -> list[str]:
    """Where any of the texts is readable, in a file or in its name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [f"{path}: {text!r}" for path in files for text in texts if text in path.read_bytes() + bytes(path)]


def data_keys(manager: ManagerProcess, key: str) -> list[bytes]:
    """The secrets of a manager that does not run, as they are and as hexadecimal digits."""
    file = KeyFile(LocalDisk(manager.state_dir / "manager/keys"))
    secrets = [one.secret for one in file.open(unlock_key_bytes(key)).by_id.values()]
    file.close()
    return secrets + [secret.hex().encode() for secret in secrets]


def test_all_lose_power_locked_and_with_the_keys_everything_acknowledged_is_there(
    managers: list[ManagerProcess],
) -> None:
    leader = leader_of(managers)
    secret = CreateSecretRequest()
    secret.spec.annotations.name = "hush"
    secret.spec.data = SECRET
    leader.control.CreateSecret(secret, timeout=5)
    create(managers[1], "a-service-of-ours")
    old = set_autolock(managers[0], on=True)
    for manager in managers:
        wait_for("wrapped keys", lambda manager=manager: wrapped_by(manager))
    late = next(m for m in managers if m is not leader_of(managers))
    late.kill()
    others = [m for m in managers if m is not late]
    before = wrapped_by(others[0])
    leader_of(managers).control.UpdateCluster(UpdateClusterRequest(rotate_unlock_key=True), timeout=5)
    new = unlock_key(others[0])
    assert new not in (old, "")
    for manager in others:
        wait_for("keys wrapped anew", lambda manager=manager: wrapped_by(manager) != before)
    create(others[0], "created-last")
    for manager in others:
        manager.kill()
    for manager in managers:
        hidden = [SECRET, b"a-service-of-ours", b"created-last", old.encode(), new.encode()]
        hidden += data_keys(manager, old if manager is late else new)
        assert search(manager.state_dir / "manager", hidden) == []
    for manager in managers:
        manager.start()
    for manager in managers:
        wait_until_locked(manager)
        assert refused(manager, "swordfish").startswith("INVALID_ARGUMENT: This is no unlock key")
        wrong = refused(manager, new_unlock_key())
        assert wrong.startswith("FAILED_PRECONDITION: This is not the key that unlocks this manager"), wrong
        unlock(manager, old if manager is late else new)
    found = leader_of(managers).control.ListServices(ListRequest(), timeout=5).services
    assert {one.spec.annotations.name for one in found} == {"a-service-of-ours", "created-last"}
    assert refused(managers[0], new) == "FAILED_PRECONDITION: This manager is not locked."
    wait_for("the late one to follow", lambda: wrapped_by(late) == wrapped_by(others[0]))
    set_autolock(managers[0], on=False)
    for manager in managers:
        wait_for("keys that lie open", lambda manager=manager: not wrapped_by(manager))


def test_a_manager_with_the_certificate_of_a_manager_is_not_told_the_key(manager: ManagerProcess) -> None:
    key = set_autolock(manager, on=True)
    with pytest.raises(grpc.RpcError) as refusal:
        manager.control.GetUnlockKey(GetUnlockKeyRequest(), timeout=5)
    assert refusal.value.code() == grpc.StatusCode.PERMISSION_DENIED
    wait_for("wrapped keys", lambda: wrapped_by(manager))
    assert manager.kill(15) == 0
    manager.start()
    wait_until_locked(manager)
    assert manager.kill(15) == 0, "it stops while it is locked"
    assert not (manager.run_dir / "manager.locked").exists()
    manager.start()
    wait_until_locked(manager)
    unlock(manager, f"  {key.upper()}\n")
    manager.wait_until_leading()
    assert manager.local.GetInfo(GetInfoRequest(), timeout=5).leader_id == manager.node_id


def test_data_from_before_they_were_sealed_go_on(manager: ManagerProcess) -> None:
    manager.control.CreateService(CreateServiceRequest(spec=service("a-service-of-ours")), timeout=5)
    manager.kill()
    folder = manager.state_dir / "manager"
    unseal(folder)
    assert search(folder / "raft", [b"a-service-of-ours"])
    manager.start()
    manager.wait_until_leading()
    found = manager.control.ListServices(ListRequest(), timeout=5).services
    assert [one.spec.annotations.name for one in found] == ["a-service-of-ours"]
    assert not search(folder, [b"a-service-of-ours"])
    manager.kill()
    manager.start()
    manager.wait_until_leading()


def unseal(folder: Path) -> None:
    """Make of a manager's data what the version before would have left."""
    keys = KeyFile(LocalDisk(folder / "keys"))
    sealed = open_folder(folder / "raft", keys)
    plain = {name: sealed.read(name) for name in sealed.names()}
    sealed.close()
    keys.close()
    for name, data in plain.items():
        (folder / "raft" / name).write_bytes(data)
    for path in (folder / "keys").iterdir():
        path.unlink()


def test_the_seed_of_a_new_cluster_is_sealed_too(tmp_path: Path) -> None:
    manager = ManagerProcess(tmp_path / "m1", 2377)
    tokens = manager.init()
    seed = (manager.state_dir / "manager/seed.changeset").read_bytes()
    assert tokens["manager_token"].encode() not in seed and b"PRIVATE KEY" not in seed
