"""What a session may change, and what is kept until it is acknowledged."""

from swarm_api.dispatcher_pb2 import Assignment, SessionMessage
from swarm_api.objects_pb2 import TaskStatus
from swarm_api.types_pb2 import TaskState
from swarm_worker.core.assignments import AssignmentSet, Verdict
from swarm_worker.core.reports import PendingReports

from tests.worker.story import make_task


def message(sequence: int, *tasks: str, term: int = 1, session: str = "s", **more: object) -> SessionMessage:
    items = [Assignment(key=f"task/{name}", task=make_task(name)) for name in tasks]
    return SessionMessage(session_id=session, term=term, sequence=sequence, set=items, **more)  # type: ignore[arg-type]


def test_a_full_set_replaces_and_a_change_adds_and_removes() -> None:
    assigned = AssignmentSet()
    assigned.apply(message(1, "a", "b", full=True))
    assert assigned.apply(message(2, "c", removed=["task/a"])) is Verdict.APPLIED
    assert set(assigned.tasks()) == {"b", "c"}
    assigned.apply(message(1, "d", session="s2", full=True))
    assert set(assigned.tasks()) == {"d"}
    assert assigned.generation == 3


def test_a_gap_or_another_session_s_change_is_not_applied() -> None:
    assigned = AssignmentSet()
    assigned.apply(message(1, "a", full=True))
    assert assigned.apply(message(3, "b")) is Verdict.GAP
    assert assigned.apply(message(2, "b", session="other")) is Verdict.GAP
    assert set(assigned.tasks()) == {"a"}
    assert assigned.apply(message(2, "b")) is Verdict.APPLIED


def test_orders_of_an_earlier_term_are_refused_also_after_a_restart() -> None:
    assigned = AssignmentSet()
    assigned.apply(message(1, "a", term=7, full=True))
    again = AssignmentSet()
    again.restore(assigned.saved())
    assert again.apply(message(1, "b", term=6, full=True)) is Verdict.STALE
    assert not again.confirmed
    assert again.apply(message(1, "b", term=7, full=True)) is Verdict.APPLIED
    assert again.confirmed


def test_a_message_without_assignments_is_no_new_generation() -> None:
    assigned = AssignmentSet()
    assigned.apply(message(1, "a", full=True))
    assigned.apply(message(2))
    assert assigned.generation == 1


class TestReports:
    def status(self, state: "TaskState.ValueType") -> TaskStatus:
        return TaskStatus(state=state)

    def test_the_latest_of_each_task_is_kept_until_acknowledged(self) -> None:
        reports = PendingReports()
        reports.add("a", self.status(TaskState.STARTING))
        reports.add("b", self.status(TaskState.READY))
        reports.add("a", self.status(TaskState.RUNNING))
        batch = reports.batch(10)
        assert {r.task_id: r.status.state for r in batch} == {"a": TaskState.RUNNING, "b": TaskState.READY}
        assert len(reports.batch(1)) == 1
        reports.acknowledge(batch)
        assert len(reports) == 0

    def test_what_changed_while_it_was_sent_is_sent_again(self) -> None:
        reports = PendingReports()
        reports.add("a", self.status(TaskState.STARTING))
        sent = reports.batch(10)
        reports.add("a", self.status(TaskState.RUNNING))
        reports.acknowledge(sent)
        assert [r.status.state for r in reports.batch(10)] == [TaskState.RUNNING]

    def test_nobody_waits_for_news_of_a_task_that_is_forgotten(self) -> None:
        reports = PendingReports()
        reports.add("a", self.status(TaskState.RUNNING))
        reports.forget("a")
        assert reports.batch(10) == []
