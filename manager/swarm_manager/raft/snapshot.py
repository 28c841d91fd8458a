"""Snapshots: their file, writing one beside the Raft thread, sending and receiving them.

Theory of operation
    A snapshot is the state machine's image after the log entry `last`, with the entry before it (PySyncObj
    wants both), and the membership as of then.  One file, one crc32 over all of it: a snapshot is sound or it
    is refused, and nothing ever continues with an empty state instead.

    `SnapshotStore` stands where PySyncObj has its Serializer (same method names).  Taking the image is a
    reference to something immutable, on the Raft thread; turning it into bytes, writing, fsync and rename
    happen in the `background`.  When that is through, PySyncObj drops the log's head.  A new snapshot waits
    while one is being sent, and until the follower has taken it over: else the log would begin beyond what it
    took over, and a follower on a slow line would never see the end of any.
"""

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from swarm_manager.raft.codec import Entry, Reader, decode_membership, encode_membership
from swarm_manager.raft.config import Membership
from swarm_manager.raft.disk import Disk, ReadFile
from swarm_manager.raft.errors import CorruptData, WireError

FILE_NAME = "snapshot"
_MAGIC = b"RSWS0001"
_PART_BYTES = 1 << 20
_LENGTH = struct.Struct("<I")
_CRC = struct.Struct("<I")
_ENTRY = struct.Struct("<IQQ")

# What PySyncObj calls these states (config.SERIALIZER_STATE); a test compares them.
NOT_SERIALIZING, SERIALIZING, SUCCESS, FAILED = 0, 1, 2, 3


