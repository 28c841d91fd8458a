"""The handle of one failing disk (disk_process.py)."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self


class DiskError(Exception):
    """The disk could not be mounted, or did not obey."""


class Disk:
    """Mounted from `mount` to `unmount`, and no longer than this process lives."""

    def __init__(self, mountpoint: Path, seed: int) -> None:
        self.mountpoint = mountpoint
        self._seed = seed
        self._process: subprocess.Popen[str] | None = None

    def mount(self) -> None:
        """Have it in place, empty."""
        self.mountpoint.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.nemesis.disk_process", str(self.mountpoint), str(self._seed)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._expect("ready")

    def unmount(self) -> None:
        """Take it away with all it holds; nothing happens when it is not mounted."""
        if self._process is None:
            return
        self._process.communicate(timeout=20)
        self._process = None

    def __enter__(self) -> Self:
        self.mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unmount()

    def slow(self, seconds: float) -> None:
        """Let every sync take up to so long."""
        self._order(do="slow", seconds=seconds)

    def fill(self) -> None:
        """No room any more."""
        self._order(do="full")

    def break_(self) -> None:
        """Writes and syncs fail, and what a failed sync was to save is never saved."""
        self._order(do="broken")

    def lie(self) -> None:
        """Say that what is synced is safe, when it is not."""
        self._order(do="lie")

    def heal(self) -> None:
        """No fault any more."""
        self._order(do="heal")

    def sync(self) -> None:
        """Make everything on it durable, as an administrator's `sync` does."""
        self._order(do="sync")

    def lose_power(self, *, everything: bool = False) -> None:
        """Forget a random part of what is not durable, or all of it.  Nothing may have files open."""
        self._order(do="lose_power", everything=everything)

    def _order(self, **order: object) -> None:
        if self._process is None or self._process.stdin is None:
            raise DiskError(f"the disk at {self.mountpoint} is not mounted")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            last = "" if said or self._process.stderr is None else self._process.stderr.read()[-500:]
            raise DiskError(f"the disk at {self.mountpoint} said {said or last!r} instead of {word!r}")
