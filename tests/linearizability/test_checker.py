"""The judge is judged: known histories, known bugs, and every small history against brute force."""

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability.checker import first_violation, linearize, with_versions
from tests.linearizability.explain import explain
from tests.linearizability.history import Operation, Outcome, Verb
from tests.linearizability.model import ABSENT, State, step
from tests.linearizability.simulated import Bug, history_of

OUTCOMES = {word.value: word for word in Outcome}


def op(text: str, client: str = "") -> Operation:
    """`1-4 update b over a: ok v7`; an unknown outcome has no second time: `1- create a: unknown`."""
    times, verb, *words = text.replace(":", " ").split()
    invoked, returned = times.split("-")
    version = int(words.pop()[1:]) if words[-1][0] == "v" and words[-1][1:].isdigit() else 0
    outcome = OUTCOMES[words.pop()]
    tag = words[0] if words else ""
    expected = words[2] if "over" in words else ""
    until = float(returned) if returned else math.inf
    return Operation("x", Verb(verb), outcome, float(invoked), until, tag, expected, version, client)


def is_linearizable(*texts: str) -> bool:
    return linearize([op(text) for text in texts]).is_complete


@pytest.mark.parametrize(
    "texts",
    [
        (),
        ("0-1 read: absent",),
        ("0-1 create a: ok", "2-3 read a: ok"),
        ("0-9 create a: ok", "1-2 read: absent", "3-4 read a: ok"),
        ("0-1 create a: ok", "2-8 update b over a: ok", "3-4 read a: ok", "5-6 read b: ok"),
        ("0-1 create a: ok", "2-9 update b over a: ok", "2-9 update c over a: conflict"),
        ("0-1 create a: ok", "2- update b over a: unknown", "3-4 read a: ok", "9-10 read b: ok"),
        ("0-1 create a: ok", "2- update b over a: unknown", "3-4 update c over a: conflict"),
        ("0-1 create a: ok", "2-3 delete: ok", "4-5 create b: taken", "6-7 create b: ok"),
        ("0-1 create a: ok", "2-3 delete: ok", "4-5 update b over a: leaving", "6-7 read a: ok", "8-9 read: absent"),
        ("0- create a: unknown", "1- delete: unknown", "2-3 read a: ok", "4-5 read: absent"),
        ("0-1 create a: ok v3", "2-3 delete: ok", "4-5 create b: ok v9"),
    ],
)
def test_what_can_be_explained_is_accepted(texts: tuple[str, ...]) -> None:
    assert is_linearizable(*texts)


@pytest.mark.parametrize(
    "texts",
    [
        ("0-1 read a: ok",),
        ("0-1 create a: ok", "2-3 read: absent"),
        ("0-9 create a: ok", "1-2 read a: ok", "3-4 read: absent"),
        ("0-1 create a: ok", "2-8 update b over a: ok", "3-4 read b: ok", "5-6 read a: ok"),
        ("0-1 create a: ok", "2-9 update b over a: ok", "2-9 update c over a: ok"),
        ("0-1 create a: ok", "2- update b over a: unknown", "3-4 read b: ok", "9-10 read a: ok"),
        ("0-1 create a: ok", "2-3 update c over a: conflict", "4- update b over a: unknown"),
        ("0-1 create a: ok", "2-3 create b: ok"),
        ("0-1 create a: ok", "2-3 delete: ok", "4-5 read: absent", "6-7 create b: taken"),
        ("0-1 create a: ok", "2-3 delete: ok", "4-5 update b over a: ok"),
        ("0-1 create a: ok", "2-3 update b over a: leaving"),
        ("0-1 create a: ok v9", "2-3 delete: ok", "4-5 create b: ok v3"),
    ],
)
def test_what_cannot_be_explained_is_refused(texts: tuple[str, ...]) -> None:
    assert not is_linearizable(*texts)


# Known bugs, in histories of a size that a run of real managers has


@pytest.mark.parametrize("bug", [None, *Bug])
def test_each_known_bug_is_found_and_sound_histories_are_accepted(bug: Bug | None) -> None:
    for seed in range(3):
        history = with_versions(history_of(random.Random(seed), operations=2000, objects=5, bug=bug))
        found = first_violation(history)
        assert (found is None) == (bug is None), seed
        if found is not None:
            assert not linearize(found).is_complete


