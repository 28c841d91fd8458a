"""Is there an order of the operations that explains everything all clients were told?

Theory of operation
    A history is linearizable when each operation can be given one moment between its call and its return so that,
    taken in the order of these moments, every answer is what the sequential model gives.  The search (Wing & Gong)
    goes depth first: of the operations called before the first return that is still open, any may come next.  What
    was tried is remembered as (set of operations placed, state), which Lowe showed to be enough and which makes
    histories of thousands of operations quick.  Objects are searched one by one.

    A read or a refusal that may come next and fits is placed at once, without a choice: wherever an order has it
    later, it can be moved to here, for nothing before it and nothing after it notices.  (Not so a write, even one
    that changes nothing here, such as the second removal of one object: an order may need its effect later.)

    An operation with an unknown outcome has no return: it may be placed at any time after its call, or never.
    It is tried after those that must be placed, so that the many that never matter are never tried.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.linearizability.history import Operation, Outcome, Verb, by_object
from tests.linearizability.model import ABSENT, State, step


@dataclass(slots=True)
class Attempt:
    """The furthest the search got: what was placed, in order, and the state that was reached."""

    placed: list[Operation] = field(default_factory=list)
    state: State = ABSENT
    is_complete: bool = False


def first_violation(history: Iterable[Operation]) -> list[Operation] | None:
    """The operations on the first object whose part is not linearizable; None: the history is."""
    parts = by_object(history)
    return next((part for part in parts.values() if not linearize(part).is_complete), None)


def linearize(part: Sequence[Operation]) -> Attempt:
    """Search an order for the operations on one object."""
    return _Search(part).run()


@dataclass(slots=True)
class _Frame:
    """One choice: the candidates not tried yet in this state, and the operation that led here."""

    state: State
    candidates: list[int]
    operation: int = -1


class _Search:
    """`_next` links the calls and returns that are not placed yet in the order of time; 0 is the head."""

    def __init__(self, part: Sequence[Operation]) -> None:
        self._operations = sorted((o for o in part if o.is_definite or o.writes), key=lambda o: o.invoked)
        self._doubtful = [n for n, o in enumerate(self._operations) if not o.is_definite]
        self._open = sum(o.is_definite for o in self._operations)
        self._placed = 0  # a bit for each operation
        self._seen: set[tuple[int, State]] = set()
        self._link()

    def _link(self) -> None:
        events: list[tuple[float, int, int]] = []
        for number, operation in enumerate(self._operations):
            if operation.is_definite:
                # A return counts as before a call of the same moment only when it is: calls sort first.
                events.append((operation.invoked, 0, number))
                events.append((operation.returned, 1, number))
        events.sort()
        self._events = [(-1, False), *((number, bool(is_return)) for _, is_return, number in events)]
        self._next = [*range(1, len(self._events)), 0]
        self._previous = [len(self._events) - 1, *range(len(self._events) - 1)]
        places: dict[int, list[int]] = {}
        for place, (number, _) in enumerate(self._events):
            places.setdefault(number, []).append(place)
        self._places = places

    def run(self) -> Attempt:
        best = Attempt()
        frames = [_Frame(ABSENT, self._choices(ABSENT))]
        while frames and self._open:
            after = self._advance(frames[-1])
            if after is not None:
                frames.append(after)
                continue
            if len(frames) > len(best.placed):
                best = self._attempt(frames)
            self._undo(frames.pop().operation)
        return best if self._open else self._attempt(frames)

    def _attempt(self, frames: Sequence[_Frame]) -> Attempt:
        placed = [self._operations[frame.operation] for frame in frames[1:]]
        return Attempt(placed, frames[-1].state, is_complete=not self._open)

    def _advance(self, frame: _Frame) -> _Frame | None:
        """Place the next candidate that fits and leads to something new."""
        while frame.candidates:
            number = frame.candidates.pop()
            state = step(frame.state, self._operations[number])
            if state is None:
                continue
            reached = (self._placed | 1 << number, state)
            if reached in self._seen:
                continue
            self._seen.add(reached)
            self._place(number)
            return _Frame(state, self._choices(state), number)
        return None

    def _choices(self, state: State) -> list[int]:
        """The candidates, or the one that can be placed here without losing any order."""
        candidates = self._candidates()
        for number in candidates:
            operation = self._operations[number]
            if not operation.writes and step(state, operation) == state:
                return [number]
        return candidates

    def _candidates(self) -> list[int]:
        """What may come next, the best last: called before the first return of what is not placed."""
        found: list[int] = []
        place = self._next[0]
        while place and not self._events[place][1]:
            found.append(self._events[place][0])
            place = self._next[place]
        if not place:
            return []
        until = self._operations[self._events[place][0]].returned
        doubtful = [n for n in self._doubtful if not self._placed >> n & 1 and self._operations[n].invoked <= until]
        return [*reversed(doubtful), *reversed(found)]

    def _place(self, number: int) -> None:
        self._placed |= 1 << number
        if self._operations[number].is_definite:
            self._open -= 1
            for place in self._places[number]:
                self._next[self._previous[place]] = self._next[place]
                self._previous[self._next[place]] = self._previous[place]

    def _undo(self, number: int) -> None:
        if number < 0:
            return
        self._placed &= ~(1 << number)
        if self._operations[number].is_definite:
            self._open += 1
            for place in reversed(self._places[number]):
                self._next[self._previous[place]] = place
                self._previous[self._next[place]] = place


def with_versions(history: Sequence[Operation]) -> list[Operation]:
    """Give writes whose answer was lost the version that somebody else saw their tag with."""
    seen = {o.tag: o.version for o in history if o.version and o.outcome is Outcome.OK}
    return [
        Operation(o.name, o.verb, o.outcome, o.invoked, o.returned, o.tag, o.expected, seen.get(o.tag, 0), o.client)
        if o.verb in (Verb.CREATE, Verb.UPDATE) and o.tag
        else o
        for o in history
    ]
