"""Stale reads: old is allowed, a hole or a step back is not."""

import math

import pytest

from tests.linearizability.history import Operation, Outcome, Verb
from tests.linearizability.prefix import StaleRead, prefix_faults


def write(name: str, tag: str, at: float, version: int, verb: Verb = Verb.CREATE) -> Operation:
    return Operation(name, verb, Outcome.OK, at, at + 1, tag, version=version)


HISTORY = [
    write("x", "x1", 0, 10),
    write("y", "y1", 10, 11),
    write("x", "x2", 20, 12, Verb.UPDATE),
    Operation("z", Verb.DELETE, Outcome.OK, 40, 41),
    write("z", "z1", 30, 13),
    Operation("y", Verb.UPDATE, Outcome.UNKNOWN, 50, math.inf, "y2"),
]


def read(at: float, manager: str = "m1", **seen: tuple[str, int]) -> StaleRead:
    return StaleRead(manager, at, at + 1, seen)


@pytest.mark.parametrize(
    "reads",
    [
        [read(60)],
        [read(60, x=("x1", 10))],
        [read(60, x=("x1", 10), y=("y1", 11))],
        [read(60, x=("x2", 12), y=("y1", 11))],
        [read(60, x=("x2", 12), y=("y1", 11), z=("z1", 13))],
        [read(60, x=("x2", 12), y=("y2", 14))],  # z was removed; nobody else saw y2's version
        [read(60, x=("x2", 12), y=("y1", 11)), read(70, "m2", x=("x1", 10))],
        [read(60, x=("x2", 12), y=("y1", 11)), read(60.5, x=("x1", 10))],  # at the same time
    ],
)
def test_a_prefix_is_accepted(reads: list[StaleRead]) -> None:
    assert prefix_faults(HISTORY, reads) == []


@pytest.mark.parametrize(
    ("reads", "fault"),
    [
        ([read(60, x=("x9", 10))], "which nobody wrote"),
        ([read(60, y=("x1", 10))], "which nobody wrote"),
        ([read(5, x=("x1", 10), y=("y1", 11))], "before that was written"),
        ([read(60, x=("x1", 9))], "others saw it at 10"),
        ([read(60, x=("x2", 12))], "no y, without y1"),
        ([read(60, x=("x1", 10), y=("y2", 14))], "version 10 of x, without x2"),
        ([read(35, x=("x2", 12), y=("y1", 14), z=("z1", 13))], "others saw it at 11"),
        ([read(60, x=("x2", 12), y=("y1", 11)), read(70, x=("x1", 10))], "after it had shown 12"),
    ],
)
def test_what_is_no_prefix_is_refused(reads: list[StaleRead], fault: str) -> None:
    assert any(fault in found for found in prefix_faults(HISTORY, reads)), prefix_faults(HISTORY, reads)