class StateImage(Protocol):
    """The part of a state machine that snapshots need (see machine.StateMachine)."""

    def snapshot(self) -> object: ...
    def dump(self, image: object) -> Iterator[bytes]: ...
    def load(self, image: object, index: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was read and found whole."""

    last: Entry
    previous: Entry
    membership: Membership
    body: memoryview


def encode_head(last: Entry, previous: Entry, membership: Membership) -> bytes:
    """The head of a snapshot file: magic, length of what follows, the two entries, the membership."""
    parts = [_pack_entry(last), _pack_entry(previous), encode_membership(membership)]
    meta = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return _MAGIC + _LENGTH.pack(len(meta)) + meta


def file_chunks(head: bytes, body: Iterator[bytes]) -> Iterator[bytes]:
    """The whole file: head, body, crc32."""
    crc = 0
    for chunk in itertools.chain((head,), body):
        crc = zlib.crc32(chunk, crc)
        yield chunk
    yield _CRC.pack(crc)


def parse(data: bytes) -> Snapshot:
    """The snapshot in these bytes; CorruptData when one bit is wrong."""
    view = memoryview(data)
    if len(data) < len(_MAGIC) + _LENGTH.size + _CRC.size or data[: len(_MAGIC)] != _MAGIC:
        raise CorruptData("it is no snapshot")
    if zlib.crc32(view[: -_CRC.size]) != _CRC.unpack(view[-_CRC.size :])[0]:
        raise CorruptData("its checksum is wrong")
    (meta_bytes,) = _LENGTH.unpack_from(data, len(_MAGIC))
    start = len(_MAGIC) + _LENGTH.size
    try:
        reader = Reader(data[start : start + meta_bytes])
        last, previous = _unpack_entry(reader.blob()), _unpack_entry(reader.blob())
        membership = decode_membership(reader.blob())
        reader.finish()
    except (WireError, struct.error) as error:
        raise CorruptData(f"its head cannot be read: {error}") from error
    return Snapshot(last, previous, membership, view[start + meta_bytes : -_CRC.size])


def read_snapshot(disk: Disk) -> Snapshot | None:
    """The snapshot on this disk, None when there is none; CorruptData tells how to go on."""
    if FILE_NAME not in disk.names():
        return None
    try:
        return parse(disk.read(FILE_NAME))
    except CorruptData as error:
        raise CorruptData(
            f"the snapshot in {disk.describe()} is damaged ({error}): remove this manager from the "
            "cluster and let it join again, or restore its data folder from a backup"
        ) from error


class SnapshotStore:
    """The newest snapshot of this member, and the transfers of it.  Used by the Raft thread only."""

    def __init__(
        self,
        disk: Disk,
        machine: StateImage,
        *,
        chunk_bytes: int,
        background: Callable[[Callable[[], None]], None],
        pause: Callable[[], object],
        on_start: Callable[[], bool],
        membership_at: Callable[[int], Membership],
    ) -> None:
        """`on_start` is called before an image is taken and may refuse by returning False.

        `pause` is called between the pieces of an image that is written, for the Raft thread's sake.
        """
        self._disk = disk
        self._machine = machine
        self._chunk_bytes = chunk_bytes
        self._background = background
        self._pause = pause
        self._on_start = on_start
        self._membership_at = membership_at
        self._state = NOT_SERIALIZING
        self._serial_id = 0
        self._failed = False
        self._outgoing: dict[Any, _Transfer] = {}
        self._landing: set[Any] = set()  # nodes that have been sent all of it and have not said what came of it
        self._serial = itertools.count(1)
        self._staged: tuple[Snapshot, object] | None = None
        self.saving = False
        self.last_index = 0
        self.last_error = ""
        self.is_unreadable = False  # the file, as sending it showed: it is to be replaced, and not sent again

    # ----------------------------------------------------------------------------------- at the start

    def read(self) -> Snapshot | None:
        """The snapshot on disk, None when there is none; CorruptData tells how to go on."""
        snapshot = read_snapshot(self._disk)
        if snapshot is not None:
            self.last_index = snapshot.last[1]
        return snapshot

    def stage(self, snapshot: Snapshot, image: object) -> None:
        """The next `deserialize` loads this snapshot, whose body is this image."""
        self._staged = snapshot, image

    def deserialize(self) -> tuple[None, Entry, Entry, tuple[()]]:
        """Replace the machine's state by the staged snapshot; in PySyncObj's shape."""
        staged, self._staged = self._staged, None
        if staged is None:
            raise CorruptData("no snapshot was staged")
        snapshot, image = staged
        self._machine.load(image, snapshot.last[1])
        return None, snapshot.last, snapshot.previous, ()

    def save(self, data: bytes) -> None:
        """Make a snapshot received from the leader ours, durably; OSError when the disk refuses.

        In the background, while `saving` is set: no snapshot of our own may be begun then.
        """
        parts = (data[place : place + _PART_BYTES] for place in range(0, len(data), _PART_BYTES))
        self._disk.replace(FILE_NAME, parts)
        self.is_unreadable = False

    # --------------------------------------------------------------------------------- taking one

    @property
    def busy(self) -> bool:
        """Whether a snapshot is being written or sent, so that a new one should wait."""
        return self.writing or self.saving or bool(self._outgoing)

    @property
    def landing(self) -> bool:
        """Whether somebody who has been sent all of it is still to say what came of it."""
        return bool(self._landing)

    def serialize(self, data: tuple[Any, Entry, Entry, Any], log_id: int) -> None:
        """Take an image now and write it in the background.  Nothing happens while one is being written."""
        if self.writing or self.saving or not self._on_start():
            return
        _, last, previous, _ = data
        head = encode_head(last, previous, self._membership_at(last[1]))
        image = self._machine.snapshot()
        self._serial_id, self._state = log_id, SERIALIZING

        def write() -> None:
            try:
                self._disk.replace(FILE_NAME, self._paced(file_chunks(head, self._machine.dump(image))))
            except Exception as error:  # noqa: BLE001 - a failed dump must not end the thread unseen
                self.last_error = f"the snapshot cannot be written: {error}"
                self._state = FAILED
            else:
                self.last_error, self.is_unreadable = "", False
                self.last_index = last[1]
                self._state = SUCCESS

        self._background(write)

    def _paced(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self._pause()

    def checkSerializing(self) -> tuple[int, int]:  # noqa: N802 - PySyncObj's name
        """The state of the snapshot being written; SUCCESS and FAILED are reported once."""
        state = self._state
        if state in (SUCCESS, FAILED):
            self._state = NOT_SERIALIZING
        return state, self._serial_id

    # ------------------------------------------------------------------------------------- sending

    def getTransmissionData(self, node: Any) -> tuple[bytes, bool, bool] | None:  # noqa: N802 - as above
        """The next (chunk, is first, is last) for this node, or None when there is nothing to send.

        The chunk starts with its transfer's number and its offset, so that a receiver notices a gap.
        """
        transfer = self._outgoing.get(node)
        if transfer is None:
            transfer = self._open_transfer()
            if transfer is None:
                return None
            self._outgoing[node] = transfer
        try:
            chunk, offset, is_last = transfer.next(self._chunk_bytes)
        except OSError as error:
            self.last_error, self.is_unreadable = f"the snapshot cannot be read: {error}", True
            self.drop_transfer(node)
            return None
        if is_last:
            self.drop_transfer(node)
            self._landing.add(node)
        return struct.pack("<QQ", transfer.serial, offset) + chunk, offset == 0, is_last

    def setTransmissionData(self, data: object) -> bool:  # noqa: N802 - as above
        """Whether a received snapshot is staged for PySyncObj to load."""
        return data is not None and self._staged is not None

    def cancelTransmisstion(self, node: object) -> None:  # noqa: N802 - as above, spelt like that
        """Stock calls this for every node it sends nothing to now; we end a transfer with its link only."""

    def drop_transfer(self, node: object) -> None:
        """The link to this node is gone, and so is the transfer."""
        self._landing.discard(node)
        transfer = self._outgoing.pop(node, None)
        if transfer is not None:
            transfer.close()

    def drop_transfers(self) -> None:
        """We do not lead any more: nobody is sent anything."""
        for node in [*self._outgoing, *self._landing]:
            self.drop_transfer(node)

    def landed(self, node: object) -> None:
        """This node has taken over what it was sent, or refused it."""
        self._landing.discard(node)

    @property
    def writing(self) -> bool:
        """Whether a snapshot of ours is being written: none can be installed meanwhile."""
        return self._state != NOT_SERIALIZING

    def _open_transfer(self) -> "_Transfer | None":
        if not self.last_index or self.is_unreadable:
            return None
        try:
            return _Transfer(next(self._serial), self._disk.open_read(FILE_NAME))
        except OSError as error:
            self.last_error = f"the snapshot cannot be read: {error}"
            return None


class _Transfer:
    """One follower's way through one snapshot file."""

    def __init__(self, serial: int, file: ReadFile) -> None:
        self.serial = serial
        self._file = file
        self._offset = 0
        self._ahead = b""

    def next(self, size_bytes: int) -> tuple[bytes, int, bool]:
        """(chunk, its offset, whether it is the last)."""
        chunk = self._ahead or self._file.read(size_bytes)
        offset, self._offset = self._offset, self._offset + len(chunk)
        self._ahead = self._file.read(size_bytes)
        return chunk, offset, not self._ahead

    def close(self) -> None:
        self._file.close()


def _pack_entry(entry: Entry) -> bytes:
    command, index, term = entry
    return _ENTRY.pack(len(command), index, term) + command


def _unpack_entry(data: bytes) -> Entry:
    size_bytes, index, term = _ENTRY.unpack_from(data)
    command = data[_ENTRY.size :]
    if len(command) != size_bytes or not command:
        raise WireError("a log entry is cut off")
    return command, index, term
