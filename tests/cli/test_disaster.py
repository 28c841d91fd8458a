"""`backup`, `restore` and `recover`: what they ask for, write, refuse and pass on."""

import io
import json
import os
import pty
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import grpc
import pytest
from swarm_api import backup_file
from swarm_api import node_pb2 as node_api
from swarm_api.backup_file import Cost, unpack, unseal
from swarm_api.backup_pb2 import BackupHead
from swarm_api.control_pb2 import BackupMessage
from swarm_api.eras import first_term
from swarm_cli.commands import backup as backup_commands

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run
from tests.cli.test_machine import FakeDaemon, no_systemd, node

__all__ = ["no_systemd", "node"]

VARIABLE = "RAFTSWARM_BACKUP_PASSPHRASE"
PASSPHRASE = b"correct horse"
STATE = [b"all " * 20_000, b"there is"]


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt as cheap as can be: what it costs is tested where the format is."""
    monkeypatch.setattr(backup_file.Cost, "__init__", _cheap_cost)


def _cheap_cost(self: Cost, log_n: int = 4, r: int = 1, p: int = 1) -> None:
    for name, value in (("log_n", log_n), ("r", r), ("p", p)):
        object.__setattr__(self, name, value)


@pytest.fixture
def passphrase(tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "passphrase"
    path.write_bytes(PASSPHRASE + b"\n")
    return ("--passphrase-file", str(path))


@pytest.fixture
def backed_up(cluster: FakeCluster) -> FakeCluster:
    """A cluster with something to back up."""
    head = BackupHead(cluster_id="c1", cluster_name="prod", raftswarm_version="1.0", index=77, term=first_term(5) + 2)
    head.taken_at.FromSeconds(1_700_000_000)
    head.objects["service"], head.objects["node"] = 1, 3
    cluster.backup = [BackupMessage(head=head), *(BackupMessage(state=piece) for piece in STATE)]
    return cluster


def opened(data: bytes, passphrase: bytes = PASSPHRASE) -> tuple[BackupHead, bytes]:
    return unpack(unseal(io.BytesIO(data), passphrase))


# backup


def test_a_backup_is_a_private_file_with_all_there_is(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    path = tmp_path / "cluster.backup"
    done = swarm("backup", str(path), *passphrase)
    assert (done.code, done.err) == (0, "")
    assert "cluster prod (c1) as of 2023-11-14 22:13:20 UTC, version 77, era 5" in done.out
    assert "1 service, " in done.out
    assert "3 nodes" in done.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    head, state = opened(path.read_bytes())
    assert (head.index, state) == (77, b"".join(STATE))
    assert sorted(p.name for p in tmp_path.iterdir() if "backup" in p.name) == ["cluster.backup"]


def test_the_passphrase_may_come_from_the_environment(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "another one")
    path = tmp_path / "b"
    assert swarm("backup", str(path)).code == 0
    assert opened(path.read_bytes(), b"another one")[0].index == 77


def test_a_backup_goes_to_standard_output(
    backed_up: FakeCluster, swarm: Run, passphrase: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", target)
    assert swarm("backup", "-", *passphrase).code == 0
    assert opened(target.buffer.getvalue())[0].index == 77  # type: ignore[attr-defined]  # a BytesIO


def test_json_is_the_head(backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]) -> None:
    for words in (("backup", str(tmp_path / "b")), ("backup", "--check", str(tmp_path / "b"))):
        assert json.loads(swarm(*words, *passphrase, "--format", "json").out)["index"] == 77


def test_a_file_is_never_overwritten_unasked(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    path = tmp_path / "b"
    path.write_text("precious")
    done = swarm("backup", str(path), *passphrase)
    assert (done.code, "exists already" in done.err, path.read_text()) == (1, True, "precious")
    assert swarm("backup", str(path), *passphrase, "--force").code == 0
    assert opened(path.read_bytes())[0].index == 77
    done = swarm("backup", str(tmp_path), *passphrase, "--force")
    assert (done.code, "is a folder" in done.err) == (1, True)


def test_a_manager_that_goes_away_in_the_middle_leaves_no_file(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    backed_up.backup_breaks = True
    done = swarm("backup", str(tmp_path / "b"), *passphrase)
    assert (done.code, "broke off" in done.err, done.err.count("\n")) == (3, True, 1)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".b", "b"))]


def test_a_refusal_is_the_managers_own_sentence(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    backed_up.fails_next = [(grpc.StatusCode.PERMISSION_DENIED, "Not for you.")]
    done = swarm("backup", str(tmp_path / "b"), *passphrase)
    assert (done.code, done.err) == (1, "Error: Not for you.\n")


def test_a_backup_that_ends_before_it_began_is_none(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    backed_up.backup = []
    done = swarm("backup", str(tmp_path / "b"), *passphrase)
    assert (done.code, "before it began" in done.err) == (3, True)


def test_a_full_disk_leaves_nothing(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = swarm("backup", str(tmp_path / "b"), *passphrase)
    assert (done.code, "No space left on device; nothing was left" in done.err) == (1, True)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".b", "b"))]


def test_a_folder_that_is_not_there(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    done = swarm("backup", str(tmp_path / "no" / "b"), *passphrase)
    assert (done.code, "No such file or directory" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("given", "says"), [("", "is empty"), ("\n", "is empty"), (None, "cannot be read: No such file")]
)
def test_a_passphrase_that_is_none(
    given: str | None, says: str, backed_up: FakeCluster, swarm: Run, tmp_path: Path
) -> None:
    path = tmp_path / "p"
    if given is not None:
        path.write_text(given)
    done = swarm("backup", str(tmp_path / "b"), "--passphrase-file", str(path))
    assert (done.code, says in done.err, (tmp_path / "b").exists()) == (2, True, False)


def test_without_a_terminal_the_passphrase_must_be_given(backed_up: FakeCluster, swarm: Run, tmp_path: Path) -> None:
    done = swarm("backup", str(tmp_path / "b"))
    assert (done.code, "give --passphrase-file" in done.err) == (2, True)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Standard input is a terminal, on which this is typed, answer by answer."""
    answers: list[str] = []
    main, side = pty.openpty()
    with os.fdopen(side, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(click.termui, "hidden_prompt_func", lambda _: answers.pop(0))
        monkeypatch.setattr(click.termui, "visible_prompt_func", lambda _: answers.pop(0))
        yield answers
    os.close(main)


def test_a_new_passphrase_is_asked_for_twice_and_until_both_are_alike(
    backed_up: FakeCluster, swarm: Run, tmp_path: Path, typed: list[str]
) -> None:
    typed += ["one", "two", "correct horse", "correct horse"]
    assert swarm("backup", str(tmp_path / "b")).code == 0
    assert typed == []
    typed += ["correct horse"]
    assert "is whole" in swarm("backup", "--check", str(tmp_path / "b")).out
    assert typed == []


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("damage", "says"),
    [(lambda d: d[:-1], "damaged, cut off"), (lambda d: b"PK" + d, "not a backup"), (lambda d: b"", "not a backup")],
)
def test_check_says_what_is_wrong(
    damage: Damage, says: str, backed_up: FakeCluster, swarm: Run, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    path = tmp_path / "b"
    swarm("backup", str(path), *passphrase)
    path.write_bytes(damage(path.read_bytes()))
    done = swarm("backup", "--check", str(path), *passphrase)
    assert (done.code, says in done.err, done.err.count("\n")) == (1, True, 1)


# restore


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "b"
    head = BackupHead(cluster_id="c1")
    path.write_bytes(b"".join(backup_file.seal(backup_file.pack(head, STATE), PASSPHRASE, Cost())))
    return path


def test_restore_passes_on_what_is_wanted_and_says_how_to_go_on(
    node: FakeDaemon, swarm: Run, backup: Path, passphrase: tuple[str, str]
) -> None:
    words = ("--advertise-addr", "10.0.0.9", "--wait-for-nodes", "90s", "--availability", "drain")
    done = swarm("restore", str(backup), *passphrase, *words)
    assert (done.code, done.err) == (0, "")
    (request,) = node.requests
    assert (request.path, request.passphrase) == (str(backup), PASSPHRASE)
    assert (request.advertise_address, request.nodes_due_after.seconds, request.availability) == (
        "10.0.0.9:2377",
        90,
        2,
    )
    assert "It had the nodes n1, n2" in done.out
    assert "    swarm-cli rejoin 10.0.0.9:2377\n" in done.out


def test_restore_picks_the_address_of_the_default_route(
    node: FakeDaemon, swarm: Run, backup: Path, passphrase: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_commands, "default_address", lambda: "10.9.9.9")
    assert swarm("restore", str(backup), *passphrase).code == 0
    assert node.requests[0].advertise_address == "10.9.9.9:2377"


def test_a_backup_that_is_no_good_starts_no_daemon(
    swarm: Run, backup: Path, tmp_path: Path, passphrase: tuple[str, str]
) -> None:
    backup.write_bytes(backup.read_bytes()[:-1])
    for path, code, says in ((backup, 1, "damaged"), (tmp_path / "none", 2, "No such file")):
        done = swarm("restore", str(path), *passphrase, "--advertise-addr", "10.0.0.9")
        assert (done.code, says in done.err) == (code, True)
    assert not (tmp_path / "run" / "worker.pid").exists()


def test_a_node_is_not_restored_over(node: FakeDaemon, swarm: Run, backup: Path, passphrase: tuple[str, str]) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    done = swarm("restore", str(backup), *passphrase, "--advertise-addr", "10.0.0.9")
    assert (done.code, "is node n1 of a cluster already" in done.err) == (1, True)
    assert len(node.requests) == 1


# recover


def test_recover_says_what_became_of_the_others(node: FakeDaemon, swarm: Run) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    done = swarm("recover", "--force-new-cluster", "--yes")
    assert (done.code, done.err) == (0, "")
    assert "This node (n1) is now the only manager of cluster c1, in era 9." in done.out
    assert "2 log entries" in done.out
    assert "workers now: n2, n3." in done.out
    assert node.requests[-1] == node_api.RecoverRequest()
    swarm("recover", "--force-new-cluster", "--yes", "--even-with-quorum")
    assert node.requests[-1].even_with_quorum


def test_recover_asks_first(node: FakeDaemon, swarm: Run, typed: list[str]) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    typed += ["n"]
    assert swarm("recover", "--force-new-cluster").code == 130
    assert len(node.requests) == 1
    typed += ["y"]
    assert swarm("recover", "--force-new-cluster").code == 0
    assert len(node.requests) == 2


def test_recover_must_be_meant(node: FakeDaemon, swarm: Run) -> None:
    assert "--force-new-cluster" in swarm("recover", "--yes").err
    done = swarm("recover", "--force-new-cluster", "--yes")
    assert (done.code, "not part of a cluster" in done.err) == (1, True)
    swarm("init", "--advertise-addr", "10.0.0.1")
    done = swarm("recover", "--force-new-cluster")
    assert (done.code, "--yes" in done.err) == (2, True)
    assert len(node.requests) == 1


def test_what_the_daemon_refuses_is_said_in_its_words(node: FakeDaemon, swarm: Run) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    node.refuses = "The cluster has a quorum."
    done = swarm("recover", "--force-new-cluster", "--yes")
    assert (done.code, done.err) == (1, "Error: The cluster has a quorum.\n")
