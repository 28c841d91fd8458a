"""`stack`, and `up`, `ps`, `scale`, `down` in a compose file's folder."""

import json
from pathlib import Path

import pytest
from swarm_api.control_pb2 import DeployStackRequest
from swarm_api.types_pb2 import TaskState

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run

FILE = """\
services:
  front:
    image: nginx:${TAG:-1}
    ports: ["8080:80"]
    depends_on: [web]
  web:
    image: node
    build: .
    deploy: {replicas: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `My.App` with a compose file, which is the working folder."""
    made = tmp_path / "My.App"
    made.mkdir()
    (made / "compose.yaml").write_text(FILE)
    monkeypatch.chdir(made)
    return made


def test_up_ps_scale_down(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    up = swarm("up")
    assert (up.code, up.out) == (0, "Created   service   myapp_front\nCreated   service   myapp_web\n")
    assert up.err.splitlines() == [
        (
            "Warning: compose.yaml:8: services.web.build has no effect: images are not built here; build and push the "
            "image, or load it on the nodes, and name it in 'image'."
        ),
        "myapp_front: 1 of 1 running (done)",
        "myapp_web: 2 of 2 running (done)",
    ]
    assert [line.split()[1] for line in swarm("ps").out.splitlines()] == [
        "NAME",
        "myapp_front.1",
        "myapp_web.1",
        "myapp_web.2",
    ]
    scaled = swarm("scale", "web=3")
    assert (scaled.code, cluster.service("myapp_web").spec.replicated.replicas) == (0, 3)
    down = swarm("down")
    assert (down.code, down.out) == (0, "Removed   service   myapp_front\nRemoved   service   myapp_web\n")
    assert swarm("ps").code == 1


def test_up_again_changes_nothing(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    swarm("up", "-d")
    first = dict(cluster.objects["task"])
    again = swarm("up", "-d")
    assert again.out == "Unchanged   service   myapp_front\nUnchanged   service   myapp_web\n"
    assert dict(cluster.objects["task"]) == first


def test_a_dry_run_changes_nothing_and_says_what_would(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    done = swarm("up", "--dry-run")
    assert (done.code, done.out.splitlines()[0]) == (0, "Created   service   myapp_front")
    assert not cluster.objects["service"]


def test_the_projects_name_is_chosen(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("up", "-d", "-p", "other").code == 0
    assert cluster.service("other_web")
    assert "other_web.1" in swarm("ps", "-p", "other").out
    assert swarm("down", "-p", "other").code == 0


def test_without_a_compose_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swarm: Run) -> None:
    monkeypatch.chdir(tmp_path)
    done = swarm("up")
    assert (done.code, f"no compose file in {tmp_path}" in done.err) == (1, True)


def test_stack_deploy_ls_services_ps_rm(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("stack", "deploy", "--prune", "-c", "compose.yaml", "demo").code == 0
    request = next(request for request in cluster.requests if isinstance(request, DeployStackRequest))
    assert (request.prune, request.source, request.services[0].depends_on[0].service) == (True, FILE, "demo_web")
    assert swarm("stack", "ls").out.splitlines()[1].split()[:2] == ["demo", "2"]
    assert [line.split()[1] for line in swarm("stack", "services", "demo").out.splitlines()[1:]] == [
        "demo_front",
        "demo_web",
    ]
    assert len(swarm("stack", "ps", "demo").out.splitlines()) == 4
    assert swarm("stack", "rm", "demo").code == 0
    assert swarm("stack", "rm", "demo").code == 1


@pytest.mark.parametrize("command", ["ps", "services"])
def test_a_stack_that_is_not_there(command: str, cluster: FakeCluster, swarm: Run) -> None:
    done = swarm("stack", command, "nope")
    assert (done.code, "There is no stack 'nope'" in done.err) == (1, True)


def test_deploy_waits_and_says_what_is_missing(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    cluster.runs_services = False
    done = swarm("up", "--timeout", "0.1")
    assert done.code == 4
    assert "myapp_front: 0 of 1 running; myapp_web: 0 of 2 running." in done.err


def test_deploy_in_json_is_one_document(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    done = swarm("up", "--format", "json")
    assert [change["name"] for change in json.loads(done.out)["changes"]] == ["myapp_front", "myapp_web"]


def test_config_prints_the_resolved_file_and_asks_nobody(folder: Path, swarm: Run) -> None:
    done = swarm("stack", "config", "-c", "compose.yaml")
    assert (done.code, "image: nginx:1\n" in done.out) == (0, True)
    assert json.loads(swarm("stack", "config", "-c", "compose.yaml", "--format", "json").out)["name"] == "myapp"


def test_a_wrong_file_is_refused_before_anything_is_sent(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    (folder / "compose.yaml").write_text("services:\n  web:\n    imagee: nginx\n")
    done = swarm("up")
    assert done.code == 1
    assert (
        done.err
        == "Error: compose.yaml:3: services.web.imagee is no key of the compose format; did you mean 'image'?\n"
    )
    assert not cluster.requests


def test_down_waits_until_the_containers_are_gone(folder: Path, cluster: FakeCluster, swarm: Run) -> None:
    swarm("up", "-d")
    keep = next(iter(cluster.objects["task"].values()))
    cluster.objects["service"][keep.service_id].id = keep.service_id
    drop = cluster.drop

    def lasting(kind: str, object_id: str) -> None:
        if object_id != keep.id:
            drop(kind, object_id)

    cluster.drop = lasting  # type: ignore[method-assign]
    done = swarm("down", "--timeout", "0.3")
    assert (done.code, "1 containers are not gone" in done.err) == (4, True)
    over = type(keep)()
    over.CopyFrom(keep)
    over.status.state = TaskState.SHUTDOWN
    cluster.put("task", over)
