"""What somebody should look after."""

import pytest
from swarm_api.objects_pb2 import Cluster, Node
from swarm_manager.core.quorum import Health
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.warnings import cluster_warnings, duration, node_warnings

from tests.unit.manager.stores import MemoryStore, cluster, node

DAY_NS = 86400 * 10**9
NOW_NS = 1000 * DAY_NS


def state(*nodes: Node, settings: Cluster | None = None) -> Snapshot:
    store = MemoryStore()
    store.put(settings or cluster(), *nodes)
    return store.snapshot


def with_certificate(node_id: str, days_left: float) -> Node:
    found = node(node_id)
    found.certificate_ends.FromNanoseconds(NOW_NS + int(days_left * DAY_NS))
    return found


@pytest.mark.parametrize(
    ("days_left", "text"),
    [(80, ""), (18.5, ""), (8, "ends in 8 days and was not renewed"), (-1, "has ended: run 'swarm-cli rejoin")],
)
def test_a_certificate_of_90_days(days_left: float, text: str) -> None:
    found = node_warnings(state(with_certificate("n1", days_left)), [], NOW_NS)
    assert (text in found["n1"]) if text else found == {}


def test_a_manager_that_is_gone_is_told_with_its_name_and_for_how_long() -> None:
    members = [Health("m1", True, 0), Health("m2", True, 7200), Health("m3", True, 0), Health("m4", True, 3)]
    (text,) = cluster_warnings(state(node("m2"), node("m4")), members, NOW_NS)
    assert text.startswith("Node host-m2: Its manager has been unreachable for 2 hours")


def test_a_quorum_with_nothing_to_spare() -> None:
    assert "both must live" in cluster_warnings(state(), [Health("a", True, 0), Health("b", True, 0)], NOW_NS)[0]
    members = [Health("a", True, 0), Health("b", True, 0), Health("c", True, 1)]
    assert "just a quorum" in cluster_warnings(state(), members, NOW_NS)[0]


def test_why_autopilot_leaves_a_dead_manager_in_place() -> None:
    settings = cluster()
    settings.spec.remove_dead_managers_after.FromSeconds(60)
    members = [Health("a", True, 0), Health("b", True, 0), Health("c", True, 61)]
    texts = cluster_warnings(state(node("c"), settings=settings), members, NOW_NS)
    assert any(text.startswith("Manager host-c is dead and is not taken out: 2 would be left") for text in texts)


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (119, "119 s"), (600, "10 minutes"), (7200, "2 hours")])
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
