"""A disk that forgets what was not synced, tears what was being written, fails, and runs full.

`Platter` is what survives; `FakeDisk` is one process's view of it (raft.disk.Disk).  A process that is killed
loses nothing it wrote (the kernel still has it); a power cut loses a random part of what was not synced, and may
bring back what a truncation that was not synced had removed.  After a sync that failed, the kernel takes for
written what it could not write, as Linux does: a later sync of the same data succeeds and proves nothing.
"""

import errno
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


class PowerCut(BaseException):
    """The lights went out in the middle of a disk operation."""


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)  # as processes see it
    durable_bytes: int = 0  # so much of it is on the platter, but for what was dropped
    writes: list[tuple[int, bytes]] = field(default_factory=list)  # (offset, data) since the last sync
    dropped: list[tuple[int, int]] = field(default_factory=list)  # (from, to): a sync failed to write this
    cut_off: bytes = b""  # what was truncated since the last sync

    def settle(self) -> None:
        self.durable_bytes = len(self.content)
        self.writes.clear()
        self.cut_off = b""

    def truncate(self, size_bytes: int) -> None:
        self.cut_off = bytes(self.content[size_bytes : self.durable_bytes]) or self.cut_off
        del self.content[size_bytes:]
        self.durable_bytes = min(self.durable_bytes, size_bytes)
        self.writes = [(at, data[: size_bytes - at]) for at, data in self.writes if at < size_bytes]
        self.dropped = [(start, min(end, size_bytes)) for start, end in self.dropped if start < size_bytes]

    @staticmethod
    def holding(data: bytes) -> "_File":
        """A file with this content, durable."""
        return _File(bytearray(data), len(data))


class Platter:
    """The files, durable and not, of one machine."""

    def __init__(self, rng: random.Random, *, lies: bool = False) -> None:
        self.rng = rng
        self.files: dict[str, _File] = {}
        self.lies = lies
        self.full = False
        self.failing = False  # every write and sync is an I/O error
        self.cut_after: int | None = None  # operations until the power is cut
        self.syncs = 0
        self.counts: Counter[str] = Counter()

    def count_operation(self) -> None:
        """Called before every change of the disk."""
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after <= 0:
                self.cut_after = None
                raise PowerCut

    def refuse_if_full(self) -> None:
        """Called before every write."""
        if self.full:
            self.counts["full disks hit"] += 1
            raise OSError(errno.ENOSPC, "No space left on device")

    def refuse_if_failing(self) -> None:
        """Called when something has to reach the platter: until then only the system's memory is asked."""
        if self.failing:
            self.counts["I/O errors hit"] += 1
            raise OSError(errno.EIO, "Input/output error")

    def crash(self, *, power: bool) -> None:
        """The process is gone; with `power`, so is a random part of what was not synced."""
        self.cut_after = None
        for file in self.files.values():
            if power:
                self._lose_unsynced(file)
            file.settle()

    def _lose_unsynced(self, file: _File) -> None:
        if not (file.writes or file.dropped or file.cut_off):
            return
        content = file.content[: file.durable_bytes]
        if file.cut_off and self.rng.random() < 0.5:
            content += file.cut_off
        for offset, data in file.writes:
            self._lose_some(content, offset, data)
        for start, end in file.dropped:
            content[start:end] = bytes(max(0, min(end, len(content)) - start))
        file.content, file.dropped = content, []

    def _lose_some(self, content: bytearray, offset: int, data: bytes) -> None:
        fate = self.rng.random()
        if fate < 0.5:
            return  # never reached the platter
        if fate < 0.7:
            data = data[: self.rng.randrange(len(data) + 1)]  # torn
        elif fate < 0.8 and len(data) > 8:  # a page in the middle is missing: zeros
            hole = self.rng.randrange(len(data) - 4)
            data = data[:hole] + bytes(4) + data[hole + 4 :]
        if len(content) < offset:
            content += bytes(offset - len(content))
        content[offset : offset + len(data)] = data

    def put(self, name: str, data: bytes) -> None:
        """Have this file, durably, without an operation of the disk."""
        self.files[name] = _File.holding(data)


class FakeDisk:
    """raft.disk.Disk on a Platter."""

    def __init__(self, platter: Platter, name: str) -> None:
        self._platter = platter
        self._name = name

    def names(self) -> list[str]:
        return sorted(self._platter.files)

    def read(self, name: str) -> bytes:
        if name not in self._platter.files:
            raise FileNotFoundError(name)
        return bytes(self._platter.files[name].content)

    def open_read(self, name: str) -> "_Reader":
        return _Reader(self.read(name))

    def create(self, name: str, head: bytes) -> "_Appender":
        self._before_write()
        file = self._platter.files[name] = _File()
        appender = _Appender(self._platter, file)
        try:
            appender.append(head)
            appender.sync()
        except OSError:
            del self._platter.files[name]
            raise
        return appender

    def open_append(self, name: str, size_bytes: int) -> "_Appender":
        appender = _Appender(self._platter, self._platter.files[name])
        appender.truncate(size_bytes)
        appender.sync()
        return appender

    def replace(self, name: str, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        self._before_write()
        # Atomic and durable, but the lights may go out just before or just after.
        self._platter.put(name, data)
        self._platter.count_operation()

    def remove(self, name: str) -> None:
        self._platter.count_operation()
        self._platter.files.pop(name, None)

    def describe(self) -> str:
        return f"disk of {self._name}"

    def close(self) -> None:
        """Nothing is held."""

    def _before_write(self) -> None:
        self._platter.count_operation()
        self._platter.refuse_if_full()
        self._platter.refuse_if_failing()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def read(self, size_bytes: int) -> bytes:
        out = self._data[self._place : self._place + size_bytes]
        self._place += len(out)
        return out

    def close(self) -> None:
        self._data = b""


class _Appender:
    def __init__(self, platter: Platter, file: _File) -> None:
        self._platter = platter
        self._file = file

    def append(self, data: bytes) -> None:
        self._platter.count_operation()
        try:
            self._platter.refuse_if_full()
        except OSError:
            self._write(data[: self._platter.rng.randrange(len(data))])
            raise
        self._write(data)

    def _write(self, data: bytes) -> None:
        if data:
            self._file.writes.append((len(self._file.content), data))
            self._file.content += data

    def sync(self) -> None:
        self._platter.count_operation()
        self._platter.syncs += 1
        if self._platter.failing:
            self._fail_to_write()
            self._platter.refuse_if_failing()
        if not self._platter.lies:
            self._file.settle()

    def _fail_to_write(self) -> None:
        """What could not be written counts as written from now on, until somebody cuts the power."""
        file, rng = self._file, self._platter.rng
        file.dropped += [(at, at + len(data)) for at, data in file.writes if rng.random() < 0.7]
        file.settle()

    def truncate(self, size_bytes: int) -> None:
        self._platter.count_operation()
        self._file.truncate(size_bytes)

    def close(self) -> None:
        """Nothing is held."""
