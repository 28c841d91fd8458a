"""Heartbeats become rarer where there are very many nodes."""

from swarm_api.objects_pb2 import Cluster, Node, ObjectKind
from swarm_manager.core.draft import Draft
from swarm_manager.core.heartbeats import down_after_ns, period_ns
from swarm_manager.core.snapshot import Snapshot, View
from swarm_manager.core.times import SECOND_NS


def view_of(nodes: int, period_s: int = 0, down_after_s: int = 0) -> View:
    draft = Draft(Snapshot())
    cluster = Cluster(id="cluster")
    cluster.spec.heartbeat_period.seconds = period_s
    cluster.spec.node_down_after.seconds = down_after_s
    draft.put(ObjectKind.CLUSTER, cluster)
    for number in range(nodes):
        draft.put(ObjectKind.NODE, Node(id=f"n{number}"))
    return draft


def in_s(view: View) -> tuple[float, float]:
    return period_ns(view) / SECOND_NS, down_after_ns(view) / SECOND_NS


def test_up_to_five_hundred_nodes_it_is_as_the_cluster_s_spec_says() -> None:
    assert in_s(view_of(500)) == (1, 3)
    assert in_s(view_of(3, period_s=2, down_after_s=30)) == (2, 30)


def test_more_nodes_together_beat_no_more_often_and_have_as_many_periods_to_be_heard() -> None:
    assert in_s(view_of(1000)) == (2, 6)
    assert in_s(view_of(1000, period_s=1, down_after_s=5)) == (2, 10)
    assert in_s(view_of(1000, period_s=4, down_after_s=9)) == (4, 9), "rare enough as it is"
