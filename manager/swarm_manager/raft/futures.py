"""Settling futures that a caller may have cancelled meanwhile, without ever raising into the Raft thread."""

import contextlib
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

T = TypeVar("T")


def resolve(future: "Future[T]", result: T) -> None:
    """Give the result, unless the future is settled or cancelled already."""
    with contextlib.suppress(InvalidStateError):
        future.set_result(result)


def fail(future: "Future[T]", error: BaseException) -> None:
    """Give the error, unless the future is settled or cancelled already."""
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)
