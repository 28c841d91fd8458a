"""Workers' reports: late, twice, out of order, foreign. Nodes' states. Progress."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_api.objects_pb2 import NodeDescription
from swarm_api.types_pb2 import NodeState, TaskState
from swarm_manager.core.dispatch import assignments_for
from swarm_manager.core.status import merge_reports, node_lost, node_seen, progress
from swarm_manager.core.times import ns

from tests.core.simulated import SimulatedCluster, report, service_spec

STATES = [TaskState.ACCEPTED, TaskState.PREPARING, TaskState.READY, TaskState.STARTING, TaskState.RUNNING]


def assigned() -> tuple[SimulatedCluster, str]:
    cluster = SimulatedCluster("n1")
    cluster.create(service_spec("web"))
    cluster.plan()
    return cluster, cluster.tasks("web")[0].id


@given(st.permutations([*STATES, *STATES]))
def test_of_reports_in_any_order_the_furthest_counts(states: list[int]) -> None:
    cluster, task_id = assigned()
    for state in states:
        cluster.commit(merge_reports(cluster.snapshot, "n1", [report(task_id, state)], cluster.now))
    assert cluster.snapshot.tasks[task_id].status.state == TaskState.RUNNING


def test_a_batch_makes_one_change_a_task() -> None:
    cluster, task_id = assigned()
    changes = merge_reports(cluster.snapshot, "n1", [report(task_id, state) for state in STATES], cluster.now)
    assert [change.object.task.status.state for change in changes] == [TaskState.RUNNING]


def test_every_state_keeps_the_time_it_was_first_seen() -> None:
    cluster, task_id = assigned()
    started_ns = cluster.now_ns
    for seconds, states in ((1, STATES[:2]), (2, [STATES[1]]), (3, STATES[2:]), (9, [TaskState.FAILED])):
        cluster.now_ns = started_ns + seconds * 10**9
        reports = [report(task_id, state) for state in states]
        cluster.propose(merge_reports(cluster.snapshot, "n1", reports, cluster.now))
    seen = [(s.state, (ns(s.since) - started_ns) // 10**9) for s in cluster.snapshot.tasks[task_id].status.states]
    assert seen == [
        (TaskState.ASSIGNED, 0),
        (TaskState.ACCEPTED, 1),
        (TaskState.PREPARING, 1),
        (TaskState.READY, 3),
        (TaskState.STARTING, 3),
        (TaskState.RUNNING, 3),
        (TaskState.FAILED, 9),
    ]


def test_a_task_that_waits_for_an_engine_that_hangs_says_so() -> None:
    cluster = SimulatedCluster("n1", "n2")
    cluster.create(service_spec("web", replicas=2))
    cluster.run()
    cluster.workers["n1"].hangs = True
    cluster.update("web", image="app:2")
    cluster.run(30)
    at = progress(cluster.snapshot, "s-web")
    assert at.running == 1
    assert at.waiting_for == "task 1 is assigned: the task before it is still being stopped on n1"


def test_what_a_worker_is_told_does_not_change_with_what_it_reports() -> None:
    cluster, task_id = assigned()
    before = cluster.workers["n1"].told[f"task/{task_id}"]
    cluster.commit(merge_reports(cluster.snapshot, "n1", [report(task_id, TaskState.STARTING)], cluster.now))
    assert assignments_for(cluster.snapshot, "n1")[f"task/{task_id}"] == before


@pytest.mark.parametrize("late", [TaskState.RUNNING, TaskState.SHUTDOWN, TaskState.ACCEPTED])
def test_nothing_follows_the_end(late: int) -> None:
    cluster, task_id = assigned()
    cluster.commit(merge_reports(cluster.snapshot, "n1", [report(task_id, TaskState.FAILED, "exit 1")], cluster.now))
    assert merge_reports(cluster.snapshot, "n1", [report(task_id, late)], cluster.now) == []


def test_a_repeated_report_changes_nothing_but_a_new_detail_does() -> None:
    cluster, task_id = assigned()
    first = report(task_id, TaskState.STARTING)
    cluster.commit(merge_reports(cluster.snapshot, "n1", [first], cluster.now))
    cluster.now_ns += 10**9
    assert merge_reports(cluster.snapshot, "n1", [first], cluster.now) == []
    first.status.container.health = "connection refused"
    (change,) = merge_reports(cluster.snapshot, "n1", [first], cluster.now)
    entered = cluster.snapshot.tasks[task_id].status.timestamp
    assert change.object.task.status.timestamp == entered, "the time a state was entered stays"


def test_reports_about_others_tasks_are_ignored() -> None:
    cluster, task_id = assigned()
    assert merge_reports(cluster.snapshot, "n2", [report(task_id, TaskState.RUNNING)], cluster.now) == []
    assert merge_reports(cluster.snapshot, "n1", [report("nobody", TaskState.RUNNING)], cluster.now) == []


def test_a_node_that_says_the_same_again_changes_nothing() -> None:
    cluster = SimulatedCluster("n1")
    node = cluster.snapshot.nodes["n1"]
    assert node_seen(cluster.snapshot, "n1", node.description, "", cluster.now) == []
    (change,) = node_seen(cluster.snapshot, "n1", NodeDescription(hostname="other"), "", cluster.now)
    assert change.object.node.status.address == node.status.address
    assert change.object.node.status.since == node.status.since


def test_a_node_is_lost_once() -> None:
    cluster = SimulatedCluster("n1")
    cluster.lose("n1")
    assert cluster.snapshot.nodes["n1"].status.message == "no heartbeat for 3 s"
    assert node_lost(cluster.snapshot, "n1", NodeState.DOWN, "again", cluster.now) == []
    assert node_lost(cluster.snapshot, "n9", NodeState.DOWN, "?", cluster.now) == []


def test_progress_says_what_is_waited_for() -> None:
    cluster = SimulatedCluster("n1")
    cluster.workers["n1"].broken_images["bad:1"] = TaskState.REJECTED
    cluster.create(service_spec("web", replicas=2, image="bad:1"))
    cluster.plan()
    assert progress(cluster.snapshot, "s-web").waiting_for == "task 1 is assigned: assigned to a node"
    (first, second) = cluster.tasks("web")
    cluster.workers["n1"].states[first.id] = TaskState.RUNNING
    reports = [report(first.id, TaskState.RUNNING), report(second.id, TaskState.REJECTED, "No such image: bad:1.")]
    cluster.commit(merge_reports(cluster.snapshot, "n1", reports, cluster.now))
    cluster.plan()
    at = progress(cluster.snapshot, "s-web")
    assert (at.wanted, at.running) == (2, 1)
    assert at.waiting_for.endswith("No such image: bad:1.")


def test_progress_of_a_lost_node_counts_nothing() -> None:
    cluster = SimulatedCluster("n1")
    cluster.create(service_spec("web"))
    cluster.run()
    assert progress(cluster.snapshot, "s-web").running == 1
    cluster.lose("n1")
    assert progress(cluster.snapshot, "s-web").running == 0
    assert progress(cluster.snapshot, "nobody").wanted == 0


def test_since_when_a_task_runs_is_kept_whatever_follows() -> None:
    cluster, task_id = assigned()
    since = cluster.now
    cluster.commit(merge_reports(cluster.snapshot, "n1", [report(task_id, TaskState.RUNNING)], since))
    cluster.now_ns += 10**9
    detail = report(task_id, TaskState.RUNNING)
    detail.status.message = "healthy"
    detail.status.running_since.seconds = 1  # a worker's clock is not ours
    cluster.commit(merge_reports(cluster.snapshot, "n1", [detail], cluster.now))
    cluster.commit(merge_reports(cluster.snapshot, "n1", [report(task_id, TaskState.FAILED)], cluster.now))
    status = cluster.snapshot.tasks[task_id].status
    assert (status.state, status.running_since) == (TaskState.FAILED, since)


def test_a_task_that_never_ran_has_no_such_time() -> None:
    cluster, task_id = assigned()
    cluster.commit(merge_reports(cluster.snapshot, "n1", [report(task_id, TaskState.FAILED)], cluster.now))
    assert not cluster.snapshot.tasks[task_id].status.HasField("running_since")
