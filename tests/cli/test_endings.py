"""How a run ends: exit codes, one sentence, never a traceback."""

import io
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from swarm_api.types_pb2 import TaskState
from swarm_cli import main, session

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run


def test_done_is_0(cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("node", "ls").code == 0


def test_a_refused_request_is_1(cluster: FakeCluster, swarm: Run) -> None:
    done = swarm("service", "inspect", "nope")
    assert (done.code, done.err) == (1, "Error: There is no service 'nope'.\n")


@pytest.mark.parametrize(
    "arguments", [["nodx"], ["node", "ls", "--wide"], ["service", "create"], ["node", "update", "n1"], ["join", "h"]]
)
def test_usage_is_2_and_says_where_help_is(arguments: list[str], swarm: Run) -> None:
    done = swarm(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert "--help'." in done.err
    assert done.err.count("\n") == 1


def test_no_manager_is_3(tmp_path: Path, swarm: Run, cluster: FakeCluster) -> None:
    cluster.fails_next = [(grpc.StatusCode.UNAVAILABLE, "There is no quorum: 2 of 3 managers are gone.")] * 10_000
    began = time.monotonic()
    done = swarm("service", "ls")
    assert time.monotonic() - began < 10  # the promise is 5 s; a busy machine may start late, never hang
    assert done.code == 3
    assert "There is no quorum: 2 of 3 managers are gone" in done.err
    assert done.err.count("\n") == 1


def test_not_converged_is_4(cluster: FakeCluster, swarm: Run) -> None:
    cluster.runs_services = False
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    cluster.run(cluster.service("web"), TaskState.PENDING, "No suitable node: 3 lack memory.")
    done = swarm("service", "update", "web", "--timeout", "0.1", "--env-add", "A=1")
    assert done.code == 4
    assert "web: 0 of 1 running: No suitable node: 3 lack memory." in done.err


def test_a_machine_that_knows_no_cluster_is_told_what_to_do(swarm: Run) -> None:
    done = swarm("node", "ls")
    assert done.code == 1
    assert "swarm-cli init" in done.err


def test_an_unexpected_error_is_one_sentence_and_with_debug_a_traceback(
    swarm: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: session.Session) -> None:
        raise RuntimeError("broken\nin two lines")

    monkeypatch.setattr(session.Session, "client", property(broken))
    done = swarm("node", "ls")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "Unexpected RuntimeError: broken in two lines" in done.err
    monkeypatch.setenv("SWARM_DEBUG", "1")
    assert "Traceback" in swarm("node", "ls").err


def test_ctrl_c_is_130_and_quiet(swarm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: session.Session) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session.Session, "client", property(interrupted))
    done = swarm("node", "ls")
    assert (done.code, done.err.strip()) == (130, "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-c", "from swarm_cli.main import main; main()", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_imports_neither_grpc_nor_the_commands() -> None:
    """What keeps `swarm-cli --help` quick; timings themselves are the benchmark's."""
    code = (
        "import sys\nfrom swarm_cli import main\nmain.run(['--help'])\n"
        "heavy = {'grpc', 'google.protobuf', 'rich', 'yaml', 'jsonschema', 'cryptography'}\n"
        "heavy.add('swarm_cli.commands.service')\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "This folder's compose file" in done.stdout


def test_every_command_can_be_imported_and_has_help(swarm: Run) -> None:
    for name in main.ENTRIES:
        done = swarm(name, "--help")
        assert (done.code, done.out.startswith("Usage: swarm-cli ")) == (0, True), name


def test_standard_input_is_a_compose_file(cluster: FakeCluster, swarm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"services: {web: {image: nginx}}"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert swarm("stack", "deploy", "-c", "-", "demo").code == 0
    assert cluster.service("demo_web").spec.task.container.image == "nginx"
