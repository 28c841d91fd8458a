"""A backup, or a manager's own data, becomes a cluster of one manager; or nothing has happened."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from swarm_api.backup_file import Cost, pack, seal
from swarm_api.backup_pb2 import BackupHead
from swarm_api.eras import era_of, first_term
from swarm_api.identity import ROLE_MANAGER, NodeCredentials, utc_now
from swarm_api.objects_pb2 import Node, Service
from swarm_api.store_pb2 import ChangeSet
from swarm_api.types_pb2 import NodeRole, NodeState
from swarm_manager import pki, raft_folder
from swarm_manager.api.writes import Edit
from swarm_manager.config import NodeFile, Settings
from swarm_manager.core import codec
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import StartError
from swarm_manager.members_file import load_members
from swarm_manager.raft.at_rest import Held, read_held, write_founding
from swarm_manager.raft.codec import regular_command
from swarm_manager.raft.config import Member, Membership
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.journal import Journal
from swarm_manager.recovering import recover
from swarm_manager.restoring import Wanted, restore

from tests.unit.manager.stores import MemoryStore, cluster, node

PASSPHRASE = b"correct horse"
OLD_TERM = 3
ADDRESS = "10.0.9.9:2377"


def a_service(name: str) -> Service:
    service = Service(id=f"id-{name}")
    service.spec.annotations.name = name
    service.spec.task.container.image = "busybox"
    service.spec.replicated.replicas = 1
    return service


def a_state() -> Snapshot:
    """Managers m1 and m2, a worker, a service, and the CA."""
    store = MemoryStore()
    held = cluster()
    ca = pki.create_ca(held.id, utc_now())
    held.root_ca.certificate_pem, held.root_ca.key_pem = ca.certificate_pem, ca.key_pem
    store.put(held, node("m1", NodeRole.MANAGER), node("m2", NodeRole.MANAGER), node("w1"), a_service("web"))
    return store.snapshot


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


def held_by(settings: Settings) -> Held:
    with raft_folder.opened(settings) as disk:
        return read_held(disk)


# Restoring


def backup_of(folder: Path, state: Snapshot, **head: object) -> Path:
    path = folder / "cluster.backup"
    told = BackupHead(schema_version=codec.SCHEMA_VERSION, term=OLD_TERM, index=state.index, cluster_id="c1")
    told.taken_at.FromSeconds(1_700_000_000)
    for name, value in head.items():
        setattr(told, name, value)
    cheap = Cost(log_n=4, r=1, p=1)
    path.write_bytes(b"".join(seal(pack(told, codec.dump(state)), PASSPHRASE, cheap)))
    return path


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    return Wanted(backup_of(tmp_path, a_state()), PASSPHRASE, ADDRESS, nodes_due_after_s=60)


def test_a_machine_becomes_the_only_manager(settings: Settings, wanted: Wanted) -> None:
    made = restore(settings, wanted)
    assert (made.cluster_id, made.taken_at) == ("c1", "2023-11-14T22:13:20+00:00")
    assert made.nodes == ("host-m1", "host-m2", "host-w1")
    raft_folder.settle(settings)
    held = held_by(settings)
    assert held.term == first_term(made.era) > OLD_TERM
    assert held.membership.voters == {made.node_id}
    assert held.last_index == held.state.index
    assert [s.spec.annotations.name for s in held.state.services.values()] == ["web"]
    restored = held.state.cluster
    assert restored is not None
    assert restored.restoration.era == made.era
    assert restored.restoration.nodes_due.seconds == restored.restoration.restored_at.seconds + 60


def test_it_has_an_identity_of_the_old_ca(settings: Settings, wanted: Wanted) -> None:
    made = restore(settings, wanted)
    file = NodeFile.load(settings.node_dir)
    assert (file.node_id, file.cluster_id, file.advertise_address) == (made.node_id, "c1", ADDRESS)
    me = NodeCredentials.load(settings.node_dir).identity()  # verified against the CA beside it
    assert (me.node_id, me.role, me.cluster_id) == (made.node_id, ROLE_MANAGER, "c1")
    members, joining = load_members(settings) or ((), True)
    assert ([m.node_id for m in members], joining) == ([made.node_id], False)


def test_the_same_backup_restored_again_begins_a_later_or_the_same_era_never_an_earlier(
    tmp_path: Path, wanted: Wanted
) -> None:
    eras = [restore(Settings(state_dir=tmp_path / f"m{n}"), wanted).era for n in range(2)]
    assert eras == sorted(eras)


def nothing_happened(settings: Settings) -> bool:
    files = [p for p in settings.state_dir.rglob("*") if p.is_file()] if settings.state_dir.exists() else []
    return files == []


def test_no_such_file(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file"):
        restore(settings, Wanted(tmp_path / "nowhere", PASSPHRASE, ADDRESS))
    assert nothing_happened(settings)


def test_a_wrong_passphrase(settings: Settings, wanted: Wanted) -> None:
    with pytest.raises(StartError, match="passphrase is not that"):
        restore(settings, Wanted(wanted.backup, b"wrong", ADDRESS))
    assert nothing_happened(settings)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:-9] + b"x" + d[-8:], lambda d: b"tar" + d])
def test_a_damaged_file_and_what_is_no_backup(
    damage: Callable[[bytes], bytes], settings: Settings, wanted: Wanted
) -> None:
    wanted.backup.write_bytes(damage(wanted.backup.read_bytes()))
    with pytest.raises(StartError, match=r"damaged|not a backup"):
        restore(settings, wanted)
    assert nothing_happened(settings)


def test_a_state_that_only_a_newer_version_knows(settings: Settings, tmp_path: Path) -> None:
    path = backup_of(tmp_path, a_state(), schema_version=codec.SCHEMA_VERSION + 1, raftswarm_version="9.9")
    with pytest.raises(StartError, match=r"made by raftswarm 9\.9"):
        restore(settings, Wanted(path, PASSPHRASE, ADDRESS))
    assert nothing_happened(settings)


def test_a_backup_without_a_cluster(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="holds no cluster"):
        restore(settings, Wanted(backup_of(tmp_path, Snapshot()), PASSPHRASE, ADDRESS))


def test_a_machine_that_is_a_node(settings: Settings, wanted: Wanted) -> None:
    restore(settings, wanted)
    before = {p: p.read_bytes() for p in settings.state_dir.rglob("*") if p.is_file()}
    with pytest.raises(StartError, match="is a node already"):
        restore(settings, wanted)
    assert {p: p.read_bytes() for p in settings.state_dir.rglob("*") if p.is_file()} == before


def test_a_machine_with_a_managers_data(settings: Settings, wanted: Wanted) -> None:
    settings.raft_dir.mkdir(parents=True)
    (settings.raft_dir / "vote").write_bytes(b"x")
    with pytest.raises(StartError, match="data of a manager already"):
        restore(settings, wanted)


@pytest.mark.parametrize("address", ["10.0.9.9", "name:2377", "0.0.0.0:2377"])
def test_an_address_that_nobody_can_reach(address: str, settings: Settings, wanted: Wanted) -> None:
    with pytest.raises(StartError, match="advertise-address"):
        restore(settings, Wanted(wanted.backup, PASSPHRASE, address))


def test_a_disk_that_refuses(settings: Settings, wanted: Wanted) -> None:
    settings.state_dir.mkdir()
    (settings.state_dir / "manager").write_text("in the way")
    with pytest.raises(StartError, match="nothing was changed"):
        restore(settings, wanted)
    assert not (settings.node_dir / "node.json").exists()


def test_a_restore_that_was_cut_short_is_begun_anew(
    settings: Settings, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed just before node.json, all else is there: the machine is no node, and a second restore takes over."""

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(NodeFile, "save", die)
        with pytest.raises(Killed):
            restore(settings, wanted)
    made = restore(settings, wanted)
    raft_folder.settle(settings)
    assert held_by(settings).membership.voters == {made.node_id}


