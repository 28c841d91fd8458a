"""The journal's files, made and removed beside the Raft thread.

To make a file that survives a power cut takes several waits for the disk, and to remove a large one may take another.
So the next segment is made *ahead*, with nothing in it but its head, and going over to it is a change of reference.
Old ones are removed one after the other, the oldest first, in the background: what a crash leaves of them is read as
a log that begins earlier.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from swarm_manager.raft import segment
from swarm_manager.raft.disk import AppendFile, Disk

_log = logging.getLogger(__name__)
PREFIX = "journal-"
Background = Callable[[Callable[[], None]], None]


def file_name(sequence: int) -> str:
    """The name of the segment with this number."""
    return f"{PREFIX}{sequence:016d}"


def at_once(job: Callable[[], None]) -> None:
    """The background of a journal that nobody waits for."""
    job()


@dataclass(slots=True)
class _Ahead:
    """A segment that is being made; `file` or `error` is set by the job, `void` by the one that takes it back."""

    sequence: int
    file: AppendFile | None = None
    error: OSError | None = None
    void: bool = False


class SegmentFiles:
    """Everything but the jobs belongs to the journal's thread; the jobs run one at a time."""

    def __init__(self, disk: Disk, background: Background) -> None:
        self._disk = disk
        self._background = background
        self._ahead: _Ahead | None = None
        self._doomed: deque[str] = deque()

    def make_ahead(self, sequence: int) -> None:
        """Begin to make this segment, if none is there or under way."""
        if self._ahead is None:
            ahead = self._ahead = _Ahead(sequence)
            self._background(lambda: self._make(ahead))

    def take(self) -> AppendFile | None:
        """The segment that was made ahead, once it is there.  OSError: it could not be made."""
        ahead = self._ahead
        if ahead is None or (ahead.file is None and ahead.error is None):
            return None
        self._ahead = None
        if ahead.error is not None:
            raise ahead.error
        return ahead.file

    def void_ahead(self, last: int) -> int:
        """Take back what was made ahead; the number after it, and after `last`, is free."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return last + 1
        self._background(lambda: self._discard(ahead))
        return max(last, ahead.sequence) + 1

    def remove(self, sequences: Iterable[int]) -> None:
        """Remove these, oldest first, some time."""
        self._doomed += map(file_name, sequences)
        if self._doomed:
            self._background(self._remove_doomed)

    # ---------------------------------------------------------------------------------- in the background

    def _make(self, ahead: _Ahead) -> None:
        head = segment.encode_header(ahead.sequence, starts_fresh=False)
        try:
            ahead.file = self._disk.create(file_name(ahead.sequence), head)
        except OSError as error:
            ahead.error = error
        if ahead.void:
            self._discard(ahead)

    def _discard(self, ahead: _Ahead) -> None:
        """Remove it; if it is still to be made, once it is."""
        ahead.void = True
        if ahead.file is not None:
            ahead.file.close()
            self._doomed.append(file_name(ahead.sequence))
            self._remove_doomed()

    def _remove_doomed(self) -> None:
        try:
            while self._doomed:
                self._disk.remove(self._doomed[0])
                self._doomed.popleft()
        except OSError as error:  # none may be left out: the next removal begins with this one again
            _log.warning("old journal files in %s cannot be removed: %s", self._disk.describe(), error)
