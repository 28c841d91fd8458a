"""A cluster goes on with one manager from the state of another."""

from swarm_api.eras import first_index
from swarm_api.objects_pb2 import Node, Restoration
from swarm_api.types_pb2 import NodeRole, NodeState, TaskState
from swarm_manager.core.codec import dump, load
from swarm_manager.core.invariants import index_drift, violations
from swarm_manager.core.kinds import KINDS
from swarm_manager.core.refounding import Refounding, former_managers, is_due_back, refounded
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.status import progress
from swarm_manager.core.times import SECOND_NS, ns, timestamp

from tests.core.simulated import SimulatedCluster, service_spec

NOW_NS = 1_800_000_000 * SECOND_NS
ERA = 7


def running() -> SimulatedCluster:
    """Two managers and a worker that run a service of six."""
    cluster = SimulatedCluster("m1", "m2", "w1")
    for node_id in ("m1", "m2"):
        node = Node()
        node.CopyFrom(cluster.snapshot.nodes[node_id])
        node.spec.role = node.role = NodeRole.MANAGER
        node.manager_address = f"10.0.0.{node_id[1]}:2377"
        cluster.put(node)
    cluster.create(service_spec("web", replicas=6))
    cluster.run()
    return cluster


def founder(node_id: str) -> Node:
    return Node(id=node_id, manager_address="10.9.9.9:2377")


def plan(before: Snapshot, node: Node, due_s: float | None = 300) -> Refounding:
    restoration = Restoration(era=ERA, restored_at=timestamp(NOW_NS))
    if due_s is not None:
        restoration.nodes_due.CopyFrom(timestamp(NOW_NS + int(due_s * SECOND_NS)))
    return Refounding(node, first_index(ERA, before.index), restoration)


def test_all_but_the_managers_is_kept() -> None:
    before = running().snapshot
    after = refounded(before, plan(before, founder("new")))
    assert after.index > before.index
    for kind in (kind for kind in KINDS.values() if kind.noun not in ("node", "cluster")):
        assert {o.id: o for o in after.all_of(kind.number)} == {o.id: o for o in before.all_of(kind.number)}
    assert after.requests == before.requests
    assert after.cluster is not None
    assert before.cluster is not None
    assert after.cluster.spec == before.cluster.spec
    assert after.cluster.root_ca == before.cluster.root_ca
    assert violations(after) == []
    assert index_drift(after) == []


def test_the_old_managers_are_workers_that_may_come_back() -> None:
    before = running().snapshot
    after = refounded(before, plan(before, founder("new")))
    roles = {n.id: (n.spec.role, n.role, n.manager_address, n.status.state) for n in after.nodes.values()}
    assert roles["m1"] == roles["m2"] == (NodeRole.WORKER, NodeRole.MANAGER, "", NodeState.DISCONNECTED)
    assert roles["w1"][3] == NodeState.DISCONNECTED
    assert roles["new"][:3] == (NodeRole.MANAGER, NodeRole.MANAGER, "10.9.9.9:2377")
    assert after.nodes["m1"].meta.version.index == after.index
    assert [n.id for n in former_managers(before, "new")] == ["m1", "m2"]


def test_a_recovered_manager_stays_the_node_it_was_and_the_others_keep_their_state() -> None:
    before = running().snapshot
    survivor = Node()
    survivor.CopyFrom(before.nodes["m1"])
    after = refounded(before, plan(before, survivor, due_s=None))
    assert after.nodes["m1"].spec.role == NodeRole.MANAGER
    assert after.nodes["m1"].status == before.nodes["m1"].status
    assert after.nodes["m2"].spec.role == NodeRole.WORKER
    assert after.nodes["m2"].status.state == before.nodes["m2"].status.state
    assert [n.id for n in former_managers(before, "m1")] == ["m2"]


def test_it_is_written_and_read_like_any_state() -> None:
    before = running().snapshot
    after = refounded(before, plan(before, founder("new")))
    again = load(b"".join(dump(after)))
    assert again.index == after.index
    assert again.cluster == after.cluster


def restored(cluster: SimulatedCluster) -> None:
    """The simulated cluster goes on from its own state, as if restored; nobody is heard of yet."""
    before = cluster.snapshot
    cluster.snapshot = refounded(before, plan(before, founder("new")))
    assert violations(cluster.snapshot) == []


def test_nothing_is_moved_from_nodes_that_may_come_back() -> None:
    cluster = running()
    tasks = {t.id for t in cluster.wanted("web")}
    restored(cluster)
    cluster.run(60)
    assert {t.id for t in cluster.wanted("web")} == tasks
    assert all(t.status.state == TaskState.RUNNING for t in cluster.wanted("web"))


def test_what_is_not_back_is_not_said_to_run() -> None:
    cluster = running()
    assert progress(cluster.snapshot, cluster.wanted("web")[0].service_id).running == 6
    restored(cluster)
    service = cluster.wanted("web")[0].service_id
    said = progress(cluster.snapshot, service)
    assert (said.wanted, said.running) == (6, 0)
    assert "not back since the cluster was restored" in said.waiting_for
    back = Node()
    back.CopyFrom(cluster.snapshot.nodes["w1"])
    back.status.state = NodeState.READY_STATE
    cluster.put(back)
    assert progress(cluster.snapshot, service).running == len(cluster.snapshot.tasks_on_node("w1"))


def test_no_new_task_is_given_to_a_node_that_has_not_come_back() -> None:
    cluster = running()
    restored(cluster)
    cluster.create(service_spec("late", replicas=1))
    cluster.run(10)
    assert [t.node_id for t in cluster.wanted("late")] == [""]


def test_the_time_to_come_back_ends() -> None:
    before = running().snapshot
    after = refounded(before, plan(before, founder("new"), due_s=300))
    assert not is_due_back(after, NOW_NS + 299 * SECOND_NS)
    assert is_due_back(after, NOW_NS + 300 * SECOND_NS)
    assert is_due_back(before, 0)
    assert after.cluster is not None
    assert ns(after.cluster.restoration.restored_at) == NOW_NS
