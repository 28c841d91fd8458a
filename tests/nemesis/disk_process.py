"""A disk that fails on order, as a file system: `python -m tests.nemesis.disk_process MOUNTPOINT SEED`.

It says `ready` once it is mounted.  Orders are lines of JSON on stdin, each answered by a line:

    {"do": "slow", "seconds": 0.3}   every sync takes up to so long
    {"do": "full"}                   whatever needs room gets ENOSPC
    {"do": "broken"}                 writes and syncs fail with EIO; what a failed sync was to save is never saved
    {"do": "lie"}                    syncs say yes and do nothing
    {"do": "heal"}                   none of these any more
    {"do": "sync"}                   make everything durable
    {"do": "lose_power", "everything": false}   forget what is not durable (a part of it, or everything); nobody may
                                     have files open

The end of stdin ends the disk: it is unmounted, and what it held is gone.
"""

import errno
import json
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import mfusepy

from tests.nemesis.platter import File, Folder, Platter

BLOCK_BYTES = 4096
BLOCKS = 1 << 20  # what statfs says: 4 GiB, a quarter of it used


class FailingDisk(mfusepy.Operations):  # type: ignore[misc]  # it comes without a marker for its types
    """The file system.  FUSE calls from one thread; orders come from another."""

    use_ns = True
    flag_nopath = True
    flag_nullpath_ok = True

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._platter = Platter(self._rng)
        self._lock = threading.Lock()
        self._open: dict[int, File | Folder] = {}
        self._handles = 0
        self._slow_s = 0.0
        self._fault = ""

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        """Keep nothing in the kernel: what processes see is what is here."""
        for option in ("attr_timeout", "entry_timeout", "negative_timeout"):
            setattr(config_3, option, 0)
        for option in ("direct_io", "hard_remove", "nullpath_ok"):
            setattr(config_3, option, 1)

    def obey(self, order: dict[str, Any]) -> None:
        """Carry out one order."""
        with self._lock:
            match order["do"]:
                case "slow":
                    self._slow_s = float(order["seconds"])
                case "full" | "broken" | "lie" as fault:
                    self._fault = fault
                case "heal":
                    self._slow_s, self._fault = 0.0, ""
                case "sync":
                    self._platter.sync_all()
                case "lose_power":
                    self._open.clear()
                    self._platter.lose_power(everything=bool(order["everything"]))
                case other:
                    raise ValueError(f"a disk cannot {other!r}")

    # ---------------------------------------------------------------------------------------- looking

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        with self._lock:
            thing = self._platter.find(path) if path is not None else self._open[fh or 0]
            kind = stat.S_IFDIR if isinstance(thing, Folder) else stat.S_IFREG
            size = 0 if isinstance(thing, Folder) else len(thing.data)
            links = 2 if isinstance(thing, Folder) else 1
            return {"st_mode": kind | thing.mode, "st_size": size, "st_nlink": links, "st_uid": 0, "st_gid": 0}

    def opendir(self, path: str) -> int:
        with self._lock:
            return self._handle(self._platter.folder(path))

    def readdir(self, path: str | None, fh: int) -> Iterable[str]:
        with self._lock:
            return [".", "..", *self._folder(fh).names]

    def releasedir(self, path: str | None, fh: int) -> int:
        return self.release(path, fh)

    def statfs(self, path: str) -> dict[str, int]:
        free = 0 if self._fault == "full" else BLOCKS * 3 // 4
        return {"f_bsize": BLOCK_BYTES, "f_frsize": BLOCK_BYTES, "f_blocks": BLOCKS, "f_bfree": free, "f_bavail": free}

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        with self._lock:
            return bytes(self._file(fh).data[offset : offset + size])

    # --------------------------------------------------------------------------------------- changing

    def open(self, path: str, flags: int) -> int:
        with self._lock:
            found = self._platter.find(path)
            if isinstance(found, Folder):
                raise OSError(errno.EISDIR, "is a folder")
            return self._handle(found)

    def create(self, path: str, mode: int, fi: object = None) -> int:
        with self._changing():
            return self._handle(self._platter.create(path, stat.S_IMODE(mode)))

    def mkdir(self, path: str, mode: int) -> int:
        with self._changing():
            self._platter.make_folder(path, stat.S_IMODE(mode))
        return 0

    def unlink(self, path: str) -> int:
        with self._lock:
            self._platter.remove(path)
        return 0

    def rmdir(self, path: str) -> int:
        return self.unlink(path)

    def rename(self, old: str, new: str) -> int:
        with self._changing():
            self._platter.rename(old, new)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        with self._lock:
            self._platter.find(path).mode = stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Everything is root's."""
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """No times are kept."""
        return 0

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        with self._lock:
            found = self._platter.find(path) if path is not None else self._file(fh or 0)
            if isinstance(found, Folder):
                raise OSError(errno.EISDIR, "is a folder")
            found.change((length, None))
        return 0

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        with self._lock:
            if self._fault == "broken":
                raise OSError(errno.EIO, "input/output error")
            if self._fault == "full":
                data = data[: self._rng.randrange(len(data))] if self._rng.random() < 0.5 else b""
            if not data:
                raise OSError(errno.ENOSPC, "no space left")
            self._file(fh).change((offset, data))
            return len(data)

    # ---------------------------------------------------------------------------------------- syncing

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        time.sleep(self._slow_s * self._rng.random())
        with self._lock:
            if self._fault == "broken":
                self._file(fh).forget_unsynced()
                raise OSError(errno.EIO, "input/output error")
            if self._fault != "lie":
                self._file(fh).sync()
        return 0

    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        time.sleep(self._slow_s * self._rng.random())
        with self._lock:
            if self._fault == "broken":
                raise OSError(errno.EIO, "input/output error")
            if self._fault != "lie":
                self._platter.sync_folder(self._folder(fh))
        return 0

    def release(self, path: str | None, fh: int) -> int:
        with self._lock:
            self._open.pop(fh, None)
        return 0

    def _handle(self, thing: File | Folder) -> int:
        self._handles += 1
        self._open[self._handles] = thing
        return self._handles

    def _file(self, handle: int) -> File:
        thing = self._open[handle]
        assert isinstance(thing, File)
        return thing

    def _folder(self, handle: int) -> Folder:
        thing = self._open[handle]
        assert isinstance(thing, Folder)
        return thing

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            if self._fault == "full":
                raise OSError(errno.ENOSPC, "no space left")
            if self._fault == "broken":
                raise OSError(errno.EIO, "input/output error")
            yield


