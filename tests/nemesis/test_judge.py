"""What the judge holds against managers, and what it excuses."""

import io
import math
from pathlib import Path

from tests.linearizability.history import Operation, Outcome, Verb
from tests.linearizability.prefix import StaleRead
from tests.nemesis.faults import Event
from tests.nemesis.judge import judge
from tests.nemesis.recording import Complaint, Recorder, Recording
from tests.nemesis.schedule import Kind

CREATED = Operation("x", Verb.CREATE, Outcome.OK, 1.0, 2.0, "a", version=5, client="c1")
LOST = Operation("x", Verb.UPDATE, Outcome.UNKNOWN, 3.0, math.inf, "b", "a")
NEW, OLD = StaleRead("n1", 10.0, 11.0, {"x": ("b", 7)}), StaleRead("n1", 30.0, 31.0, {"x": ("a", 5)})
LATE = Complaint("n2", "GetRequest", 20.0, 30.0, is_late=True)


def recording(
    *operations: Operation, stale: tuple[StaleRead, ...] = (), complaints: tuple[Complaint, ...] = ()
) -> Recording:
    return Recording(list(operations), list(stale), list(complaints), is_complete=True)


def killed(manager: str, at: float, until: float) -> Event:
    return Event(Kind.KILL, (manager,), at, until)


def test_what_is_written_down_is_read_back(tmp_path: Path) -> None:
    file = io.StringIO()
    recorder = Recorder(file)
    for operation in (CREATED, LOST):
        recorder.operation(operation)
    recorder.stale(NEW)
    recorder.complaint(LATE)
    (tmp_path / "cut").write_text(file.getvalue())
    recorder.end()
    (tmp_path / "whole").write_text(file.getvalue())
    expected = recording(CREATED, LOST, stale=(NEW,), complaints=(LATE,))
    assert Recording.read(tmp_path / "whole") == expected
    assert not Recording.read(tmp_path / "cut").is_complete


def test_a_history_that_was_cut_short_is_no_proof() -> None:
    assert judge(Recording([CREATED]), []) == ["some object could not be read at the end"]


def test_one_write_has_one_version() -> None:
    other = Operation("x", Verb.READ, Outcome.OK, 3.0, 4.0, "a", version=6)
    assert judge(recording(CREATED, other), []) == ["a was seen at versions [5, 6]"]


def test_a_manager_may_go_back_only_when_it_was_restarted() -> None:
    seen = recording(CREATED, LOST, stale=(NEW, OLD))
    assert judge(seen, []) == ["n1 (0) showed x at version 5 after it had shown 7"]
    assert judge(seen, [killed("n2", 15, 18)]) == ["n1 (0) showed x at version 5 after it had shown 7"]
    assert judge(seen, [killed("n1", 15, 18)]) == []


def test_only_what_a_fault_touches_may_be_silent() -> None:
    silent = recording(CREATED, complaints=(LATE,))
    assert "which nothing ailed" in judge(silent, [killed("n1", 20, 25)])[0]
    assert "which nothing ailed" in judge(silent, [killed("n2", 1, 2)])[0]
    assert judge(silent, [killed("n2", 25, 27)]) == []
    internal = Complaint("n2", "GetRequest: INTERNAL", 20.0, 21.0, is_late=False)
    assert "nobody should get" in judge(recording(complaints=(internal,)), [killed("n2", 20, 27)])[0]
