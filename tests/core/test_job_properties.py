"""Whatever happens to nodes, leaders and containers: a job completes as often as asked, and not once more."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from swarm_api.specs_pb2 import CronSchedule
from swarm_api.types_pb2 import TaskState
from swarm_manager.core.orchestrate.jobs import standing

from tests.core.simulated import SimulatedCluster, service_spec
from tests.core.test_properties import EXAMPLES, mend, new_cluster, node_events, passing_time

pytestmark = pytest.mark.long

TOTAL, AT_ONCE = 4, 2
Step = Callable[[SimulatedCluster], None]


@st.composite
def job_events(draw: st.DrawFn) -> Step:
    what = draw(st.sampled_from(("complete", "complete", "fail", "force", "fewer", "more", "image")))
    number = draw(st.integers(0, 5))

    def happen(cluster: SimulatedCluster) -> None:
        running = [task for task in cluster.running("batch") if task.node_id not in cluster.cut_off]
        if what in ("complete", "fail") and running:
            end = TaskState.COMPLETE if what == "complete" else TaskState.FAILED
            cluster.end_task(running[number % len(running)], end)
            return
        service = type(cluster.service("batch")).FromString(cluster.service("batch").SerializeToString())
        spec = service.spec
        spec.task.force_update += what == "force"
        spec.replicated_job.total_completions = {"fewer": 2, "more": 6}.get(what, TOTAL)
        spec.task.container.image = "app:2" if what == "image" else "app:1"
        cluster.put(service)

    return happen


STEPS = st.lists(st.one_of(job_events(), job_events(), node_events(), passing_time()), max_size=25)


def new_job(*, forgetful: bool, concurrency: int | None) -> SimulatedCluster:
    cluster = new_cluster(forgetful=forgetful)
    spec = service_spec("batch", networks=("net-back",))
    spec.replicated_job.total_completions, spec.replicated_job.max_concurrent = TOTAL, AT_ONCE
    if concurrency is not None:
        spec.schedule.expression = "* * * * *"
        spec.schedule.concurrency = CronSchedule.Concurrency.ValueType(concurrency)
    cluster.create(spec)
    return cluster


def finish(cluster: SimulatedCluster) -> None:
    for _ in range(40):
        for task in cluster.running("batch"):
            cluster.end_task(task, TaskState.COMPLETE)
        cluster.run(1)


@pytest.mark.parametrize("forgetful", [False, True], ids=["one leader", "a new leader at every plan"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_a_job_completes_as_often_as_asked(steps: list[Step], forgetful: bool) -> None:
    cluster = new_job(forgetful=forgetful, concurrency=None)
    for step in steps:
        step(cluster)
        service = cluster.service("batch")
        live = [t for t in cluster.wanted("batch") if t.status.state < TaskState.COMPLETE]
        assert len(live) <= 2 * AT_ONCE or service.spec.replicated_job.total_completions != TOTAL
    mend(cluster)
    finish(cluster)
    service = cluster.service("batch")
    total = service.spec.replicated_job.total_completions
    at = standing(cluster.snapshot, service)
    assert (at.wanted, at.completed, at.failed, at.running) == (total, total, 0, 0)
    wanted = [task for task in cluster.wanted("batch") if task.status.state == TaskState.COMPLETE]
    assert len(wanted) <= total
    assert max(Counter(task.slot for task in wanted).values()) == 1


@pytest.mark.parametrize("concurrency", [CronSchedule.FORBID, CronSchedule.ALLOW, CronSchedule.REPLACE_RUNNING])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_a_scheduled_job_keeps_going(steps: list[Step], concurrency: int) -> None:
    cluster = new_job(forgetful=False, concurrency=concurrency)
    for step in steps:
        step(cluster)
        iterations = {t.job_iteration.index for t in cluster.wanted("batch") if t.status.state < TaskState.COMPLETE}
        if concurrency != CronSchedule.ALLOW:
            cluster.settle()
            iterations = {t.job_iteration.index for t in cluster.wanted("batch")}
            assert iterations <= {cluster.service("batch").job_iteration.index}
    before = cluster.service("batch").job_iteration.index
    for node_id, worker in cluster.workers.items():
        worker.hangs = False
        cluster.connect(node_id)
        cluster.set_availability(node_id, 0)
    for _ in range(3):
        finish(cluster)
        cluster.run(60)
    assert cluster.service("batch").job_iteration.index > before
