"""The example of the Python client does what it says."""

import subprocess
import sys
from pathlib import Path

from swarm_api.types_pb2 import TaskState

from tests.cli.cluster import FakeCluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "client.py"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(EXAMPLE), *arguments], capture_output=True, text=True, check=False)


def test_it_creates_watches_and_removes(cluster: FakeCluster) -> None:
    done = run("--replicas", "2", "--name", "web")
    assert (done.returncode, done.stderr) == (0, "")
    assert "web: 2 of 2 running" in done.stdout
    assert "slot 2: running" in done.stdout
    assert done.stdout.endswith("removed web\n")
    assert not cluster.objects["service"]


def test_it_removes_what_does_not_converge_and_says_why(cluster: FakeCluster) -> None:
    cluster.runs_services = False
    cluster.when_watched.append(
        lambda: cluster.run(cluster.service("web"), TaskState.PENDING, "No suitable node: 3 lack memory.")
    )
    done = run("--name", "web", "--timeout-s", "0.5")
    assert (done.returncode, "No suitable node: 3 lack memory." in done.stderr) == (1, True)
    assert not cluster.objects["service"]


def test_without_a_cluster_it_says_so_in_one_sentence() -> None:
    done = run()
    assert (done.returncode, done.stderr.count("\n"), done.stderr.startswith("failed: ")) == (1, 1, True)
