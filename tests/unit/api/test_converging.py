"""When has a service converged?"""

import pytest
from swarm_api.control_pb2 import ServiceProgress
from swarm_api.converging import judge
from swarm_api.objects_pb2 import Service, Task, UpdateStatus
from swarm_api.types_pb2 import TaskState

NEW, OLD = 7, 5


def service(replicas: int = 2, update: int = UpdateStatus.NONE) -> Service:
    made = Service(id="s")
    made.spec.annotations.name = "web"
    made.spec.replicated.replicas = replicas
    made.spec.task.container.image = "web:2"
    made.spec_version.index = NEW
    made.update_status.state = update
    return made


def task(state: int, version: int = NEW, desired: int = TaskState.RUNNING, message: str = "", image: str = "") -> Task:
    made = Task(service_id="s", slot=1, desired_state=desired)
    made.spec_version.index = version
    made.spec.container.image = image or ("web:2" if version == NEW else "web:1")
    made.status.state, made.status.message = state, message
    return made


RUNNING, STARTING, FAILED = TaskState.RUNNING, TaskState.STARTING, TaskState.FAILED


@pytest.mark.parametrize(
    ("why", "tasks", "running", "done"),
    [
        ("all run", [task(RUNNING), task(RUNNING)], 2, True),
        ("one starts", [task(RUNNING), task(STARTING)], 1, False),
        ("one is missing", [task(RUNNING)], 1, False),
        ("an outdated one still runs", [task(RUNNING), task(RUNNING), task(RUNNING, OLD)], 2, False),
        ("the outdated one is being stopped", [task(RUNNING), task(RUNNING), task(RUNNING, OLD, 640)], 2, True),
        ("an older one that asks for the same counts", [task(RUNNING), task(RUNNING, OLD, image="web:2")], 2, True),
        ("one too many is wanted still", [task(RUNNING), task(RUNNING), task(RUNNING)], 3, False),
        ("a failed one is history", [task(RUNNING), task(RUNNING), task(FAILED, NEW, 640)], 2, True),
    ],
)
def test_replicated(why: str, tasks: list[Task], running: int, done: bool) -> None:
    verdict = judge(service(), ServiceProgress(wanted=2, running=2), tasks)
    assert (verdict.running, verdict.done) == (running, done), why


def test_an_update_under_way_is_not_converged_though_all_run() -> None:
    assert not judge(service(update=UpdateStatus.UPDATING), None, [task(RUNNING), task(RUNNING)]).done


def test_nothing_wanted_and_nothing_there() -> None:
    assert judge(service(replicas=0), None, []).done


def test_a_service_that_is_being_removed_never_converges() -> None:
    removed = service(replicas=0)
    removed.pending_delete = True
    assert not judge(removed, None, []).done


def test_a_global_service_wants_what_the_manager_says() -> None:
    everywhere = service()
    getattr(everywhere.spec, "global").SetInParent()
    tasks = [task(RUNNING), task(RUNNING)]
    assert not judge(everywhere, ServiceProgress(wanted=3), tasks).done
    assert judge(everywhere, ServiceProgress(wanted=2), tasks).done


def test_a_job_is_done_when_its_runs_are_complete() -> None:
    job = service()
    job.spec.replicated_job.total_completions = 3
    assert not judge(job, ServiceProgress(wanted=3, completed=2), []).done
    verdict = judge(job, ServiceProgress(wanted=3, completed=3), [])
    assert verdict.done
    assert str(verdict) == "web: 3 of 3 complete"


def test_what_is_waited_for() -> None:
    tasks = [task(RUNNING), task(STARTING, message="health check not passed yet")]
    assert str(judge(service(), None, tasks)) == "web: 1 of 2 running: health check not passed yet"
    said = ServiceProgress(wanted=2, waiting_for="no node has 64 GiB free")
    assert judge(service(), said, tasks).waiting_for == "no node has 64 GiB free"


def test_a_task_stays_current_when_only_what_surrounds_it_changed() -> None:
    changed = service()
    changed.spec_version.index = 9
    changed.spec.task.restart.delay.seconds = 7
    assert judge(changed, None, [task(RUNNING), task(RUNNING)]).done
    changed.spec.task.container.image = "other:1"
    assert not judge(changed, None, [task(RUNNING), task(RUNNING)]).done


def test_a_canary_that_waits_has_converged() -> None:
    held = service(update=UpdateStatus.CANARY)
    held.canary.share.tasks = 1
    assert judge(held, None, [task(RUNNING), task(RUNNING, OLD)]).done
    assert not judge(held, None, [task(RUNNING), task(FAILED, OLD)]).done
    held.update_status.state = UpdateStatus.UPDATING
    begun = judge(held, None, [task(STARTING), task(RUNNING, OLD)])
    assert (begun.running, begun.wanted, begun.done) == (1, 2, False)
    held.canary.promoted, held.update_status.state = True, UpdateStatus.COMPLETED
    assert not judge(held, None, [task(RUNNING), task(RUNNING, OLD)]).done
