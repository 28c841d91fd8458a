"""The planner's face: one commit, only what is dirty, versions, batches, the agenda. And that the invariants bite."""

import itertools
from collections.abc import Callable

import pytest
from swarm_api.objects_pb2 import Network, Node, ObjectKind, Service, Task
from swarm_api.specs_pb2 import ServiceDependency
from swarm_api.types_pb2 import NodeState, TaskState
from swarm_manager.core import planner
from swarm_manager.core.diff import Action, events_between
from swarm_manager.core.dirty import FREED, dirty_ids
from swarm_manager.core.draft import Draft
from swarm_manager.core.invariants import backward_steps, index_drift, unsettled, violations
from swarm_manager.core.machine import Conflict
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import SECOND_NS, ns, timestamp

from tests.core.simulated import SimulatedCluster, service_spec


def plan(cluster: SimulatedCluster, dirty: planner.Dirty) -> planner.Plan:
    return planner.plan(cluster.snapshot, cluster.now, dirty, (f"p{n}" for n in itertools.count()))


def with_service(replicas: int = 3) -> SimulatedCluster:
    cluster = SimulatedCluster("n1", "n2", "n3")
    network = cluster.add_network("back")
    spec = service_spec("web", replicas=replicas, networks=(network,))
    spec.endpoint.ports.add(target_port=80)
    cluster.create(spec)
    return cluster


def test_from_creation_to_assignment_is_one_plan() -> None:
    cluster = with_service()
    made = plan(cluster, {"s-web"})
    tasks = [change.object.task for change in made.changes if change.kind == ObjectKind.TASK]
    assert [task.status.state for task in tasks] == [TaskState.ASSIGNED] * 3
    assert all(attachment.address for task in tasks for attachment in task.networks)
    networks = [change.object.network for change in made.changes if change.kind == ObjectKind.NETWORK]
    assert all(set(network.gateways) == {"n1", "n2", "n3"} for network in networks)


def test_changes_come_in_an_order_in_which_each_beginning_is_valid() -> None:
    cluster = with_service()
    kinds = [change.kind for change in plan(cluster, planner.ALL).changes]
    assert kinds == sorted(kinds, key=[ObjectKind.NETWORK, ObjectKind.SERVICE, ObjectKind.TASK].index)


def test_changes_name_the_versions_they_were_decided_on() -> None:
    cluster = with_service()
    made = plan(cluster, planner.ALL)
    service = cluster.service("web")
    versions = {change.id: change.expected_version for change in made.changes}
    assert versions["s-web"] == service.meta.version.index
    assert versions["p1"] == 0
    service.spec.task.container.image = "meanwhile"
    cluster.put(Service(id="s-web", spec=service.spec, meta=service.meta))
    outcome = cluster.propose(made.changes)
    assert isinstance(outcome, Conflict)
    assert outcome.stale


def test_nothing_dirty_nothing_done() -> None:
    cluster = with_service()
    assert plan(cluster, set()).changes == []
    assert plan(cluster, {"nobody", FREED}).changes == []


def test_planning_on_the_result_changes_nothing() -> None:
    cluster = with_service()
    cluster.commit(plan(cluster, planner.ALL).changes)
    assert plan(cluster, planner.ALL).changes == []


def test_batches_are_small_and_lose_nothing() -> None:
    made = plan(with_service(replicas=50), planner.ALL)
    batches = list(made.batches(max_size_bytes=2000))
    assert len(batches) > 3
    assert [change for batch in batches for change in batch] == made.changes
    assert all(sum(change.ByteSize() for change in batch) <= 2000 for batch in batches)
    assert [len(batch) for batch in made.batches(max_size_bytes=1)] == [1] * len(made.changes)


