"""A disk that forgets what was not synced, tears what was being written, and runs full.

`Platter` is what survives; `FakeDisk` is one process's view of it (raft.disk.Disk).  A process that is killed
loses nothing it wrote (the kernel still has it); a power cut loses a random part of what was not synced.
"""

import errno
import json
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field


class PowerCut(BaseException):
    """The lights went out in the middle of a disk operation."""


@dataclass
class _File:
    durable: bytes = b""
    size_durable: int = 0
    writes: list[tuple[int, bytes]] = field(default_factory=list)  # (offset, data) since the last sync
    content: bytearray = field(default_factory=bytearray)

    def settle(self) -> None:
        self.durable = bytes(self.content)
        self.writes.clear()


class Platter:
    """The files, durable and not, of one machine."""

    def __init__(self, rng: random.Random, *, lies: bool = False, forgets_votes: bool = False) -> None:
        self.rng = rng
        self.files: dict[str, _File] = {}
        self.lies = lies
        self.forgets_votes = forgets_votes
        self.full = False
        self.cut_after: int | None = None  # operations until the power is cut
        self.syncs = 0

    def count_operation(self) -> None:
        """Called before every change of the disk."""
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after <= 0:
                self.cut_after = None
                raise PowerCut

    def crash(self, *, power: bool) -> None:
        """The process is gone; with `power`, so is a random part of what was not synced."""
        self.cut_after = None
        for file in self.files.values():
            if power and not file.writes and not self.lies:
                continue
            if power:
                self._lose_unsynced(file)
            file.settle()

    def _lose_unsynced(self, file: _File) -> None:
        content = bytearray(file.durable)
        for offset, data in file.writes:
            fate = self.rng.random()
            if fate < 0.5:
                continue  # never reached the platter
            if fate < 0.7:
                data = data[: self.rng.randrange(len(data) + 1)]  # torn
            elif fate < 0.8 and len(data) > 8:  # a page in the middle is missing: zeros
                hole = self.rng.randrange(len(data) - 4)
                data = data[:hole] + bytes(4) + data[hole + 4 :]
            if len(content) < offset:
                content += bytes(offset - len(content))
            content[offset : offset + len(data)] = data
        file.content = content

    def forget_vote(self, term: int) -> None:
        """As if term and vote were kept in memory only: all that is known is the term of the last log entry."""
        if not self.forgets_votes or "vote" not in self.files:
            return
        body = json.dumps({"term": term, "vote": None}).encode()
        data = zlib.crc32(body).to_bytes(4, "little") + body
        self.files["vote"] = _File(durable=data, content=bytearray(data))


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
        self._platter.files[name] = _File(durable=data, content=bytearray(data))
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
        if self._platter.full:
            raise OSError(errno.ENOSPC, "No space left on device")


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
        if self._platter.full:
            part = data[: self._platter.rng.randrange(len(data))]
            self._write(part)
            raise OSError(errno.ENOSPC, "No space left on device")
        self._write(data)

    def _write(self, data: bytes) -> None:
        if data:
            self._file.writes.append((len(self._file.content), data))
            self._file.content += data

    def sync(self) -> None:
        self._platter.count_operation()
        self._platter.syncs += 1
        if not self._platter.lies:
            self._file.settle()

    def truncate(self, size_bytes: int) -> None:
        self._platter.count_operation()
        del self._file.content[size_bytes:]
        self._file.durable = self._file.durable[:size_bytes]
        self._file.writes = [
            (offset, data[: size_bytes - offset]) for offset, data in self._file.writes if offset < size_bytes
        ]

    def close(self) -> None:
        """Nothing is held."""
