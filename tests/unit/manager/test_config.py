"""Settings: the file, flags that win over it, and addresses."""

from pathlib import Path

import pytest
from swarm_manager.config import NodeFile, Settings, check_advertised, load_settings, raft_address, split_address
from swarm_manager.errors import StartError
from swarm_manager.members_file import forget, load_members, save_members
from swarm_manager.raft.config import Member


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "raftswarm.toml"
    path.write_text('state_dir = "/a"\nrun_dir = "/b"\n[manager]\nlisten_address = "1.2.3.4:5"\n[worker]\nx = 1\n')
    found = load_settings(path, {"run_dir": "/c", "log_level": None})
    assert (found.state_dir, found.run_dir, found.listen_address) == (Path("/a"), Path("/c"), "1.2.3.4:5")
    assert found.log_level == "info"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[manager]\nlisten = 1\n", "no setting 'listen'"),
        ("state_dir = 7\n", "must be a text"),
        ("state_dir = \n", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "raftswarm.toml"
    path.write_text(text)
    with pytest.raises(StartError, match=complaint):
        load_settings(path, {})
    with pytest.raises(StartError, match="does not exist"):
        load_settings(tmp_path / "none", {})


def test_addresses(tmp_path: Path) -> None:
    assert split_address("[::1]:2377", "x") == ("::1", 2377)
    assert raft_address("10.0.0.1:2377") == "10.0.0.1:2378"
    for wrong in ("10.0.0.1", ":2377", "h:0", "h:65535", "h:x"):
        with pytest.raises(StartError):
            split_address(wrong, "x")
    check_advertised("10.0.0.1:2377")
    for wrong in ("host:2377", "0.0.0.0:2377", "[::]:2377"):
        with pytest.raises(StartError):
            check_advertised(wrong)


def test_the_nodes_file_is_read_whoever_wrote_it(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no node yet"):
        NodeFile.load(tmp_path)
    file = NodeFile("n1", "c1", "swarm-manager", "10.0.0.1:2377", "", ("10.0.0.2:2377",))
    file.save(tmp_path)
    assert NodeFile.load(tmp_path) == file
    (tmp_path / "node.json").write_text('{"node_id": ')
    with pytest.raises(StartError, match="cannot be read"):
        NodeFile.load(tmp_path)


def test_a_manager_that_lost_its_list_of_members_does_not_start_a_cluster_of_its_own(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    assert load_members(settings) is None
    members = (Member("m1", "10.0.0.1:2378"), Member("m2", "10.0.0.2:2378", voter=False))
    save_members(settings, members, joining=True)
    assert load_members(settings) == (members, True)
    settings.raft_dir.mkdir(parents=True)
    (settings.raft_dir / "journal").touch()
    settings.members_file.unlink()
    with pytest.raises(StartError, match="is missing"):
        load_members(settings)
    forget(settings)
    assert load_members(settings) is None
