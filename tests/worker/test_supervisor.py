"""The manager is started, started again, found again and stopped. The manager here is a shell script."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from swarm_worker import supervisor
from swarm_worker.supervisor import Process, Supervisor

from tests.worker.waiting import until

STEADY = "echo serving; while :; do sleep 0.1; done"


@contextlib.asynccontextmanager
async def supervised(folder: Path, script: str = STEADY, *, leave: bool = False) -> AsyncIterator[Supervisor]:
    """A supervisor at work; unless it is to `leave` its manager, that ends too, also when the test fails."""
    kept = Supervisor(["sh", "-c", script], folder / "log" / "manager.log", folder / "manager.pid")
    running = asyncio.create_task(kept.run())
    try:
        yield kept
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if not leave:
            await kept.stop()


def pid_of(folder: Path) -> int:
    try:
        return int((folder / "manager.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


async def test_it_runs_and_its_words_are_kept(tmp_path: Path) -> None:
    async with supervised(tmp_path) as kept:
        await until(lambda: kept.last_words() == "serving")
        assert kept.state == "running"
        await kept.stop()
        assert Process.of(pid_of(tmp_path)) is None


async def test_one_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with supervised(tmp_path) as kept:
        await until(lambda: pid_of(tmp_path) > 0)
        first = pid_of(tmp_path)
        os.kill(first, signal.SIGKILL)
        await until(lambda: pid_of(tmp_path) not in (0, first))
        await kept.stop()


async def test_one_that_cannot_start_tells_why(tmp_path: Path) -> None:
    async with supervised(tmp_path, "echo the disk is full >&2; exit 3") as kept:
        await until(lambda: kept.state.startswith("restarting"))
        assert kept.state == "restarting: exited with code 3; the disk is full"


async def test_a_new_daemon_finds_the_manager_that_still_runs(tmp_path: Path) -> None:
    async with supervised(tmp_path, leave=True):
        await until(lambda: pid_of(tmp_path) > 0)
    first = pid_of(tmp_path)
    assert Process.of(first) is not None, "the manager outlives its daemon"
    async with supervised(tmp_path) as again:
        await until(lambda: again.state == "running")
        assert pid_of(tmp_path) == first
        os.kill(first, signal.SIGKILL)
        await until(lambda: pid_of(tmp_path) != first)
        await again.stop()


async def test_another_program_with_the_old_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manager.pid").write_text(str(os.getpid()))
    async with supervised(tmp_path) as kept:
        await until(lambda: pid_of(tmp_path) not in (0, os.getpid()))
        await kept.stop()


async def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_GRACE_S", 0.2)
    async with supervised(tmp_path, "trap '' TERM; echo deaf; while :; do sleep 0.1; done") as kept:
        await until(lambda: kept.last_words() == "deaf")
        pid = pid_of(tmp_path)
        await kept.stop()
        await until(lambda: Process.of(pid) is None)


async def test_a_long_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT_BYTES", 10)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "manager.log").write_text("a line of before\n")
    async with supervised(tmp_path) as kept:
        await until(lambda: (tmp_path / "log" / "manager.log.1").exists())
        assert (tmp_path / "log" / "manager.log.1").read_text().startswith("a line of before")
        await until(lambda: (tmp_path / "log" / "manager.log").read_text() in ("", "serving\n"))
        await until(lambda: pid_of(tmp_path) > 0)
        await kept.stop()