class Fuse(mfusepy.FUSE):  # type: ignore[misc]  # it comes without a marker for its types
    """mfusepy's, which forgets the handle of a file that is truncated by it; its path is not told then."""

    def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> int:
        """libfuse's truncate, of a path or an open file."""
        handle = fip.contents.fh if fip else None
        return int(self.operations.truncate(None if path is None else path.decode(), length, handle))


def take_orders(disk: FailingDisk, mountpoint: str) -> None:
    """Until nobody gives any more."""
    for line in sys.stdin:
        try:
            disk.obey(json.loads(line))
            said = "done"
        except Exception as error:  # noqa: BLE001 - whoever ordered must learn what went wrong
            said = f"error: {error}"
        print(said, flush=True)
    subprocess.run(["umount", "-l", mountpoint], check=False, capture_output=True)
    os._exit(0)


def announce(mountpoint: str) -> None:
    """Say `ready` once the file system answers."""
    while not os.path.ismount(mountpoint):
        time.sleep(0.005)
    print("ready", flush=True)


def main() -> None:
    """Serve until the end of stdin."""
    mountpoint, seed = sys.argv[1], int(sys.argv[2])
    disk = FailingDisk(seed)

    def attend() -> None:
        announce(mountpoint)
        take_orders(disk, mountpoint)

    threading.Thread(target=attend, daemon=True).start()
    Fuse(disk, mountpoint, foreground=True, nothreads=True, fsname="nemesis", allow_other=True)


if __name__ == "__main__":
    main()
