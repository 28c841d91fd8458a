"""What Raft asks of the state it replicates."""

from collections.abc import Iterator
from typing import Protocol


class StateMachine(Protocol):
    """A deterministic state.  All methods but `dump`, `read` and `parts` are called on the Raft thread.

    apply     once per index, in order; reads no clock, draws no random number; should not raise.  When it
              does, the exception becomes the result, and the state must be as if it had not been called.
    snapshot  a cheap reference to an immutable image of the state
    dump      that image as bytes; runs on another thread, so it must not touch the live state
    read      the image in such bytes: the inverse of `dump`, and like it runs on another thread; may raise
    load      replace the whole state by such an image; `index` is the last entry it contains
    parts     what such an image holds, to be let go of one by one; runs on another thread
    """

    def apply(self, index: int, term: int, payload: bytes) -> object: ...
    def snapshot(self) -> object: ...
    def dump(self, image: object) -> Iterator[bytes]: ...
    def read(self, data: bytes | memoryview) -> object: ...
    def load(self, image: object, index: int) -> None: ...
    def parts(self, image: object) -> list[object]: ...