def test_a_plan_tells_when_to_look_again() -> None:
    cluster = with_service(replicas=1)
    cluster.run()
    cluster.end_task(cluster.running("web")[0])
    made = plan(cluster, {"s-web"})
    assert made.wake_at is not None
    assert ns(made.wake_at) == cluster.now_ns + 5 * SECOND_NS
    agenda = planner.Agenda()
    agenda.note(made)
    assert agenda.due(cluster.now) == set()
    assert agenda.due(made.wake_at) == {"s-web"}
    agenda.note(planner.Plan(looked_at=frozenset({"s-web"})))
    assert agenda.next_at() is None


def test_what_became_dirty() -> None:
    cluster = with_service(replicas=1)
    cluster.run()
    before = cluster.snapshot
    cluster.end_task(cluster.running("web")[0])
    happened = events_between(before, cluster.snapshot)
    assert [event.action for event in happened] == [Action.UPDATE]
    assert dirty_ids(happened, cluster.snapshot) == {"s-web", FREED}
    before = cluster.snapshot
    cluster.add_node("n9")
    assert dirty_ids(events_between(before, cluster.snapshot), cluster.snapshot) == {"n9"}
    before = cluster.snapshot
    cluster.remove_node("n9")
    (event,) = events_between(before, cluster.snapshot)
    assert (event.action, event.new) == (Action.REMOVE, None)


def dirty_while_coming_up(cluster: SimulatedCluster) -> set[str]:
    """What became dirty while the assigned tasks came to run, though the planner was not asked."""
    dirty: set[str] = set()
    before = cluster.snapshot
    while cluster.step_workers():
        dirty |= dirty_ids(events_between(before, cluster.snapshot), cluster.snapshot)
        before = cluster.snapshot
    return dirty


def test_tasks_that_come_up_as_they_were_told_to_make_no_plan() -> None:
    cluster = with_service()
    cluster.settle()
    assert dirty_while_coming_up(cluster) == set()
    assert len(cluster.running("web")) == 3


def depended_on(cluster: SimulatedCluster) -> None:
    spec = service_spec("front")
    spec.depends_on.add(service="web", condition=ServiceDependency.HEALTHY)
    cluster.create(spec)


def updated(cluster: SimulatedCluster) -> None:
    cluster.run()
    cluster.update("web", image="app:2")


def replaced(cluster: SimulatedCluster) -> None:
    cluster.run()
    cluster.end_task(cluster.running("web")[0])
    cluster.now_ns += 10 * SECOND_NS


@pytest.mark.parametrize("happens", [depended_on, updated, replaced])
def test_tasks_whose_coming_up_somebody_waits_for_do(happens: Callable[[SimulatedCluster], None]) -> None:
    cluster = with_service()
    happens(cluster)
    cluster.settle()
    assert "s-web" in dirty_while_coming_up(cluster)


# The invariants find what they are there for


def put_wanted(draft: Draft, task_id: str, slot: int = 1, address: str = "") -> None:
    task = Task(id=task_id, service_id="s", slot=slot, node_id="n", desired_state=TaskState.RUNNING)
    task.status.state = TaskState.RUNNING
    if address:
        task.networks.add(network_id="net", address=address)
    draft.put(ObjectKind.TASK, task)


def three_in_a_slot(draft: Draft) -> None:
    for task_id in "abc":
        put_wanted(draft, task_id)


def strangers_in_a_slot(draft: Draft) -> None:
    put_wanted(draft, "a")
    put_wanted(draft, "b")


def the_same_address(draft: Draft) -> None:
    draft.put(ObjectKind.NETWORK, Network(id="net", subnet="10.0.0.0/24", gateways={"n": "10.0.0.9"}))
    put_wanted(draft, "a", address="10.0.0.9")


def an_address_outside(draft: Draft) -> None:
    draft.put(ObjectKind.NETWORK, Network(id="net", subnet="10.0.0.0/24"))
    put_wanted(draft, "a", address="10.0.0.1")


def overlapping_subnets(draft: Draft) -> None:
    draft.put(ObjectKind.NETWORK, Network(id="a", subnet="10.0.0.0/24"))
    draft.put(ObjectKind.NETWORK, Network(id="b", subnet="10.0.0.128/25"))