# Recovering


def identity(settings: Settings, node_id: str = "m1") -> None:
    settings.node_dir.mkdir(parents=True)
    address = "10.0.0.1:2377"
    NodeFile(node_id, "c1", ROLE_MANAGER, address, managers=(address,)).save(settings.node_dir)


def change(obj: Node | Service, *, request_id: str = "") -> ChangeSet:
    edit = Edit()
    edit.create(obj)
    edit.change_set.request_id = request_id
    return edit.change_set


@pytest.fixture
def survivor(settings: Settings) -> Settings:
    """m1 of two, whose log goes on with a committed and an unconfirmed entry."""
    identity(settings)
    state = a_state()
    with raft_folder.opened(settings) as disk:
        write_founding(disk, Member("m1", "10.0.0.1:2378"), codec.dump(state), index=state.index, term=OLD_TERM)
        log = Journal(disk, Membership.of(()))
        index, confirmed = state.index, change(a_service("committed"), request_id="r1")
        log.add(regular_command(confirmed.SerializeToString()), index + 1, OLD_TERM)
        log.note_commit(index + 1)
        assert log.sync()
        log.add(regular_command(b"\xff no change set"), index + 2, OLD_TERM)
        log.add(regular_command(change(a_service("unconfirmed")).SerializeToString()), index + 3, OLD_TERM)
        assert log.sync()
        log.close()
    return settings


