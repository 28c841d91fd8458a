"""A disk on which nothing is in the clear: `Disk` over another Disk, every file made of frames (see seal.py).

What it promises above what `Disk` promises
    * what was not written by a holder of the keys does not read as data;
    * where a file cannot be opened - a torn tail, damage, a forgery - it reads as zeros, as a lost page does.
      Everybody who reads has a checksum, and names the file; only where more is known than that does `read` raise;
    * `open_append` takes the size in bytes of data, as everything above counts.

`open_folder` is the one way to a manager's Raft data.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from swarm_manager.raft.disk import AppendFile, Disk, LocalDisk, ReadFile
from swarm_manager.raft.errors import KeysUnusable
from swarm_manager.raft.keys import KeyFile, KeyRing
from swarm_manager.raft.seal import HEAD_BYTES, START, Opened, Opener, Place, RandomBytes, Writer, body_bytes, is_sealed

_MARKER_BYTES = 16


def open_folder(folder: Path, key_file: KeyFile, unlock_key: bytes | None = None) -> "SealedDisk":
    """`open_disk` on a folder of this machine, held until the disk is closed; the key file stays the caller's."""
    disk = LocalDisk(folder)
    try:
        return open_disk(disk, key_file, unlock_key)
    except BaseException:
        disk.close()
        raise


def open_disk(
    data: Disk, key_file: KeyFile, unlock_key: bytes | None = None, *, random: RandomBytes = os.urandom
) -> "SealedDisk":
    """A manager's Raft data, to read and to write; new keys where there are neither keys nor data.

    Data that a version of raftswarm wrote before data were sealed are sealed now; killed meanwhile, the next call goes
    on.  Closing the disk closes `data`, and not the key file, which may open several.  KeysUnusable, WrongUnlockKey,
    OSError: nothing is closed.
    """
    if key_file.is_there:
        ring = key_file.open(unlock_key)
    else:
        _refuse_orphans(data)
        ring = key_file.create(adopts_plain=bool(data.names()))
    disk = SealedDisk(data, ring, random=random)
    if ring.adopts_plain:
        disk.adopt_plain()
    return disk


def _refuse_orphans(data: Disk) -> None:
    if any(is_sealed(_beginning(data, name)) for name in data.names()):
        raise KeysUnusable(
            f"the data in {data.describe()} are sealed, but the key file that belongs to them is missing: put it back "
            "from a copy, or remove this manager from the cluster and let it join again"
        )


def _beginning(disk: Disk, name: str) -> bytes:
    file = disk.open_read(name)
    try:
        return file.read(_MARKER_BYTES)
    finally:
        file.close()


