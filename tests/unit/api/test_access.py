"""Where the managers are and who we are."""

import json
from pathlib import Path

import pytest
from swarm_api.access import context, find_access, parse_addresses
from swarm_api.errors import AccessError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "RAFTSWARM_STATE_DIR": str(tmp_path / "state"),
        "RAFTSWARM_RUN_DIR": str(tmp_path / "run"),
    }


def make_node(tmp_path: Path, role: str, managers: list[str]) -> None:
    folder = tmp_path / "state" / "node"
    folder.mkdir(parents=True)
    (folder / "node.json").write_text(json.dumps({"node_id": "n1", "role": role, "managers": managers}))
    for name in ("ca.crt", "node.crt", "node.key"):
        (folder / name).write_bytes(name.encode())


def make_context(environ: dict[str, str], name: str, managers: str = '["10.0.0.9:2377"]') -> None:
    folder = context(name, environ).folder
    folder.mkdir(parents=True)
    (folder / "context.toml").write_text(f"managers = {managers}\n")
    for file in ("ca.crt", "client.crt", "client.key"):
        (folder / file).write_bytes(file.encode())


def addresses(found: object) -> list[str]:
    return [endpoint.address for endpoint in found.endpoints]  # type: ignore[attr-defined]


def make_socket(tmp_path: Path) -> str:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manager.sock").touch()
    return f"unix:{tmp_path}/run/manager.sock"


def test_on_a_manager_the_local_socket_comes_first_and_the_other_managers_stand_by(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    local = make_socket(tmp_path)
    make_node(tmp_path, "swarm-manager", ["10.0.0.1:2377", "10.0.0.2:2377"])
    found = find_access(environ=environ)
    assert addresses(found) == [local, "10.0.0.1:2377", "10.0.0.2:2377"]
    assert found.endpoints[0].credentials is None
    assert found.endpoints[1].credentials is not None


def test_addresses_that_are_given_replace_the_known_ones_and_the_socket(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    make_socket(tmp_path)
    make_node(tmp_path, "swarm-manager", ["10.0.0.1:2377"])
    assert addresses(find_access(["a:1,b", "c:3"], environ=environ)) == ["a:1", "b:2377", "c:3"]
    environ["SWARM_MANAGERS"] = "d:4"
    assert addresses(find_access(environ=environ)) == ["d:4"]


def test_a_worker_is_told_so_and_where_to_go(tmp_path: Path, environ: dict[str, str]) -> None:
    make_node(tmp_path, "swarm-worker", ["10.0.0.1:2377"])
    with pytest.raises(AccessError, match=r"This node is a worker.*\(10\.0\.0\.1:2377\).*--context"):
        find_access(environ=environ)


def test_a_context_wins_over_the_node(tmp_path: Path, environ: dict[str, str]) -> None:
    make_node(tmp_path, "swarm-worker", ["10.0.0.1:2377"])
    make_context(environ, "prod")
    assert addresses(find_access(context_name="prod", environ=environ)) == ["10.0.0.9:2377"]
    environ["SWARM_CONTEXT"] = "prod"
    assert addresses(find_access(environ=environ)) == ["10.0.0.9:2377"]
    assert addresses(find_access(["x:1"], environ=environ)) == ["x:1"]


def test_the_chosen_context_is_used_on_a_machine_that_is_no_node(environ: dict[str, str]) -> None:
    make_context(environ, "prod")
    chosen = Path(environ["XDG_CONFIG_HOME"]) / "raftswarm" / "current-context"
    chosen.write_text("prod\n")
    assert addresses(find_access(environ=environ)) == ["10.0.0.9:2377"]


def test_a_machine_that_is_nothing_is_told_what_to_do(environ: dict[str, str]) -> None:
    with pytest.raises(AccessError, match=r"no node of a cluster.*swarm-cli init.*--context"):
        find_access(environ=environ)
    with pytest.raises(AccessError, match=r"has no certificate of a cluster"):
        find_access(["10.0.0.1"], environ=environ)


@pytest.mark.parametrize(
    ("managers", "sentence"),
    [("7", "must be a list"), ("[", "cannot be read"), ("[]", "names no manager"), ('["a b"]', "no manager's address")],
)
def test_a_damaged_context_is_named(managers: str, sentence: str, environ: dict[str, str]) -> None:
    make_context(environ, "prod", managers)
    with pytest.raises(AccessError, match=sentence):
        find_access(context_name="prod", environ=environ)


@pytest.mark.parametrize(
    ("name", "sentence"), [("nope", "There is no context 'nope'"), ("../x", "cannot name a context")]
)
def test_an_unknown_context(name: str, sentence: str, environ: dict[str, str]) -> None:
    with pytest.raises(AccessError, match=sentence):
        find_access(context_name=name, environ=environ)


def test_a_damaged_node_file_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    make_node(tmp_path, "swarm-manager", [])
    (tmp_path / "state" / "node" / "node.json").write_text("{")
    with pytest.raises(AccessError, match=r"node\.json is damaged"):
        find_access(environ=environ)


@pytest.mark.parametrize("text", ["a:b", "a:99999", "a:0", "http://a:1", "a b", ":1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AccessError, match="no manager's address"):
        parse_addresses([text])


def test_addresses_keep_their_order_and_come_once() -> None:
    assert parse_addresses(["b, a:1", "b:2377", "[::1]:5"]) == ("b:2377", "a:1", "[::1]:5")