def test_all_it_holds_is_kept_committed_or_not(survivor: Settings) -> None:
    made = recover(survivor)
    assert (made.node_id, made.cluster_id, made.former_managers) == ("m1", "c1", ("host-m2",))
    assert made.unconfirmed == 2
    held = held_by(survivor)
    names = {s.spec.annotations.name for s in held.state.services.values()}
    assert names == {"web", "committed", "unconfirmed"}
    assert "r1" in held.state.requests  # a retry of it is still answered, not done again
    assert era_of(held.term) == made.era
    assert held.membership.voters == {"m1"}
    assert held.state.nodes["m1"].spec.role == NodeRole.MANAGER
    assert held.state.nodes["m2"].spec.role == NodeRole.WORKER
    assert held.state.nodes["w1"].status.state == NodeState.READY_STATE


def test_what_there_was_is_kept_beside_it(survivor: Settings) -> None:
    recover(survivor)
    (old,) = survivor.raft_dir.parent.glob("raft.before-*")
    survivor.raft_dir.rename(survivor.raft_dir.with_name("gone"))
    old.rename(survivor.raft_dir)
    assert held_by(survivor).term == OLD_TERM, "sealed with keys that are still there"


def test_recovering_again_begins_another_era(survivor: Settings) -> None:
    first, second = recover(survivor), recover(survivor)
    assert second.era > first.era
    assert second.unconfirmed == 0
    assert len(list(survivor.raft_dir.parent.glob("raft.before-*"))) == 2