def the_same_vni(draft: Draft) -> None:
    draft.put(ObjectKind.NETWORK, Network(id="a", vni=5000))
    draft.put(ObjectKind.NETWORK, Network(id="b", vni=5000))


def the_same_name_and_port(draft: Draft) -> None:
    for service_id in "ab":
        service = Service(id=service_id)
        service.spec.annotations.name = "web"
        service.spec.endpoint.ports.add(target_port=80, published_port=80)
        draft.put(ObjectKind.SERVICE, service)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (three_in_a_slot, "has 3 wanted tasks"),
        (strangers_in_a_slot, "neither replaces the other"),
        (the_same_address, "given out 2 times"),
        (an_address_outside, "is not one that network net gives out"),
        (overlapping_subnets, "overlap"),
        (the_same_vni, "VXLAN id 5000"),
        (the_same_name_and_port, "2 services are named web"),
        (the_same_name_and_port, "port tcp/80 is published by 2"),
    ],
)
def test_violations_are_found(wrong: Callable[[Draft], None], words: str) -> None:
    draft = Draft(Snapshot())
    wrong(draft)
    assert any(words in text for text in violations(draft)), violations(draft)


def test_other_checks_bite_too() -> None:
    draft = Draft(Snapshot())
    put_wanted(draft, "a")
    assert unsettled(draft) == ["Task a is wanted on node n, which does not exist."]
    later = Draft(draft)
    back = Task(id="a", service_id="s", slot=1, desired_state=TaskState.READY)
    later.put(ObjectKind.TASK, back)
    assert len(backward_steps(draft, later)) == 2
    draft.unassigned = draft.unassigned.set("x", back)
    assert index_drift(draft) == ["unassigned"]


def test_a_silent_node_keeps_its_tasks_where_the_service_says_so() -> None:
    cluster = SimulatedCluster("n1", "n2")
    spec = service_spec("web", replicas=2)
    spec.task.on_disconnect = spec.task.KEEP
    cluster.create(spec)
    cluster.run()
    cluster.lose("n1")
    cluster.run(60)
    assert {task.node_id for task in cluster.wanted("web")} == {"n1", "n2"}
    assert len(cluster.wanted("web")) == 2
    cluster.connect("n1")
    cluster.run()
    assert cluster.nodes_of("web") == ["n1", "n2"]


def test_tasks_of_a_node_that_stays_away_are_given_up_in_the_end() -> None:
    cluster = SimulatedCluster("n1", "n2")
    cluster.create(service_spec("web", replicas=2))
    cluster.run()
    cluster.lose("n1")
    cluster.run(23 * 3600)
    states = {task.status.state for task in cluster.tasks("web") if task.node_id == "n1"}
    assert states == {TaskState.RUNNING}
    cluster.run(2 * 3600)
    states = {task.status.state for task in cluster.tasks("web") if task.node_id == "n1"}
    assert states == {TaskState.ORPHANED}


def test_a_node_that_closed_its_session_is_not_given_up_yet() -> None:
    cluster = SimulatedCluster("n1", "n2")
    cluster.create(service_spec("web", replicas=2))
    cluster.run()
    node = Node()
    node.CopyFrom(cluster.snapshot.nodes["n1"])
    node.status.state = NodeState.DISCONNECTED
    node.status.since.CopyFrom(timestamp(cluster.now_ns))
    cluster.put(node)
    cluster.run(60)
    assert len(cluster.wanted("web")) == 2
    assert {task.node_id for task in cluster.wanted("web")} == {"n1", "n2"}


def test_many_dirty_services_are_planned_for_in_portions() -> None:
    cluster = SimulatedCluster("n1")
    for name in ("a", "b", "c"):
        cluster.create(service_spec(name, replicas=3))
    cluster.run()
    services = set(cluster.snapshot.services)
    now, later = planner.portion(cluster.snapshot, services | {"n1"}, tasks=4)
    assert len(now & services) == 2
    assert now | later == services | {"n1"}
    assert "n1" in now
    assert planner.portion(cluster.snapshot, services, tasks=9) == (services, set())
