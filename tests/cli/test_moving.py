"""Draining and rebalancing, from the command line to the request."""

import json
import threading

from swarm_api import control_pb2 as api
from swarm_api.objects_pb2 import Node, Task
from swarm_api.types_pb2 import NodeAvailability, TaskState

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run, make_node


def to_move(cluster: FakeCluster, swarm: Run) -> tuple[Node, Node]:
    """A service with a task on a full node, and an empty one."""
    full, empty = make_node(cluster, "full"), make_node(cluster, "empty")
    assert swarm("service", "create", "-d", "--name", "web", "nginx").code == 0
    cluster.rebalances.moves.add(
        service_id=cluster.service("web").id, service_name="web", slot=3, from_node_id=full.id, to_node_id=empty.id
    )
    return full, empty


def test_a_dry_run_shows_the_moves_and_asks_for_nothing_more(cluster: FakeCluster, swarm: Run) -> None:
    to_move(cluster, swarm)
    done = swarm("rebalance", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [["TASK", "FROM", "TO"], ["web.3", "full", "empty"]]
    request = next(r for r in cluster.requests if isinstance(r, api.RebalanceRequest))
    assert (request.dry_run, request.all, list(request.services)) == (True, False, [])
    assert not cluster.service("web").HasField("rebalance_asked_at")


def test_it_waits_until_the_managers_are_done_with_it(cluster: FakeCluster, swarm: Run) -> None:
    to_move(cluster, swarm)
    waiting = swarm("service", "rebalance", "web", "--timeout", "0.1")
    assert waiting.code == 4
    assert waiting.err.splitlines()[-1] == (
        "Error: Not done after 0.1 s (it goes on in the background); still being rebalanced: web."
    )
    timer = threading.Timer(0.3, lambda: cluster.service("web").ClearField("rebalance_asked_at"))
    timer.start()
    done = swarm("--format", "json", "service", "rebalance", "web")
    timer.join()
    assert done.code == 0
    assert json.loads(done.out)["moves"][0]["service_name"] == "web"


def test_what_cannot_be_moved_says_why(cluster: FakeCluster, swarm: Run) -> None:
    cluster.rebalances.unmoved.add(
        service_name="db", reason="Service db stays where it is: its strategy is not spread."
    )
    done = swarm("node", "rebalance", "--all")
    assert done.err == "Service db stays where it is: its strategy is not spread.\n"
    assert done.out.startswith("Nothing to move")


def on_node(cluster: FakeCluster, node: Node, **fields: object) -> Task:
    task = Task(service_id="s", slot=1, node_id=node.id, desired_state=TaskState.RUNNING, **fields)  # type: ignore[arg-type]
    task.service_annotations.name = "web"
    task.status.state = TaskState.RUNNING
    return cluster.put("task", task)  # type: ignore[no-any-return]  # what was put


def test_drain_waits_until_nothing_runs_there(cluster: FakeCluster, swarm: Run) -> None:
    node = make_node(cluster, "n1")
    task = on_node(cluster, node)
    replacement = on_node(cluster, make_node(cluster, "n2"), replaces=task.id)
    replacement.status.err = "No suitable node: 2 nodes lack memory."
    stuck = swarm("node", "drain", "n1", "--wait", "--timeout", "0.1")
    assert stuck.code == 4
    assert "n1: 1 task left: web.1 (No suitable node: 2 nodes lack memory)" in stuck.err
    assert cluster.objects["node"][node.id].spec.availability == NodeAvailability.DRAIN
    timer = threading.Timer(0.3, lambda: setattr(task.status, "state", TaskState.SHUTDOWN))
    timer.start()
    done = swarm("node", "drain", "n1", "--wait")
    timer.join()
    assert (done.code, done.out) == (0, "n1\n")
    assert swarm("node", "activate", "n1").code == 0
    assert cluster.objects["node"][node.id].spec.availability == NodeAvailability.ACTIVE
