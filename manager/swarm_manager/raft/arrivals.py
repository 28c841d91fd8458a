"""Snapshots on their way in: collected, read and made durable beside the Raft thread, taken over in one step.

Theory of operation
    The chunks of one transfer are collected until the last; a gap loses what came before it.  Then two jobs run
    in the background, with a decision on the Raft thread after each:

        read    checksum, and the state machine's image     -> is it sound, news, and not covered by our log?
        save    the file replaces our snapshot, durably     -> log and state are replaced, by reference

    So reading a state of many megabytes makes no tick long.  Until that is through, what the leader sends is a
    heartbeat to us and is answered as such: neither log nor commit index move, and no snapshot of our own is
    begun, so what was decided still holds when the job ends.  Unless the term changed: then only the file has
    become newer, which a restart takes over, for whatever is in a snapshot is committed.

    The state that was replaced is let go of in the background too, part by part: freed as a whole, one of many
    megabytes keeps the interpreter from every thread for a fifth of a second.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm_manager.raft import snapshot as snapshots
from swarm_manager.raft.codec import Message
from swarm_manager.raft.errors import CorruptData
from swarm_manager.raft.snapshot import Snapshot

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

_log = logging.getLogger(__name__)
MAX_SNAPSHOT_BYTES = 2 << 30
READING, READ, SAVING, SAVED = range(4)


@dataclass(slots=True)
class _Transfer:
    """Chunks of one snapshot, in order."""

    source: tuple[str, int, int]  # peer, term, the transfer's number
    parts: list[bytes] = field(default_factory=list)
    size_bytes: int = 0


@dataclass(slots=True)
class _Arrival:
    """A snapshot that came in whole; `stage` is moved on by the job as its last act."""

    peer: str
    message: Message  # its last chunk, without the data
    parts: list[bytes]
    stage: int = READING
    data: bytes = b""
    snapshot: Snapshot | None = None
    image: object = None
    error: Exception | None = None


class SnapshotArrivals:
    """Everything but the two jobs runs on the Raft thread."""

    def __init__(self, core: "RaftCore", background: Callable[[Callable[[], None]], None]) -> None:
        self._core = core
        self._background = background
        self._transfer: _Transfer | None = None
        self._arrival: _Arrival | None = None

    @property
    def busy(self) -> bool:
        """Whether a snapshot is being read or saved: the log must stay as it is."""
        return self._arrival is not None

    def forget(self, peer: str) -> None:
        """The link to this peer is gone, and so is the rest of its transfer."""
        if self._transfer is not None and self._transfer.source[0] == peer:
            self._transfer = None

    def incoming(self, peer: str, message: Message) -> None:
        """A chunk, or word that one will come."""
        guard = self._core.guard
        guard.heartbeat(peer, message)
        if message["type"] == "snapshot_wait":
            return
        if self.busy:
            guard.answer(peer, reset=False)
            return
        parts = self._collect(peer, message)
        guard.answer(peer, reset=parts is None and self._transfer is None)
        if parts is not None:
            self._transfer = None
            arrival = self._arrival = _Arrival(peer, {**message, "data": b""}, parts)
            self._background(lambda: self._read(arrival))

    def _collect(self, peer: str, message: Message) -> list[bytes] | None:
        """All chunks once the last is here."""
        source = (peer, message["term"], message["snapshot"])
        if message["offset"] == 0:
            self._transfer = _Transfer(source)
        transfer = self._transfer
        if transfer is None or transfer.source != source or transfer.size_bytes != message["offset"]:
            self._transfer = None
            return None
        transfer.parts.append(message["data"])
        transfer.size_bytes += len(message["data"])
        if transfer.size_bytes > MAX_SNAPSHOT_BYTES:
            self._transfer = None
            return None
        return transfer.parts if message["last"] else None

    # ---------------------------------------------------------------------------------- in the background

    def _read(self, arrival: _Arrival) -> None:
        try:
            arrival.data = b"".join(arrival.parts)
            arrival.parts.clear()
            arrival.snapshot = snapshots.parse(arrival.data)
            arrival.image = self._core.machine.read(arrival.snapshot.body)
        except Exception as error:  # noqa: BLE001 - judged on the Raft thread
            arrival.error = error
        arrival.stage = READ

    def _save(self, arrival: _Arrival) -> None:
        try:
            self._core.snapshots.save(arrival.data)
        except OSError as error:
            arrival.error = error
        arrival.stage = SAVED

    def _let_go(self, replaced: list[object]) -> None:
        """Of the state in this list, whose last holder it is."""
        parts = self._core.machine.parts(replaced.pop())
        while parts:
            parts.pop()

    # ---------------------------------------------------------------------------------- on the Raft thread

    def advance(self) -> None:
        """Go on with what the jobs have done."""
        arrival = self._arrival
        if arrival is None or arrival.stage in (READING, SAVING):
            return
        self._core.guard.answering(arrival.message["seq"])
        if arrival.stage == READ and self._is_wanted(arrival):
            arrival.stage = SAVING
            self._core.snapshots.saving = True
            self._background(lambda: self._save(arrival))
            return
        self._arrival = None
        if arrival.stage == SAVED:
            self._saved(arrival)

    def _is_wanted(self, arrival: _Arrival) -> bool:
        """Whether to take it over; if not, the leader is told how to go on otherwise."""
        core = self._core
        if arrival.snapshot is None:
            _log.error("the snapshot from %s is unusable: %s", arrival.peer, arrival.error)
            core.guard.answer(arrival.peer, reset=True)
            return False
        if arrival.error is not None:
            raise CorruptData(f"the state machine cannot read the snapshot of {arrival.peer}") from arrival.error
        if self._term_changed(arrival) or not core.journal.healthy:
            return False
        _, index, term = arrival.snapshot.last
        held = core.journal.entry(index)
        if held is not None and held[2] == term:  # our log goes that far: keep what we acknowledged beyond
            core.guard.confirm(arrival.peer, arrival.message, index)
            return False
        if index <= max(core.commit_index, core.applied_index) or core.snapshots.writing:
            core.guard.answer(arrival.peer, reset=True)
            return False
        return True

    def _saved(self, arrival: _Arrival) -> None:
        core = self._core
        core.snapshots.saving = False
        assert arrival.snapshot is not None
        if arrival.error is not None:
            assert isinstance(arrival.error, OSError)
            core.journal.failure = arrival.error
            return
        core.snapshots.last_index = arrival.snapshot.last[1]
        if not self._term_changed(arrival) and core.journal.healthy:
            replaced = [core.machine.snapshot()]
            core.install_snapshot(arrival.peer, arrival.message["term"], arrival.snapshot, arrival.image)
            self._background(lambda: self._let_go(replaced))

    def _term_changed(self, arrival: _Arrival) -> bool:
        return self._core.is_leader or self._core.term != arrival.message["term"]