@pytest.mark.long
def test_tens_of_thousands_of_operations_are_judged() -> None:
    history = history_of(random.Random(1), operations=20_000, objects=100, clients=16)
    assert first_violation(with_versions(history)) is None


@pytest.mark.long
def test_a_long_history_of_one_object_is_judged() -> None:
    assert first_violation(with_versions(history_of(random.Random(2), operations=5_000, objects=1, clients=12))) is None


def test_a_violation_is_shown_by_the_few_operations_that_matter() -> None:
    history = with_versions(history_of(random.Random(3), operations=3000, objects=1, bug=Bug.STALE_READ))
    part = first_violation(history)
    assert part is not None
    shown = explain(part, [(part[0].invoked, "partition n1 | n2 n3")])
    lines = shown.splitlines()
    assert 4 <= len(lines) <= 12, shown
    assert "no order explains" in lines[0]
    assert ": ok" in lines[-1] or ": absent" in lines[-1], shown


# Every small history


def brute_force(operations: Sequence[Operation]) -> bool:
    """Whether any order of any subset that leaves out only doubtful operations explains the answers."""
    doubtful = [o for o in operations if not o.is_definite]
    definite = [o for o in operations if o.is_definite]
    for count in range(len(doubtful) + 1):
        for chosen in itertools.combinations(doubtful, count):
            if any(_explains(order) for order in itertools.permutations([*definite, *chosen])):
                return True
    return False


def _explains(order: Sequence[Operation]) -> bool:
    if any(later.returned < earlier.invoked for earlier, later in itertools.combinations(order, 2)):
        return False
    state: State | None = ABSENT
    for operation in order:
        assert state is not None
        state = step(state, operation)
        if state is None:
            return False
    return True


def _operation(verb: Verb, choice: tuple[Outcome, str, str, int, int, int]) -> Operation:
    outcome, tag, expected, invoked, lasts, version = choice
    until = math.inf if outcome is Outcome.UNKNOWN else invoked + lasts + 0.5
    has_tag = verb in (Verb.CREATE, Verb.UPDATE) or (verb is Verb.READ and outcome is Outcome.OK)
    return Operation(
        "x", verb, outcome, invoked, until, tag if has_tag else "", expected if verb is Verb.UPDATE else "", version
    )


ANSWERS = {
    Verb.CREATE: (Outcome.OK, Outcome.TAKEN, Outcome.UNKNOWN),
    Verb.UPDATE: (Outcome.OK, Outcome.CONFLICT, Outcome.ABSENT, Outcome.LEAVING, Outcome.UNKNOWN),
    Verb.DELETE: (Outcome.OK, Outcome.ABSENT, Outcome.UNKNOWN),
    Verb.READ: (Outcome.OK, Outcome.ABSENT),
}
TAGS = st.sampled_from(["a", "b", "c"])


def operations_of(verb: Verb) -> st.SearchStrategy[Operation]:
    choice = st.tuples(
        st.sampled_from(ANSWERS[verb]), TAGS, TAGS, st.integers(0, 9), st.integers(0, 6), st.integers(0, 3)
    )
    return choice.map(lambda made: _operation(verb, made))


@pytest.mark.long
@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(list(Verb)).flatmap(operations_of), max_size=5))
def test_the_search_agrees_with_brute_force_on_anything(operations: list[Operation]) -> None:
    assert linearize(operations).is_complete == brute_force(operations)


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([None, *Bug]))
def test_the_search_agrees_with_brute_force_on_what_systems_do(seed: int, bug: Bug | None) -> None:
    """Mostly sound histories, where a search that gives up too early would show."""
    operations = history_of(random.Random(seed), operations=7, objects=1, clients=4, bug=bug)
    assert linearize(operations).is_complete == brute_force(operations)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9))
def test_an_explanation_is_a_violation_of_its_own(seed: int) -> None:
    operations = history_of(random.Random(seed), operations=40, objects=1, clients=5, bug=Bug.STALE_READ)
    if not linearize(operations).is_complete:
        assert "furthest" in explain(operations)
