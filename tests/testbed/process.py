"""Running system programs, waiting for states, and naming processes safely.

A pid alone does not name a process for long: it is handed out again. Whatever is written down for later is
therefore a `ProcessRef`, the pid together with the time the kernel started it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.testbed.errors import CommandFailed, NotReached

# Keeps the handles of detached children: their end is watched through /proc, and a handle that is garbage
# collected while its child lives would warn about it.
_detached: list[subprocess.Popen[bytes]] = []


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout_s: float = 120,
    env: Mapping[str, str] | None = None,
    shown: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed. Raises CommandFailed unless `check` is off.

    `shown` is what errors call it, where its own words say too much.
    """
    words = [str(word) for word in argv]
    shown = shown or f"`{shlex.join(words)}`"
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"{words[0]} is not installed: run scripts/setup") from error
    with child:
        try:
            out, err = child.communicate(stdin, timeout=timeout_s)
        except BaseException as error:
            _kill_tree(child.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed(f"{shown} did not end within {timeout_s:g} s") from error
            raise
    if check and child.returncode != 0:
        said = (err.strip() or out.strip() or "nothing")[-800:]
        raise CommandFailed(f"{shown} ended with {child.returncode} and said: {said}")
    return subprocess.CompletedProcess(words, child.returncode, out, err)


def _kill_tree(pid: int) -> None:
    """Kill a process and all below it: nsenter, killed alone, would leave its child running in the host."""
    for child in children(pid):
        _kill_tree(child)
    send_signal(pid, signal.SIGKILL)


def spawn_detached(argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a program that outlives us, in a session of its own, its output appended to `log`. Returns its pid."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )
    _detached.append(child)
    return child.pid


def wait_until(probe: Callable[[], bool], what: str, timeout_s: float, period_s: float = 0.01) -> float:
    """Ask `probe` until it says yes; return the seconds that took, or raise NotReached naming `what`."""
    start = time.monotonic()
    while not probe():
        if time.monotonic() - start > timeout_s:
            raise NotReached(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(period_s)
    return time.monotonic() - start


@dataclass(frozen=True)
class ProcessRef:
    """One process, once: the pid and its start time in clock ticks since boot."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The live process that has this pid now, or None. A zombie counts as dead."""
        fields = _stat_fields(pid)
        if fields is None or fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]))

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Read what `save` wrote; None when there is no such file or it was cut short by a crash."""
        try:
            pid, start_ticks = file.read_text().split()
            return cls(int(pid), int(start_ticks))
        except (FileNotFoundError, ValueError):
            return None

    def save(self, file: Path) -> None:
        file.write_text(f"{self.pid} {self.start_ticks}\n")

    def alive(self) -> bool:
        return self == ProcessRef.of(self.pid)

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """Signal it; False when it is gone already."""
        return self.alive() and send_signal(self.pid, number)


def send_signal(pid: int, number: int) -> bool:
    """Signal a pid; False when nothing has that pid any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def command_line(pid: int) -> list[str]:
    """The words a process was started with; empty when it is gone (or a kernel thread)."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [word.decode(errors="replace") for word in raw.rstrip(b"\0").split(b"\0")] if raw else []


def children(pid: int) -> list[int]:
    """The pids of a process's children; empty when it is gone."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def cpu_seconds(pid: int) -> float:
    """Processor time that a process, with all its threads, has used; 0 when it is gone."""
    fields = _stat_fields(pid)
    return 0.0 if fields is None else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat after the command's name, which may itself hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
