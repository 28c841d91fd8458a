"""The real Raft members in a simulated world: every promise holds, and with a guard off the simulation notices."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.sabotage import SABOTAGES

ROOT = Path(__file__).parents[2]
REGRESSIONS = Path(__file__).with_name("regressions.txt")
HAPPENS = (
    "I/O errors hit",
    "blackouts",
    "clock changes",
    "conflicts",
    "crashes",
    "deafenings",
    "elections won",
    "frames doubled",
    "frames lost",
    "frames out of order",
    "freezes",
    "full disks hit",
    "hand-overs",
    "isolations",
    "linearizable reads",
    "link resets",
    "membership changes committed",
    "one way partitions",
    "outcomes unknown",
    "partitions",
    "power cuts",
    "restarts",
    "retries",
    "snapshots installed",
    "snapshots written",
    "torn tails cut",
    "writes acknowledged",
)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: sets keep their order there, so that a seed says everything."""
    command = [sys.executable, str(ROOT / "scripts" / "simulate"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)


def happened(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """What the summary counts."""
    lines = re.findall(r"^  (\S.*?) +([\d,]+)$", done.stdout, re.MULTILINE)
    return {what: int(number.replace(",", "")) for what, number in lines}


@pytest.mark.long
def test_a_few_histories_hold() -> None:
    done = simulate("--seeds", "12", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("12 seeds, "), done.stdout


@pytest.mark.long
def test_the_same_seed_plays_the_same() -> None:
    first, second = (simulate("--seeds", "4", "--start", "77") for _ in range(2))
    assert first.stdout.startswith("4 seeds"), first.stderr
    assert happened(first) == happened(second)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_thousand_histories_hold_and_are_not_tame() -> None:
    done = simulate("--seeds", "2000", "--start", "1000")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = happened(done)
    rare = {what: counts.get(what, 0) for what in HAPPENS if counts.get(what, 0) < 100}
    assert not rare, f"these hardly happen any more: {rare}"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_histories_that_once_failed_hold() -> None:
    done = simulate("--regressions", str(REGRESSIONS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("guard", sorted(SABOTAGES))
def test_with_a_guard_off_the_violation_is_found(guard: str) -> None:
    done = simulate("--seeds", "2000", "--without", guard, "--stop-at", "1")
    assert done.returncode == 1, f"nothing was found without {guard}: {done.stdout}{done.stderr}"
    assert f"--without {guard}" in done.stdout, "the command that replays it is printed"
