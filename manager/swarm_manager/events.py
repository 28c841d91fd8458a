"""The latest changes, for whoever follows the state: watchers, the dispatcher, the planner.

Theory of operation
    The Raft thread applies commits and hands each one's events to the asyncio loop, where they enter a bounded ring.
    A follower is only a position in that ring, so a slow one costs nothing and holds nobody up: when the ring has
    gone past its position, or a whole snapshot was installed in place of single commits, it is told TooOldError,
    reads the state anew and follows from there.  Everything that follows is level-triggered, so nothing is lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice

from swarm_manager.core.diff import Event
from swarm_manager.core.kinds import Stored
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import TooOldError

RING_SIZE = 4096  # commits
RING_SIZE_BYTES = 4 * 1024 * 1024  # of what they carried; in memory it takes some twenty times that


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit changed."""

    index: int  # of the commit
    at_ns: int  # when it was proposed, nanoseconds since 1970
    events: Sequence[Event]
    snapshot: Snapshot  # right after it
    size_bytes: int = 0  # of the commit


class EventRing:
    """The last commits' events.  All methods belong to the asyncio loop's thread."""

    def __init__(self, index: int = 0, size: int = RING_SIZE, size_bytes: int = RING_SIZE_BYTES) -> None:
        self._batches: deque[Batch] = deque()
        self._size = size
        self._limit_bytes = size_bytes
        self._size_bytes = 0
        self._first = 0  # sequence number of the oldest batch kept
        self._floor = index  # all changes after this index are kept
        self._wake = asyncio.Event()

    def publish(self, batches: Sequence[Batch]) -> None:
        """Add commits; the oldest make room."""
        self._batches.extend(batches)
        self._size_bytes += sum(batch.size_bytes for batch in batches)
        while len(self._batches) > self._size or self._size_bytes > self._limit_bytes:
            oldest = self._batches.popleft()
            self._size_bytes -= oldest.size_bytes
            self._floor = oldest.index
            self._first += 1
        self._wake_all()

    def reset(self, index: int) -> None:
        """The state jumped to `index` (a snapshot was installed): nobody can follow across that."""
        self._first += len(self._batches) + 1  # every position from before becomes invalid
        self._batches.clear()
        self._size_bytes = 0
        self._floor = index
        self._wake_all()

    def object_at(self, kind: int, object_id: str, version: int) -> Stored | None:
        """The object as it was at that version of it, while the commit that made it is remembered."""
        for batch in reversed(self._batches):
            if batch.index < version:
                return None
            for event in batch.events if batch.index == version else ():
                if (event.kind, event.id) == (kind, object_id):
                    return event.new
        return None

    def _wake_all(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    async def follow(self, after: int) -> AsyncIterator[Sequence[Batch]]:
        """Every commit after index `after`, in order, as many at a time as there are.

        Raises TooOldError when they are not all here any more.
        """
        position = self._position(after)
        while True:
            wake = self._wake
            if position < self._first:
                raise TooOldError("The watcher fell behind; list anew, then watch from there.")
            fresh = list(islice(self._batches, position - self._first, None))
            if fresh:
                position += len(fresh)
                yield fresh
            else:
                await wake.wait()

    def _position(self, after: int) -> int:
        if after < self._floor:
            raise TooOldError(
                f"Changes are remembered from version {self._floor} on, not from {after}; list anew, then watch from "
                "there."
            )
        newer = sum(1 for batch in self._batches if batch.index > after)
        return self._first + len(self._batches) - newer