class SealedDisk:
    """`Disk` whose files are sealed with a ring's keys."""

    def __init__(self, disk: Disk, ring: KeyRing, *, random: RandomBytes = os.urandom) -> None:
        self.ring = ring
        self._disk = disk
        self._random = random
        self._opener = Opener(lambda: ring.by_id)
        self._sealed_with: dict[str, frozenset[bytes]] = {}
        self._ends: dict[str, Place] = {}  # of files that were read and not written since

    def names(self) -> list[str]:
        return self._disk.names()

    def read(self, name: str) -> bytes:
        file = self._disk.read(name)
        opened = self._open(name, file)
        return opened.data + bytes(len(file) - opened.end.file_bytes)

    def open_read(self, name: str) -> ReadFile:
        return _SealedReader(self._disk.open_read(name), self._opener, name)

    def create(self, name: str, head: bytes) -> AppendFile:
        writer = self._writer(name)
        self._sealed_with[name] = frozenset({writer.key_id})
        self._ends.pop(name, None)
        return _SealedAppender(self._disk.create(name, writer.seal(head)), writer)

    def open_append(self, name: str, size_bytes: int) -> AppendFile:
        end = self._ends.get(name) or self._open(name, self._disk.read(name)).end
        if size_bytes != end.data_bytes:  # adopted with a torn tail: a boundary that is none of the frames'
            end = self._replace(name, [self.read(name)[:size_bytes]])
        self._ends.pop(name, None)
        writer = self._writer(name, end)
        self._sealed_with[name] |= {writer.key_id}
        return _SealedAppender(self._disk.open_append(name, end.file_bytes), writer)

    def replace(self, name: str, chunks: Iterable[bytes]) -> None:
        self._replace(name, chunks)

    def remove(self, name: str) -> None:
        self._disk.remove(name)
        self._sealed_with.pop(name, None)
        self._ends.pop(name, None)

    def describe(self) -> str:
        return self._disk.describe()

    def close(self) -> None:
        self._disk.close()

    # -------------------------------------------------------------------------------------------- keys

    def keys_in_use(self) -> frozenset[bytes]:
        """The ids of the keys that any file is sealed with."""
        for name in self._disk.names():
            if name not in self._sealed_with:
                self.read(name)
        return frozenset().union(*list(self._sealed_with.values()))

    def adopt_plain(self) -> None:
        """Seal what is not sealed, file by file; then accept nothing but sealed files any more."""
        for name in self._disk.names():
            if not is_sealed(_beginning(self._disk, name)):
                self._replace(name, [self._disk.read(name)])
        self.ring.refuse_plain()

    # ---------------------------------------------------------------------------------------- in here

    def _open(self, name: str, file: bytes) -> Opened:
        opened = self._opener.open_file(name, file, self._disk.describe())
        self._sealed_with[name] = opened.key_ids
        self._ends[name] = opened.end
        return opened

    def _writer(self, name: str, place: Place = START) -> Writer:
        return Writer(self.ring.current, name, self._random, place)

    def _replace(self, name: str, chunks: Iterable[bytes]) -> Place:
        writer = self._writer(name)
        self._ends.pop(name, None)
        before = self._sealed_with.get(name, frozenset())
        self._sealed_with[name] = before | {writer.key_id}  # until it is through, either may be what is there
        self._disk.replace(name, writer.seal_all(chunks))
        self._sealed_with[name] = frozenset({writer.key_id})
        return writer.place


class _SealedAppender:
    """One frame an `append`; `truncate` goes back to a boundary that is still remembered."""

    def __init__(self, file: AppendFile, writer: Writer) -> None:
        self._file = file
        self._writer = writer
        self._synced_bytes = writer.place.file_bytes
        self._places = {writer.place.data_bytes: writer.place}  # since the last sync, and that one's

    def append(self, data: bytes) -> None:
        frame = self._writer.seal(data, synced=self._synced_bytes)
        self._file.append(frame)
        self._places[self._writer.place.data_bytes] = self._writer.place

    def sync(self) -> None:
        self._file.sync()
        place = self._writer.place
        self._synced_bytes = place.file_bytes
        self._places = {place.data_bytes: place}

    def truncate(self, size_bytes: int) -> None:
        place = self._places[size_bytes]
        self._file.truncate(place.file_bytes)
        self._writer.place = place
        self._synced_bytes = min(self._synced_bytes, place.file_bytes)

    def close(self) -> None:
        self._file.close()


class _SealedReader:
    """The data of a file, frame by frame.  OSError when one is not sound, or the file lacks its end."""

    def __init__(self, file: ReadFile, opener: Opener, name: str) -> None:
        self._file = file
        self._opener = opener
        self._name = name
        self._previous = START.previous
        self._may_end = False
        self._ahead = bytearray()

    def read(self, size_bytes: int) -> bytes:
        while len(self._ahead) < size_bytes and self._read_frame():
            continue
        out = bytes(self._ahead[:size_bytes])
        del self._ahead[:size_bytes]
        return out

    def close(self) -> None:
        self._file.close()

    def _read_frame(self) -> bool:
        head = self._file.read(HEAD_BYTES)
        if not head and self._may_end:
            return False
        frame = head + self._file.read(body_bytes(head) or 0)
        found = self._opener.open_next(self._name, frame, self._previous)
        if found is None:
            raise OSError(errno.EIO, f"the file {self._name!r} is damaged")
        data, self._previous, self._may_end = found
        self._ahead += data
        return True
