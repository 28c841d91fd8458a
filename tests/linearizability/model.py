"""How one object behaves when nothing happens at the same time: the sequential model histories are judged by.

A removed object may stay visible as *leaving* until whatever hangs on it has ended; nobody is told when it goes.
So a leaving object is gone as soon as somebody was told that it is, and until then it may be either.
"""

from dataclasses import dataclass, replace

from tests.linearizability.history import Operation, Outcome, Verb


@dataclass(frozen=True, slots=True)
class State:
    """One object: the tag of the write it is as, or none; versions never go back, not even over a removal."""

    tag: str = ""
    is_leaving: bool = False
    last_version: int = 0


ABSENT = State()


def step(state: State, operation: Operation) -> State | None:
    """The state after the operation took effect on `state`; None when it could not have been answered so."""
    match operation.verb:
        case Verb.READ:
            return _read(state, operation)
        case Verb.CREATE:
            return _create(state, operation)
        case Verb.UPDATE:
            return _update(state, operation)
        case Verb.DELETE:
            return _delete(state, operation)


def _read(state: State, operation: Operation) -> State | None:
    if operation.outcome is Outcome.ABSENT:
        return _gone(state)
    return state if state.tag and state.tag == operation.tag else None


def _create(state: State, operation: Operation) -> State | None:
    if operation.outcome is Outcome.TAKEN:
        return state if state.tag else None
    gone = _gone(state)
    return _written(gone, operation) if gone is not None else None


def _update(state: State, operation: Operation) -> State | None:
    match operation.outcome:
        case Outcome.ABSENT:
            return _gone(state)
        case Outcome.LEAVING:
            return state if state.is_leaving else None
        case Outcome.CONFLICT:
            return state if state.tag and not state.is_leaving and state.tag != operation.expected else None
    matches = state.tag == operation.expected and not state.is_leaving
    return _written(state, operation) if state.tag and matches else None


def _delete(state: State, operation: Operation) -> State | None:
    if operation.outcome is Outcome.ABSENT:
        return _gone(state)
    return replace(state, is_leaving=True) if state.tag else None


def _gone(state: State) -> State | None:
    """The state without the object, when it may be away."""
    if state.tag and not state.is_leaving:
        return None
    return State(last_version=state.last_version)


def _written(state: State, operation: Operation) -> State | None:
    if operation.version and operation.version <= state.last_version:
        return None
    return State(operation.tag, last_version=operation.version or state.last_version)
