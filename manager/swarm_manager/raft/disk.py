"""The one way this package touches a disk, small enough to be replaced by a simulated one.

Promises that everything above builds on
    * `AppendFile.append` may be lost, in part or in whole and in any order of pages, until `sync` returned;
    * `create`, `replace` and `open_append` are durable, with the folder's entry, when they return;
    * `replace` is atomic: after a crash there is the old content or the new, never a mixture;
    * every failure is an OSError; after one, an AppendFile's tail is undefined until `truncate` succeeded.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from swarm_manager.raft.errors import InvalidConfig

PART_BYTES = 1 << 20


class AppendFile(Protocol):
    """A file that grows at its end."""

    def append(self, data: bytes) -> None: ...
    def sync(self) -> None: ...
    def truncate(self, size_bytes: int) -> None: ...
    def close(self) -> None: ...


class ReadFile(Protocol):
    """A file's content as it was when opened, even if the name is replaced meanwhile."""

    def read(self, size_bytes: int) -> bytes: ...
    def close(self) -> None: ...


class Disk(Protocol):
    """One folder of flat files."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def open_read(self, name: str) -> ReadFile: ...
    def create(self, name: str, head: bytes) -> AppendFile: ...
    def open_append(self, name: str, size_bytes: int) -> AppendFile: ...
    def replace(self, name: str, chunks: Iterable[bytes]) -> None: ...
    def remove(self, name: str) -> None: ...
    def describe(self) -> str: ...
    def close(self) -> None: ...


class LocalDisk:
    """A folder of the real file system, held by one process at a time (flock on its `lock` file)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise InvalidConfig(f"another manager process uses {folder}: stop it first") from error
        for debris in folder.glob("*.tmp"):
            debris.unlink()

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if path.is_file() and path.name != "lock")

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def open_read(self, name: str) -> ReadFile:
        return (self._folder / name).open("rb")

    def create(self, name: str, head: bytes) -> AppendFile:
        file = _LocalAppendFile(os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), 0)
        try:
            file.append(head)
            file.sync()
            self._sync_folder()
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
            raise
        return file

    def open_append(self, name: str, size_bytes: int) -> AppendFile:
        file = _LocalAppendFile(os.open(self._folder / name, os.O_RDWR), size_bytes)
        file.truncate(size_bytes)
        file.sync()
        return file

    def replace(self, name: str, chunks: Iterable[bytes]) -> None:
        temporary = self._folder / f"{name}.tmp"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                _write_in_parts(file, chunks)
            temporary.replace(self._folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self._sync_folder()

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._folder / name).unlink()

    def describe(self) -> str:
        return str(self._folder)

    def close(self) -> None:
        os.close(self._lock)

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_in_parts(file: BinaryIO, chunks: Iterable[bytes]) -> None:
    """Write all, durably, and let little pile up unsynced: whoever syncs another file waits for that too."""
    unsynced_bytes = 0
    for chunk in chunks:
        file.write(chunk)
        unsynced_bytes += len(chunk)
        if unsynced_bytes >= PART_BYTES:
            file.flush()
            os.fdatasync(file.fileno())
            unsynced_bytes = 0
    file.flush()
    os.fsync(file.fileno())


class _LocalAppendFile:
    def __init__(self, handle: int, size_bytes: int) -> None:
        self._handle = handle
        self._end = size_bytes

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._handle, view, self._end)
            self._end += written
            view = view[written:]

    def sync(self) -> None:
        os.fdatasync(self._handle)

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self._handle, size_bytes)
        self._end = size_bytes

    def close(self) -> None:
        os.close(self._handle)