@pytest.mark.parametrize("step", ["prepare", "decide", "settle"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_step_there_is_the_old_or_the_new(
    step: str, moment: str, survivor: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    real = getattr(raft_folder, step)
    calls = 0

    def dying(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if step == "settle" and calls == 1:  # the one that tidies up before anything else
            real(*arguments)
            return
        if moment == "after":
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(raft_folder, step, dying)
        with pytest.raises(Killed):
            recover(survivor)
    raft_folder.settle(survivor)  # as a manager does that starts
    is_new = era_of(held_by(survivor).term) > 0
    decided = (step, moment) in {("decide", "after"), ("settle", "before"), ("settle", "after")}
    assert is_new == decided
    recover(survivor)
    assert len(held_by(survivor).state.services) == 3


def test_killed_between_the_two_renames(survivor: Settings) -> None:
    """`raft` is out of the way and `raft.next` is not in place yet."""
    founder = Member("m1", "10.0.0.1:2378")
    with raft_folder.opened(survivor) as disk:
        state = read_held(disk).state
        raft_folder.prepare(
            survivor,
            disk.ring,
            lambda new: write_founding(new, founder, codec.dump(state), index=9, term=first_term(5)),
        )
    raft_folder.decide(survivor)
    survivor.raft_dir.rename(survivor.raft_dir.with_name("raft.before-x"))
    raft_folder.settle(survivor)
    assert held_by(survivor).term == first_term(5)


def test_with_autolock_it_takes_the_unlock_key(survivor: Settings) -> None:
    unlock_key = b"k" * 32
    with raft_folder.opened(survivor) as disk:
        disk.ring.wrap(unlock_key, as_of=1)
    for key, complaint in ((None, "locked: the cluster's unlock key opens them"), (b"x" * 32, "not the key")):
        with pytest.raises(StartError, match=complaint):
            recover(survivor, key)
    made = recover(survivor, unlock_key)
    with raft_folder.opened(survivor, unlock_key) as disk:
        assert read_held(disk).term == first_term(made.era)


@pytest.mark.parametrize("killed", [False, True])
def test_data_of_an_earlier_era_are_moved_aside_for_a_manager_that_joins_anew(
    killed: bool, survivor: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    survivor.members_file.write_text("whom it started with")
    if killed:  # when the mark is there, and nothing else has happened
        with monkeypatch.context() as patched:
            patched.setattr(raft_folder, "settle", die)
            with pytest.raises(Killed):
                raft_folder.give_up(survivor)
        raft_folder.settle(survivor)  # as the next start does
    else:
        raft_folder.give_up(survivor)
    assert load_members(survivor) is None, "it asks to be taken in"
    assert not survivor.raft_dir.exists()
    (aside,) = survivor.raft_dir.parent.glob("raft.*")
    aside.rename(survivor.raft_dir)
    assert held_by(survivor).term == OLD_TERM
    raft_folder.settle(survivor)
    assert survivor.raft_dir.exists(), "done once"


def test_while_its_manager_runs_it_is_refused(survivor: Settings) -> None:
    disk = LocalDisk(survivor.raft_dir)  # a manager holds this lock
    with pytest.raises(StartError, match="another manager process"):
        recover(survivor)
    disk.close()
    assert held_by(survivor).term == OLD_TERM


def test_a_full_disk_changes_nothing(survivor: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LocalDisk, "replace", full)
        with pytest.raises(StartError, match=r"stay as they were: No space left"):
            recover(survivor)
    assert held_by(survivor).term == OLD_TERM
    assert not list(survivor.raft_dir.parent.glob("raft.*"))


def test_damaged_data_are_named_and_left_alone(survivor: Settings) -> None:
    snapshot = survivor.raft_dir / "snapshot"
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    snapshot.write_bytes(data)
    with pytest.raises(StartError, match=r"stay as they were.*damaged"):
        recover(survivor)
    assert snapshot.read_bytes() == data


def test_a_node_without_data_or_demoted_is_told_so(settings: Settings, survivor: Settings) -> None:
    file = json.loads((survivor.node_dir / "node.json").read_text())
    (survivor.node_dir / "node.json").write_text(json.dumps({**file, "node_id": "w1"}))
    with pytest.raises(StartError, match="had been demoted"):
        recover(survivor)
    (survivor.node_dir / "node.json").write_text(json.dumps({**file, "node_id": "stranger"}))
    with pytest.raises(StartError, match="has not received"):
        recover(survivor)
    for path in survivor.raft_dir.iterdir():
        path.unlink()
    with pytest.raises(StartError, match="holds no log"):
        recover(survivor)
    assert not (survivor.raft_dir / "founding").exists()
    survivor.raft_dir.rename(survivor.raft_dir.with_name("gone"))
    with pytest.raises(StartError, match="does not exist"):
        recover(survivor)


def test_a_machine_that_is_no_node(settings: Settings) -> None:
    with pytest.raises(StartError, match="no node yet"):
        recover(settings)
