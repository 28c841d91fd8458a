"""What nodes are told: enough, nothing of others' secrets, and only when it concerns them."""

from swarm_api.dispatcher_pb2 import SessionMessage
from swarm_api.objects_pb2 import Config, Secret, Task
from swarm_api.types_pb2 import TaskState
from swarm_manager.core.diff import events_between
from swarm_manager.core.dispatch import Assignments, Differences, Told, affected_nodes, assignments_for, stops_serving

from tests.core.simulated import SimulatedCluster, service_spec


def with_secret(name: str, constraint: str) -> SimulatedCluster:
    cluster = SimulatedCluster("n1", "n2")
    secret = Secret(id="sec")
    secret.spec.annotations.name = "password"
    secret.spec.data = b"hunter2"
    config = Config(id="conf")
    config.spec.annotations.name = "motd"
    config.spec.data = b"hello"
    cluster.put(secret, config)
    spec = service_spec(name)
    spec.task.container.secrets.add(secret_id="sec", secret_name="password")
    spec.task.container.configs.add(config_id="conf", config_name="motd")
    spec.task.placement.constraints.append(constraint)
    cluster.create(spec)
    cluster.run()
    return cluster


def told_since(before: Told, cluster: SimulatedCluster) -> SessionMessage:
    """What n1 is told now that it was not told before."""
    return SessionMessage.FromString(Differences().between(before, assignments_for(cluster.snapshot, "n1")))


def test_a_secret_goes_only_to_the_nodes_whose_tasks_name_it() -> None:
    cluster = with_secret("web", "node.id == n1")
    assert cluster.workers["n1"].told["secret/sec"].secret.data == b"hunter2"
    assert cluster.workers["n1"].told["config/conf"].config.data == b"hello"
    assert not [key for key in cluster.workers["n2"].told if key.startswith(("secret/", "config/", "task/"))]


def test_a_secret_is_taken_back_when_its_last_task_is_over() -> None:
    cluster = with_secret("web", "node.id == n1")
    cluster.remove("web")
    cluster.run()
    assert cluster.workers["n1"].told == {}


def test_a_changed_secret_reaches_its_users_only() -> None:
    cluster = with_secret("web", "node.id == n1")
    changed = Secret()
    changed.CopyFrom(cluster.snapshot.secrets["sec"])
    changed.spec.data = b"new"
    cluster.put(changed)
    cluster.check_workers()
    assert cluster.workers["n1"].told["secret/sec"].secret.data == b"new"


def test_what_a_worker_reports_is_not_sent_back() -> None:
    cluster = SimulatedCluster("n1")
    cluster.create(service_spec("web"))
    cluster.plan()
    before = assignments_for(cluster.snapshot, "n1")
    cluster.step_workers()
    news = told_since(before, cluster)
    assert not news.set
    assert not news.removed


def test_a_task_leaves_traffic_before_it_is_stopped() -> None:
    cluster = SimulatedCluster("n1", "n2")
    network = cluster.add_network("back")
    cluster.create(service_spec("web", networks=(network,)))
    cluster.run()
    (task,) = cluster.running("web")
    key = f"endpoint/{network}/{task.id}"
    assert cluster.workers[task.node_id].told[key].endpoint.serving
    cluster.remove("web")
    cluster.plan()
    told = cluster.workers[task.node_id].told
    assert not told[key].endpoint.serving
    assert told[f"task/{task.id}"].task.desired_state == TaskState.REMOVE


def test_a_node_without_tasks_of_a_network_hears_nothing_of_it() -> None:
    cluster = SimulatedCluster("n1", "n2")
    network = cluster.add_network("back")
    spec = service_spec("web", networks=(network,))
    spec.task.placement.constraints.append("node.id == n1")
    cluster.create(spec)
    cluster.run()
    assert cluster.workers["n2"].told == {}


def test_an_unknown_node_is_told_nothing() -> None:
    assert assignments_for(SimulatedCluster("n1").snapshot, "n9") == {}


def test_difference_finds_what_is_new_changed_and_gone() -> None:
    cluster = SimulatedCluster("n1")
    cluster.create(service_spec("web", replicas=2))
    cluster.run()
    before = assignments_for(cluster.snapshot, "n1")
    cluster.update("web", replicas=1)
    cluster.plan()
    news = told_since(before, cluster)
    assert [item.task.desired_state for item in news.set] == [TaskState.REMOVE]
    assert not news.removed
    cluster.run()
    news = told_since(before, cluster)
    assert not news.set
    assert len(news.removed) == 1


def test_what_nodes_share_is_made_once_and_kept_while_it_stays_the_same() -> None:
    cluster = SimulatedCluster("n1", "n2", "n3")
    spec = service_spec("web", replicas=3)
    spec.endpoint.ports.add(target_port=80, published_port=8080)
    cluster.create(spec)
    cluster.run()
    before = Assignments(cluster.snapshot)
    ingress = cluster.snapshot.ingress_network()
    assert ingress is not None
    part = before.for_node("n1").shared[ingress.id]
    assert before.for_node("n2").shared[ingress.id] is part
    assert f"gateway/{ingress.id}/n1" not in before.for_node("n1")
    assert f"gateway/{ingress.id}/n1" in before.for_node("n2")
    secret = Secret(id="sec")
    secret.spec.annotations.name = "password"
    cluster.put(secret)
    after = Assignments(cluster.snapshot, before)
    assert after.for_node("n3").shared[ingress.id] is part
    cluster.lose("n2")
    assert Assignments(cluster.snapshot, after).for_node("n3").shared[ingress.id] is not part


def test_a_report_that_changes_no_order_concerns_no_node() -> None:
    cluster = SimulatedCluster("n1")
    cluster.create(service_spec("web"))
    cluster.plan()
    before = cluster.snapshot
    cluster.step_workers()
    assert events_between(before, cluster.snapshot)
    assert affected_nodes(before, cluster.snapshot, events_between(before, cluster.snapshot)) == set()


def test_urgent_is_that_a_task_which_others_can_reach_gets_no_traffic_any_more() -> None:
    cluster = SimulatedCluster("n1", "n2")
    network = cluster.add_network("back")
    cluster.create(service_spec("web", replicas=2, networks=(network,)))
    cluster.create(service_spec("alone", replicas=2))
    before = cluster.snapshot
    cluster.run()
    assert not any(map(stops_serving, events_between(before, cluster.snapshot)))
    before = cluster.snapshot
    cluster.update("web", replicas=1)
    cluster.update("alone", replicas=1)
    cluster.plan()
    urgent = [event for event in events_between(before, cluster.snapshot) if stops_serving(event)]
    assert [event.old.service_id for event in urgent if isinstance(event.old, Task)] == ["s-web"]
