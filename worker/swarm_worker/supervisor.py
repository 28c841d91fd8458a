"""Keeps this node's manager running.

The manager is a process of its own, so that a crash of the daemon does not cost the cluster a master: a daemon that
starts finds the manager that still runs by its pid file, and watches it as if it had started it. What the manager
prints goes straight to `<state>/log/manager.log`, which is cut when it grows too long.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0  # having run this long, it is restarted without delay again
STOP_GRACE_S = 10.0
LOG_LIMIT_BYTES = 10 * 1024 * 1024
LOG_CHECK_S = 60.0

log = structlog.get_logger(__name__)


def manager_command() -> list[str]:
    """How to call swarm-manager: the script beside ours, else the module in this interpreter."""
    beside = Path(sys.argv[0]).resolve().parent / "swarm-manager"
    if beside.is_file():
        return [str(beside)]
    script = Path(sys.executable).parent / "swarm-manager"
    if script.is_file():
        return [str(script)]
    return [sys.executable, "-c", "import sys; from swarm_manager.server import main; sys.exit(main())"]


@dataclass(frozen=True, slots=True)
class Process:
    """A running manager, ours by birth or found; its start time tells it from a later process with the same id."""

    pid: int
    started: str

    @staticmethod
    def of(pid: int) -> "Process | None":
        """The process with this id, if there is one that is not a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else Process(pid, fields[19])

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self


class Supervisor:
    """Starts the manager, starts it again when it ends, stops it when asked."""

    def __init__(self, command: Sequence[str], log_file: Path, pid_file: Path) -> None:
        self._command = list(command)
        self._log_file = log_file
        self._pid_file = pid_file
        self._process: Process | None = None
        self.state = "starting"  # for people

    async def run(self) -> None:
        """Work until cancelled. The manager runs on: `stop` stops it, another `run` finds it."""
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        rotation = loop.create_task(self._rotate_loop())
        try:
            while True:
                began = loop.time()
                code = await self._run_once()
                pause_s = FIRST_PAUSE_S if loop.time() - began > STEADY_S else pause_s
                self.state = f"restarting: {_ending(code)}; {self.last_words()}"
                log.warning("the manager ended", exit_code=code, restart_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        finally:
            rotation.cancel()

    def last_words(self) -> str:
        """The last line the manager printed."""
        try:
            with self._log_file.open("rb") as file:
                file.seek(max(0, self._log_file.stat().st_size - 4096))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return "it printed nothing"
        return next((line for line in reversed(lines) if line.strip()), "it printed nothing")

    async def _run_once(self) -> int | None:
        """Run it, or watch the one that runs already, to its end; the exit code when it is known."""
        found = self._find()
        if found:
            log.info("found the manager running", pid=found.pid)
            self._process, self.state = found, "running"
            await _end_of(found.pid)
            return None
        try:
            child = await self._spawn()
        except OSError as error:
            log.error("the manager could not be started", error=str(error))  # noqa: TRY400 - no traceback for people
            return 127
        self._process, self.state = Process.of(child.pid), "running"
        self._pid_file.write_text(f"{child.pid}\n")
        return await child.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._log_file.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the daemon's terminal is not meant for it
            )

    def _find(self) -> Process | None:
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        ours = [part.encode() for part in self._command]
        return Process.of(pid) if command[-len(ours) - 1 : -1] == ours else None

    async def stop(self) -> None:
        """End the manager: SIGTERM, some patience, SIGKILL. To be called when `run` does not run any more."""
        process, self.state = self._process, "stopped"
        if process is None or not process.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await _end_of(process.pid)
        except TimeoutError:
            log.warning("the manager does not end; it is killed", pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._pid_file.unlink(missing_ok=True)

    async def _rotate_loop(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # no log yet, or a full disk: the next round tries again
                await asyncio.to_thread(self._rotate)
            await asyncio.sleep(LOG_CHECK_S)

    def _rotate(self) -> None:
        """Keep one older part. The manager writes in append mode: it goes on at the start of the emptied file."""
        if self._log_file.stat().st_size > LOG_LIMIT_BYTES:
            shutil.copyfile(self._log_file, self._log_file.with_suffix(".log.1"))
            os.truncate(self._log_file, 0)


async def _end_of(pid: int) -> None:
    """Wait until the process ends, be it our child or not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _ending(code: int | None) -> str:
    if code is None:
        return "it ended"
    return f"killed by signal {-code}" if code < 0 else f"exited with code {code}"
