"""The floor of a tick: how long the machine takes, at worst, to append one page to a file and sync it.

What runs beside a benchmark, or what the members themselves write, holds up every sync on the disk; a tick cannot be
shorter than that.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Self

PAGE = bytes(4096)
PAUSE_S = 0.005


class SyncFloor:
    """While it is entered a thread syncs a page to a file in this folder, over and over."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "floor"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.longest_ms = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._file.unlink()

    def _run(self) -> None:
        handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        while not self._over.is_set():
            began = time.monotonic()
            os.write(handle, PAGE)
            os.fdatasync(handle)
            self.longest_ms = max(self.longest_ms, (time.monotonic() - began) * 1000)
            self._over.wait(PAUSE_S)
        os.close(handle)
