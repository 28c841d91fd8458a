"""A violation for people: the fewest operations that cannot be explained, in the order of time."""

import math
from collections.abc import Iterable, Sequence

from tests.linearizability.checker import Attempt, linearize
from tests.linearizability.history import Operation, Verb
from tests.linearizability.model import State


def explain(part: Sequence[Operation], events: Iterable[tuple[float, str]] = ()) -> str:
    """Why the operations on one object are not linearizable; `events` near them (time, what) are shown beside."""
    window = shrunk(shortest_prefix(part))
    furthest = linearize(window)
    window = _without_the_idle(window, furthest)
    since, until = _span(window)
    lines = [(o.invoked, _line(o, since)) for o in window]
    lines += [(at, f"{at - since:9.4f}            {what}") for at, what in events if since - 2 <= at <= until + 1]
    stuck = [o for o in window if o.is_definite and o not in furthest.placed]
    head = f"{part[0].name}: no order explains what clients were told (seconds from the first call):"
    tail = f"furthest: {len(furthest.placed)} of {len(window)} explained, then it {_shown(furthest.state)}, against"
    return "\n".join([head, *(line for _, line in sorted(lines)), tail, *(_line(o, since) for o in stuck)])


def shortest_prefix(part: Sequence[Operation]) -> list[Operation]:
    """The history until the first return that cannot be explained."""
    ends = sorted(o.returned for o in part if o.is_definite)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if linearize(_until(part, ends[middle])).is_complete:
            low = middle + 1
        else:
            high = middle
    return _until(part, ends[low]) if ends else list(part)


def shrunk(part: Sequence[Operation]) -> list[Operation]:
    """Say less and less, the oldest first, as long as what is left cannot be explained."""
    kept = sorted(part, key=lambda o: o.invoked)
    for operation in list(kept):
        weaker = operation.weakened()
        fewer = [weaker if o is operation else o for o in kept]
        candidate = [o for o in fewer if o is not None]
        if operation.writes and not operation.is_definite:
            continue  # without it a read of its tag would look like an invention
        if not linearize(candidate).is_complete:
            kept = candidate
    return kept


def _without_the_idle(window: Sequence[Operation], furthest: Attempt) -> list[Operation]:
    """Leave out doubtful writes that explained nothing and whose tag nobody names."""
    named = {o.tag for o in window if o.verb is Verb.READ} | {o.expected for o in window}
    return [o for o in window if o.is_definite or o.tag in named or o in furthest.placed]


def _until(part: Sequence[Operation], end: float) -> list[Operation]:
    cut = [o if o.returned <= end else o.weakened() or o for o in part if o.invoked <= end]
    return [o for o in cut if o.returned <= end or (o.writes and not o.is_definite)]


def _span(window: Sequence[Operation]) -> tuple[float, float]:
    return min(o.invoked for o in window), max(o.returned if o.is_definite else o.invoked for o in window)


def _line(operation: Operation, since: float) -> str:
    returned = "        ?" if math.isinf(operation.returned) else f"{operation.returned - since:9.4f}"
    asked = f"{operation.verb} {operation.tag}".rstrip()
    if operation.expected:
        asked += f" over {operation.expected}"
    version = f" v{operation.version}" if operation.version else ""
    return f"{operation.invoked - since:9.4f} {returned}  {operation.client:>10}  {asked}: {operation.outcome}{version}"


def _shown(state: State) -> str:
    return "is absent" if not state.tag else f"is {state.tag}{' and leaving' if state.is_leaving else ''}"
