"""What the command line says of managers: the quorum, those that are dead, and readings that may be old."""

import time

import pytest
from swarm_api.control_pb2 import GetInfoResponse, ManagerInfo
from swarm_api.types_pb2 import NodeRole
from swarm_cli.quorum import role_warning

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run, make_node

READINGS = (
    ("node", "ls"),
    ("node", "inspect", "n1"),
    ("node", "ps", "n1"),
    ("service", "ls"),
    ("service", "inspect", "web"),
    ("service", "ps", "web"),
    ("service", "history", "web"),
    ("stack", "ls"),
    ("stack", "ps", "shop"),
    ("stack", "services", "shop"),
    ("network", "ls"),
    ("secret", "ls"),
    ("config", "ls"),
    ("cluster", "inspect"),
    ("ps", "-p", "shop"),
)


@pytest.mark.parametrize("words", READINGS, ids=" ".join)
def test_every_reading_can_be_stale_and_says_how_old_it_is(
    words: tuple[str, ...], cluster: FakeCluster, swarm: Run
) -> None:
    make_node(cluster, "n1")
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    swarm("service", "create", "-d", "--name", "shop_web", "--label", "com.docker.stack.namespace=shop", "nginx:1")
    fresh = len(cluster.requests)
    assert swarm(*words).code == 0
    assert not any(request.stale for request in cluster.requests[fresh:])
    old = len(cluster.requests)
    done = swarm(*words, "--stale")
    assert done.code == 0
    assert done.err.startswith(f"Stale: as manager n1 has it, up to entry {cluster.index}; the leader it knows is n1.")
    assert all(request.stale for request in cluster.requests[old:])


def test_a_warning_about_a_node_stands_at_its_end(cluster: FakeCluster, swarm: Run) -> None:
    node = make_node(cluster, "n1")
    cluster.node_warnings = {node.id: "Its certificate ends in 3 hours and was not renewed."}
    assert "NOTE" in swarm("node", "ls").out
    assert "certificate ends" in " ".join(swarm("node", "ls").out.split())


def test_info_shows_since_when_a_manager_is_dead_and_what_to_look_after(cluster: FakeCluster, swarm: Run) -> None:
    dead = ManagerInfo(node_id="n2", address="10.0.0.2:2377", reachability=1, voter=True)
    dead.unreachable_since.FromSeconds(int(time.time()) - 7200)
    cluster.managers.append(dead)
    cluster.warnings = ["There are two managers, and both must live: promote a third, or demote one."]
    out = swarm("info").out
    assert "Unreachable, since 2 hours ago" in out
    assert out.endswith("promote a third, or demote one.\n")


def test_a_second_manager_is_warned_of_before_it_is_made(cluster: FakeCluster, swarm: Run) -> None:
    make_node(cluster, "n2")
    done = swarm("node", "promote", "n2")
    assert (done.code, done.out) == (0, "n2 promoted to a manager.\n")
    assert done.err.startswith("Warning: Two managers are worse than one")


@pytest.mark.parametrize(
    ("voters", "dead", "count", "role", "text"),
    [
        (1, 0, 1, NodeRole.MANAGER, "Two managers are worse"),
        (1, 0, 2, NodeRole.MANAGER, ""),
        (3, 0, 1, NodeRole.MANAGER, "4 managers stand no more losses than 3"),
        (3, 0, 2, NodeRole.MANAGER, ""),
        (3, 1, 1, NodeRole.MANAGER, "demote the dead ones"),
        (3, 0, 1, NodeRole.WORKER, "Two managers are worse"),
        (2, 0, 1, NodeRole.WORKER, "One manager is left"),
        (5, 0, 2, NodeRole.WORKER, ""),
    ],
)
def test_what_a_change_means_for_the_quorum(
    voters: int, dead: int, count: int, role: "NodeRole.ValueType", text: str
) -> None:
    managers = [
        ManagerInfo(node_id=f"n{n}", leader=n == 0, reachability=1 if n >= voters - dead else 2, voter=True)
        for n in range(voters)
    ]
    warning = role_warning(GetInfoResponse(managers=managers), count, role)
    assert (text in warning) if text else warning == ""


@pytest.mark.parametrize(("text", "seconds"), [("on", 86400), ("off", 0), ("2h", 7200)])
def test_autopilot_is_a_setting_of_the_cluster(text: str, seconds: int, cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("cluster", "update", "--autopilot", text).code == 0
    assert cluster.cluster.spec.remove_dead_managers_after.seconds == seconds
    assert swarm("cluster", "update", "--autopilot", "soon").code == 2
