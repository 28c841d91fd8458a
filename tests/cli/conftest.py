"""swarm-cli in this process, against a Control server at a local socket."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from swarm_api.objects_pb2 import Node
from swarm_cli import main, waiting

from tests.cli.cluster import FakeCluster, serve


@dataclass(frozen=True)
class Result:
    """What one command line did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of the test's own: nothing of this one's nodes, contexts and variables is seen."""
    for name in [name for name in os.environ if name.startswith(("SWARM_", "RAFTSWARM_", "COMPOSE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("RAFTSWARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("RAFTSWARM_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(waiting, "STABLE_S", 0.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    """The server behind <run>/manager.sock."""
    (tmp_path / "run").mkdir()
    held = FakeCluster()
    server = serve(held, f"unix:{tmp_path}/run/manager.sock")
    yield held
    held.end_streams()
    server.stop(None).wait()


@pytest.fixture
def swarm(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line: `swarm("node", "ls")`."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = main.run(list(arguments))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def make_node(cluster: FakeCluster, hostname: str, **fields: object) -> Node:
    """A ready worker, stored."""
    node = Node()
    node.description.hostname = hostname
    node.description.resources.nano_cpus = 4 * 10**9
    node.description.resources.memory_bytes = 8 * 2**30
    node.description.engine.version = "20.10.24"
    node.status.state, node.status.address = 2, f"10.0.0.{len(cluster.objects['node']) + 1}"
    for name, value in fields.items():
        setattr(node.status, name, value)
    return cluster.put("node", node)
