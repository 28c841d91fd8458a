"""The life of a task on a node, told as stories."""

import pytest
from swarm_api.types_pb2 import TaskState
from swarm_worker.core import events
from swarm_worker.core.effects import Forget, Prepare, Remove, Resync, SetAlarm, Signal, Start
from swarm_worker.core.events import Health, Phase, Step
from swarm_worker.core.plan import LEAVE_S

from tests.worker.story import Story, container, make_task


def kinds(effects: list[object]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def test_a_task_is_prepared_started_and_reported_running() -> None:
    story = Story()
    task = make_task()
    assert story.assigned(task) == [Prepare(task)]
    assert story.done(Step.PREPARE, container(Phase.CREATED)) == [Start("t1", "c1")]
    assert story.done(Step.START, container(pid=77)) == []
    assert story.states == ["accepted", "preparing", "ready", "starting", "running"]
    assert (story.last.container.container_id, story.last.container.pid) == ("c1", 77)


def test_a_task_desired_ready_is_prepared_but_not_started_until_it_is_wanted_running() -> None:
    story = Story()
    story.assigned(make_task(desired=TaskState.READY))
    assert story.done(Step.PREPARE, container(Phase.CREATED)) == []
    assert story.states[-1] == "ready"
    assert story.assigned(make_task(desired=TaskState.RUNNING)) == [Start("t1", "c1")]


def test_a_task_waits_for_its_network_and_says_why() -> None:
    story = Story()
    task = make_task(networks=["net1"])
    assert story.assigned(task) == []
    assert story.networks(net1="no bridge") == []
    assert story.last.message == "waiting for its network: no bridge"
    assert story.networks("net1") == [Prepare(task)]


def test_a_task_waits_for_its_secret() -> None:
    story = Story()
    task = make_task()
    task.spec.container.secrets.add(secret_id="s1", secret_name="password")
    assert story.assigned(task) == []
    assert story.last.message == "waiting for password"
    assert story.assigned(task, files=frozenset({"secret/s1"})) == [Prepare(task)]


def test_a_task_is_running_only_once_its_health_check_says_so() -> None:
    story = Story().brought_up(make_task(), Health.STARTING)
    assert story.states[-1] == "starting"
    story.happens(events.HealthChanged("t1", "c1", Health.HEALTHY))
    assert story.states[-1] == "running"


def test_a_health_verdict_that_overtakes_the_answer_to_the_start_counts() -> None:
    story = Story()
    story.assigned(make_task())
    story.done(Step.PREPARE, container(Phase.CREATED))
    story.happens(events.HealthChanged("t1", "c1", Health.HEALTHY))
    story.done(Step.START, container(health=Health.STARTING))
    assert story.states[-1] == "running"


@pytest.mark.parametrize("before", [Health.STARTING, Health.HEALTHY])
def test_an_unhealthy_task_fails_with_the_check_s_output_and_is_stopped(before: Health) -> None:
    story = Story().brought_up(make_task(), before)
    effects = story.happens(events.HealthChanged("t1", "c1", Health.UNHEALTHY, "connection\nrefused"))
    assert (story.states[-1], story.last.err) == ("failed", "unhealthy: connection refused")
    assert effects[0] == Signal("t1", "c1", "SIGTERM")
    story.happens(events.ContainerExited("t1", "c1", 143))
    assert story.states[-1] == "failed"


def test_a_task_that_ends_by_itself_is_complete() -> None:
    story = Story().brought_up(make_task())
    assert story.happens(events.ContainerExited("t1", "c1", 0)) == []
    assert (story.states[-1], story.last.err) == ("complete", "")


@pytest.mark.parametrize(
    ("exit_code", "oom", "why"),
    [(3, False, "exited with code 3"), (137, True, "killed: out of memory (exit code 137)")],
)
def test_a_task_that_dies_has_failed_and_says_how(exit_code: int, oom: bool, why: str) -> None:
    story = Story().brought_up(make_task())
    story.happens(events.ContainerExited("t1", "c1", exit_code, oom))
    assert (story.states[-1], story.last.err) == ("failed", why)
    assert (story.last.container.exit_code, story.last.container.oom_killed) == (exit_code, oom)


def test_the_container_of_a_failed_task_is_kept_until_the_manager_forgets_the_task() -> None:
    story = Story().brought_up(make_task())
    story.happens(events.ContainerExited("t1", "c1", 1))
    assert story.assigned(make_task(desired=TaskState.SHUTDOWN)) == []
    assert story.assigned() == [Remove("t1", "c1")]
    assert story.done(Step.REMOVE) == [Forget("t1")]
    assert story.machine.idle


def test_a_task_is_asked_to_stop_then_reported_then_removed() -> None:
    story = Story().brought_up(make_task())
    task = make_task(desired=TaskState.REMOVE)
    task.spec.container.stop_signal = "SIGQUIT"
    task.spec.container.stop_grace_period.FromSeconds(3)
    assert story.assigned(task) == [Signal("t1", "c1", "SIGQUIT"), SetAlarm("t1", 3.0, 1)]
    assert story.happens(events.ContainerExited("t1", "c1", 0)) == [Remove("t1", "c1")]
    assert (story.states[-1], story.last.container.exit_code) == ("shutdown", 0)
    assert story.done(Step.REMOVE) == []
    assert story.assigned() == [Forget("t1")]


def test_a_process_that_ignores_its_stop_signal_is_killed_when_the_grace_is_over() -> None:
    story = Story().brought_up(make_task())
    story.assigned(make_task(desired=TaskState.SHUTDOWN))
    assert story.happens(events.AlarmRang("t1", 1)) == [Signal("t1", "c1", "SIGKILL"), SetAlarm("t1", 10.0, 2)]
    assert story.happens(events.AlarmRang("t1", 1)) == [], "an alarm that was replaced means nothing"
    assert kinds(story.happens(events.AlarmRang("t1", 2))) == ["Signal", "SetAlarm"], "it is killed until it is dead"


def test_a_task_is_not_stopped_before_it_is_out_of_balancing() -> None:
    story = Story().brought_up(make_task())
    assert story.assigned(make_task(desired=TaskState.SHUTDOWN), applied=False) == []
    assert kinds(story.networks()) == ["Signal", "SetAlarm"]


def test_a_task_that_others_reach_is_stopped_when_they_had_the_time_to_turn_away() -> None:
    story = Story().brought_up(make_task(networks=["net1"]))
    assert story.assigned(make_task(desired=TaskState.SHUTDOWN, networks=["net1"]), applied=False) == []
    assert story.networks("net1") == [SetAlarm("t1", LEAVE_S, 1)]
    assert story.networks("net1") == []
    assert story.happens(events.AlarmRang("t1", 1)) == [Signal("t1", "c1", "SIGTERM"), SetAlarm("t1", 10.0, 2)]
    assert kinds(story.happens(events.AlarmRang("t1", 2))) == ["Signal", "SetAlarm"]


def test_a_task_whose_engine_is_away_when_it_should_stop_is_asked_when_the_engine_is_back() -> None:
    story = Story().brought_up(make_task(networks=["net1"]))
    story.assigned(make_task(desired=TaskState.SHUTDOWN, networks=["net1"]))
    story.happens(events.EngineDown("crashed"))
    assert story.happens(events.AlarmRang("t1", 1)) == []
    assert kinds(story.happens(events.EngineUp((container(),)))) == ["SetAlarm"]
    assert kinds(story.happens(events.AlarmRang("t1", 2))) == ["Signal", "SetAlarm"]


def test_a_task_that_never_ran_is_shut_down_at_once() -> None:
    story = Story()
    story.assigned(make_task(networks=["net1"]))
    assert story.assigned(make_task(desired=TaskState.SHUTDOWN)) == []
    assert story.states == ["accepted", "preparing", "shutdown"]


def test_a_task_shut_down_in_the_middle_of_a_pull_is_reported_at_once_and_cleaned_up_later() -> None:
    story = Story()
    story.assigned(make_task())
    story.assigned(make_task(desired=TaskState.SHUTDOWN))
    assert story.states[-1] == "shutdown"
    assert story.done(Step.PREPARE, container(Phase.CREATED)) == [Remove("t1", "c1")]


def test_what_the_engine_refuses_to_make_is_rejected() -> None:
    story = Story()
    story.assigned(make_task())
    assert story.happens(events.StepRefused("t1", Step.PREPARE, "no such image")) == []
    assert (story.states[-1], story.last.err) == ("rejected", "no such image")


def test_what_the_engine_refuses_to_start_has_failed_and_its_container_goes() -> None:
    story = Story()
    story.assigned(make_task())
    story.done(Step.PREPARE, container(Phase.CREATED))
    effects = story.happens(events.StepRefused("t1", Step.START, "port is taken"))
    assert (story.states[-1], story.last.err) == ("failed", "port is taken")
    assert effects == [Remove("t1", "c1")]


class TestWithoutAnEngine:
    def test_tasks_wait_and_say_for_what(self) -> None:
        story = Story(engine=False)
        assert story.assigned(make_task()) == []
        assert story.last.message == "waiting for the Docker engine"
        assert kinds(story.happens(events.EngineUp(()))) == ["Prepare"]

    def test_running_tasks_stay_running_while_the_engine_is_away(self) -> None:
        story = Story().brought_up(make_task())
        before = len(story.reports)
        assert story.happens(events.EngineDown("crashed")) == []
        assert story.happens(events.EngineUp((container(),))) == []
        assert len(story.reports) == before

    def test_a_container_that_died_with_its_engine_is_reported_when_the_engine_is_back(self) -> None:
        story = Story().brought_up(make_task())
        story.happens(events.EngineDown("crashed"))
        story.happens(events.EngineUp((container(Phase.EXITED, exit_code=255),)))
        assert (story.states[-1], story.last.err) == ("failed", "exited with code 255")

    def test_a_container_somebody_removed_meanwhile_is_not_made_again(self) -> None:
        story = Story().brought_up(make_task())
        story.happens(events.EngineDown("crashed"))
        assert story.happens(events.EngineUp(())) == []
        assert (story.states[-1], "gone" in story.last.err) == ("failed", True)

    def test_a_step_without_answer_is_tried_again_after_the_engine_was_asked(self) -> None:
        story = Story()
        story.assigned(make_task())
        assert story.happens(events.StepDeferred("t1", Step.PREPARE, "no answer")) == [Resync()]
        story.happens(events.ListingBegan())
        assert kinds(story.happens(events.EngineUp(()))) == ["Prepare"]

    def test_a_start_that_happened_though_its_answer_was_lost_is_seen(self) -> None:
        story = Story()
        story.assigned(make_task())
        story.done(Step.PREPARE, container(Phase.CREATED))
        story.happens(events.StepDeferred("t1", Step.START, "no answer"))
        assert story.happens(events.EngineUp((container(),))) == []
        assert story.states[-1] == "running"

    def test_a_stop_that_nobody_heard_is_sent_again(self) -> None:
        story = Story().brought_up(make_task())
        story.happens(events.EngineDown("crashed"))
        assert story.assigned(make_task(desired=TaskState.SHUTDOWN)) == []
        assert kinds(story.happens(events.EngineUp((container(),)))) == ["Signal", "SetAlarm"]


class TestAdoption:
    def test_a_running_container_of_an_assigned_task_is_adopted(self) -> None:
        story = Story(engine=False)
        story.assigned(make_task())
        assert story.happens(events.EngineUp((container(),))) == []
        assert story.states[-1] == "running"

    def test_it_is_adopted_also_when_the_engine_answers_before_the_leader(self) -> None:
        story = Story(engine=False)
        story.happens(events.EngineUp((container(),)))
        assert story.assigned(make_task()) == []
        assert story.states[-1] == "running"

    def test_a_container_of_no_task_stays_until_a_leader_has_confirmed_that(self) -> None:
        story = Story(engine=False, confirmed=False)
        story.assigned()
        assert story.happens(events.EngineUp((container(),))) == []
        story.confirmed = True
        assert story.assigned() == [Signal("t1", "c1", "SIGTERM"), SetAlarm("t1", 10.0, 1)]
        assert story.happens(events.ContainerExited("t1", "c1", 0)) == [Remove("t1", "c1")]
        assert story.done(Step.REMOVE) == [Forget("t1")]
        assert story.reports == [], "nobody waits for news of it"

    def test_nothing_is_started_from_what_was_only_saved(self) -> None:
        story = Story(confirmed=False)
        assert story.assigned(make_task()) == []
        story.confirmed = True
        assert kinds(story.assigned(make_task())) == ["Prepare"]

    def test_a_half_made_container_of_an_earlier_process_is_made_anew(self) -> None:
        story = Story(engine=False)
        story.assigned(make_task())
        assert story.happens(events.EngineUp((container(Phase.CREATED),))) == [Remove("t1", "c1")]
        assert kinds(story.done(Step.REMOVE)) == ["Prepare"]

    def test_a_container_known_to_be_prepared_is_started(self) -> None:
        story = Story(engine=False)
        story.assigned(make_task(state=TaskState.READY))
        assert story.happens(events.EngineUp((container(Phase.CREATED),))) == [Start("t1", "c1")]

    def test_an_ended_container_is_reported_with_its_exit_code(self) -> None:
        story = Story(engine=False)
        story.assigned(make_task(state=TaskState.RUNNING))
        story.happens(events.EngineUp((container(Phase.EXITED, exit_code=2),)))
        assert (story.states[-1], story.last.container.exit_code) == ("failed", 2)

    def test_a_task_that_ran_and_whose_container_is_gone_gets_no_second_one(self) -> None:
        story = Story(engine=False)
        story.assigned(make_task(state=TaskState.RUNNING))
        assert story.happens(events.EngineUp(())) == []
        assert story.states[-1] == "failed"

    def test_a_second_container_of_a_task_is_removed(self) -> None:
        story = Story(engine=False)
        story.assigned(make_task())
        two = (container(Phase.CREATED, container_id="c0"), container())
        assert story.happens(events.EngineUp(two)) == [Remove("t1", "c0")]
        assert story.states[-1] == "running"

    def test_a_list_older_than_a_step_does_not_undo_it(self) -> None:
        story = Story()
        story.assigned(make_task())
        story.happens(events.ListingBegan())
        story.done(Step.PREPARE, container(Phase.CREATED))
        story.done(Step.START, container())
        assert story.happens(events.EngineUp(())) == []
        assert story.states[-1] == "running"


class TestNewSessions:
    def test_what_the_new_leader_may_not_know_is_reported_again(self) -> None:
        story = Story().brought_up(make_task())
        story.reports.clear()
        story.happens(events.TasksAssigned({"t1": make_task()}, 9, repeat=True))
        assert story.states == ["running"]

    def test_what_it_knows_is_not(self) -> None:
        story = Story().brought_up(make_task())
        story.reports.clear()
        story.happens(events.TasksAssigned({"t1": make_task(state=TaskState.RUNNING)}, 9, repeat=True))
        assert story.reports == []

    def test_a_wish_never_goes_back(self) -> None:
        story = Story().brought_up(make_task())
        story.assigned(make_task(desired=TaskState.SHUTDOWN))
        story.happens(events.ContainerExited("t1", "c1", 0))
        assert story.assigned(make_task()) == []
        assert story.states[-1] == "shutdown"

    def test_a_task_given_up_as_orphaned_is_stopped(self) -> None:
        story = Story().brought_up(make_task())
        effects = story.assigned(make_task(desired=TaskState.SHUTDOWN, state=TaskState.ORPHANED))
        assert kinds(effects) == ["Signal", "SetAlarm"]
        assert story.states[-1] == "running", "nothing is reported beyond what the manager decided"
