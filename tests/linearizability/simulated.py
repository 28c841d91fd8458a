"""Histories of an imagined store, sound or with one of the bugs that stores are known for."""

import enum
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.linearizability.history import Operation, Outcome, Verb
from tests.linearizability.model import ABSENT, State, step

RARELY = 0.05
UNKNOWN_SHARE = 0.01


class Bug(enum.StrEnum):
    """What stores get wrong."""

    STALE_READ = "a read shows what was overwritten before it was asked for"
    LOST_WRITE = "an acknowledged write is forgotten"
    DOUBLE_APPLY = "a retried request is done twice"
    DIRTY_READ = "a read shows a write that was refused"


@dataclass
class _Object:
    state: State = ABSENT
    past: list[tuple[float, State]] = field(default_factory=list)  # (until when, state)
    #: A state and an operation that made it: what a second apply would repeat.
    last: Operation | None = None

    def become(self, state: State, now: float) -> None:
        if state != self.state:
            self.past.append((now, self.state))
            self.state = state


class _Store:
    def __init__(self, rng: random.Random, objects: int, bug: Bug | None) -> None:
        self.rng = rng
        self.bug = bug
        self.objects = {f"x{n}": _Object() for n in range(objects)}
        self.now = 0.0
        self.tags = 0
        self.version = 0

    def operation(self, pace: float) -> Operation:
        """One more request: it takes effect now, some time after its call and some time before its return."""
        self.now += self.rng.expovariate(1.0)
        name = self.rng.choice(list(self.objects))
        verb = self.rng.choices(list(Verb), weights=(2, 4, 1, 5))[0]
        self.tags += 1
        invoked = self.now - self.rng.random() * pace
        returned = self.now + self.rng.random() * pace
        thing = self.objects[name]
        asked = Operation(name, verb, Outcome.OK, invoked, returned, f"t{self.tags}", client=f"c{self.tags % 7}")
        if verb is Verb.READ:
            return self._read(thing, asked)
        if verb is Verb.UPDATE:
            asked = _with(asked, expected=self._guess(thing))
        return self._write(thing, asked)

    def _guess(self, thing: _Object) -> str:
        states = [thing.state, *(state for _, state in thing.past[-2:])]
        return self.rng.choice(states).tag or "t0"

    def _read(self, thing: _Object, asked: Operation) -> Operation:
        self._let_go(thing)
        state = thing.state
        if self.bug is Bug.STALE_READ and self.rng.random() < RARELY:
            state = next((old for until, old in reversed(thing.past) if until < asked.invoked), state)
        if self.bug is Bug.DIRTY_READ and state.tag and self.rng.random() < RARELY:
            return _with(asked, tag="refused")
        return _with(asked, tag=state.tag) if state.tag else _with(asked, outcome=Outcome.ABSENT, tag="")

    def _write(self, thing: _Object, asked: Operation) -> Operation:
        self._let_go(thing)
        if self.rng.random() < UNKNOWN_SHARE:
            return self._doubtful(thing, asked)
        for outcome in _ANSWERS[asked.verb]:
            answered = _with(asked, outcome=outcome, tag=asked.tag if asked.verb is not Verb.DELETE else "")
            state = step(thing.state, answered)
            if state is not None:
                return self._answer(thing, answered, state)
        raise AssertionError("the model answers everything")

    def _answer(self, thing: _Object, answered: Operation, state: State) -> Operation:
        if answered.outcome is not Outcome.OK:
            return answered
        self.version += 1
        if answered.verb is not Verb.DELETE:
            answered = _with(answered, version=self.version)
        if self.bug is not Bug.LOST_WRITE or self.rng.random() > RARELY:
            thing.become(state, self.now)
        if self.bug is Bug.DOUBLE_APPLY and thing.last is not None and self.rng.random() < RARELY:
            thing.become(State(thing.last.tag), self.now)
        if answered.verb is not Verb.DELETE:
            thing.last = answered
        return answered

    def _doubtful(self, thing: _Object, asked: Operation) -> Operation:
        answered = _with(asked, outcome=Outcome.UNKNOWN, returned=math.inf)
        state = step(thing.state, answered)
        if state is not None and self.rng.random() < 0.5:
            self.version += 1
            thing.become(state, self.now)
        return answered

    def _let_go(self, thing: _Object) -> None:
        """A leaving object goes at some time."""
        if thing.state.is_leaving and self.rng.random() < 0.5:
            thing.become(ABSENT, self.now)


_ANSWERS = {
    Verb.CREATE: (Outcome.OK, Outcome.TAKEN),
    Verb.UPDATE: (Outcome.OK, Outcome.LEAVING, Outcome.CONFLICT, Outcome.ABSENT),
    Verb.DELETE: (Outcome.OK, Outcome.ABSENT),
}


def _with(o: Operation, **changes: object) -> Operation:
    fields = {name: getattr(o, name) for name in o.__slots__} | changes
    return Operation(**fields)


def history_of(
    rng: random.Random, *, operations: int, objects: int, clients: int = 8, bug: Bug | None = None
) -> list[Operation]:
    """So many requests to a store, about `clients` of them at a time; with a bug, some answers are wrong."""

    def made() -> Iterator[Operation]:
        store = _Store(rng, objects, bug)
        for _ in range(operations):
            yield store.operation(pace=float(clients))

    return list(made())
