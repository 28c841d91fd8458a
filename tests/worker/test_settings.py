"""Configuration, addresses, and what is kept on disk."""

import json
from pathlib import Path

import pytest
from swarm_api.dispatcher_pb2 import Assignment, SecretAssignment, SessionMessage
from swarm_api.identity import ROLE_MANAGER
from swarm_worker import config
from swarm_worker.addresses import check_local, local_address_towards, split, with_port
from swarm_worker.config import Config
from swarm_worker.core.assignments import AssignmentSet
from swarm_worker.errors import ConfigError, JoinError, StateError
from swarm_worker.files import TaskFiles
from swarm_worker.runtime import RefusedError
from swarm_worker.storage import NodeFile, NodeStore

from tests.worker.story import make_task


class TestConfig:
    def test_flags_win_over_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "c.toml"
        file.write_text('state_dir = "/a"\nlog_level = "debug"\n[worker]\ndocker_host = "unix:///x.sock"\n')
        found = config.parse(["--config", str(file), "--state-dir", "/b"])
        assert (found.state_dir, found.log_level, found.docker_host) == (Path("/b"), "debug", "unix:///x.sock")
        assert found.socket_path == Path("/run/raftswarm/node.sock")

    def test_the_manager_s_settings_are_not_ours(self, tmp_path: Path) -> None:
        file = tmp_path / "c.toml"
        file.write_text('[manager]\nlisten_address = "0.0.0.0:1"\n')
        assert config.parse(["--config", str(file)]) == Config(config_file=file)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("[worker]\ndokcer_host = 'x'", r"\[worker\] has no setting 'dokcer_host'"),
            ("log_level = 'loud'", "log_level must be one of"),
            ("log_level = 3", "must be a text"),
            ("not toml", "cannot be read"),
            ("[worker]\ndocker_host = '/var/run/docker.sock'", "docker_host must be an address"),
        ],
    )
    def test_a_mistake_is_named(self, tmp_path: Path, text: str, why: str) -> None:
        file = tmp_path / "c.toml"
        file.write_text(text)
        with pytest.raises(ConfigError, match=why):
            config.parse(["--config", str(file)])

    def test_a_file_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ConfigError, match="no configuration file /nowhere"):
            config.parse(["--config", "/nowhere"])


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "whole"),
        [
            ("10.0.0.1", "10.0.0.1:2377"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("node1", "node1:2377"),
            ("[fd00::1]:99", "[fd00::1]:99"),
            ("fd00::1", "[fd00::1]:2377"),
        ],
    )
    def test_a_port_is_added_where_there_is_none(self, text: str, whole: str) -> None:
        assert with_port(text, "address") == whole

    @pytest.mark.parametrize("text", ["", ":2377", "a:b", "a:0", "a:65535", "http://a:1"])
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(JoinError, match="is no address"):
            split(text, "address")

    def test_the_way_out_has_an_address(self) -> None:
        assert local_address_towards("127.0.0.1", 9) == "127.0.0.1"

    def test_everywhere_is_nowhere(self) -> None:
        with pytest.raises(JoinError, match=r"0\.0\.0\.0 is no address that other nodes can reach"):
            check_local("0.0.0.0:2377", may_be_forwarded=False)

    def test_another_machine_s_address_is_taken_for_a_typing_error_unless_it_is_said_to_be_forwarded(self) -> None:
        with pytest.raises(JoinError, match=r"192\.0\.2\.7 is no address of this machine"):
            check_local("192.0.2.7", may_be_forwarded=False)
        check_local("192.0.2.7", may_be_forwarded=True)
        check_local("127.0.0.1:2400", may_be_forwarded=False)


class TestStorage:
    NODE = NodeFile("n1", "cl", ROLE_MANAGER, "10.0.0.1:2377", managers=("10.0.0.1:2377",))

    def test_the_node_s_file_comes_back_and_is_root_s_alone(self, tmp_path: Path) -> None:
        store = NodeStore(tmp_path)
        assert store.load_node() is None
        store.save_node(self.NODE)
        assert store.load_node() == self.NODE
        assert (tmp_path / "node" / "node.json").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("text", ["{", "[]", '{"node_id": "x"}'])
    def test_a_damaged_one_is_an_error_with_a_way_out(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "node").mkdir()
        (tmp_path / "node" / "node.json").write_text(text)
        with pytest.raises(StateError, match="restore it, or remove it and join again"):
            NodeStore(tmp_path).load_node()

    def test_what_a_newer_version_wrote_besides_does_no_harm(self, tmp_path: Path) -> None:
        store = NodeStore(tmp_path)
        store.save_node(self.NODE)
        path = tmp_path / "node" / "node.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))
        assert store.load_node() == self.NODE

    def test_assignments_come_back_without_secrets(self, tmp_path: Path) -> None:
        store, assigned = NodeStore(tmp_path), AssignmentSet()
        task = Assignment(key="task/t1", task=make_task())
        secret = Assignment(key="secret/s1", secret=SecretAssignment(id="s1", data=b"hush"))
        assigned.apply(SessionMessage(term=4, full=True, set=[task, secret]))
        store.save_assignments(assigned.saved())
        again = AssignmentSet()
        again.restore(store.load_assignments())
        assert (again.term, list(again.tasks()), again.files(), again.confirmed) == (4, ["t1"], frozenset(), False)

    def test_damaged_assignments_are_as_good_as_none(self, tmp_path: Path) -> None:
        (tmp_path / "worker").mkdir()
        (tmp_path / "worker" / "assignments").write_bytes(b"\xff\xff\xff")
        assert NodeStore(tmp_path).load_assignments() == SessionMessage()

    def test_leaving_forgets_all_but_the_logs(self, tmp_path: Path) -> None:
        store = NodeStore(tmp_path)
        store.save_node(self.NODE)
        store.save_assignments(SessionMessage(term=1))
        for name in ("manager", "log"):
            (tmp_path / name).mkdir()
        store.forget_everything()
        assert [entry.name for entry in tmp_path.iterdir()] == ["log"]


class TestFiles:
    def test_a_secret_is_never_written_to_a_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")  # no mount(8): no tmpfs can be had
        task = make_task()
        task.spec.container.secrets.add(secret_id="s1", secret_name="p")
        monkeypatch.setattr("swarm_worker.files._MEMORY", frozenset())
        with pytest.raises((RefusedError, OSError)):
            TaskFiles(tmp_path).write(task, lambda _: b"hush")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_an_owner_that_is_no_number_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(TaskFiles, "_have_folder", lambda self: self._folder.mkdir(exist_ok=True))
        task = make_task()
        task.spec.container.secrets.add(secret_id="s1", secret_name="p").target.uid = "root"
        with pytest.raises(RefusedError, match="must be a number, not 'root'"):
            TaskFiles(tmp_path).write(task, lambda _: b"hush")

    def test_what_a_crash_left_behind_is_swept(self, tmp_path: Path) -> None:
        for name in ("t1", "t2"):
            (tmp_path / "files" / name).mkdir(parents=True)
        TaskFiles(tmp_path).keep_only({"t1"})
        assert [entry.name for entry in (tmp_path / "files").iterdir()] == ["t1"]
