"""The real Raft members in a simulated world: every promise holds, and with a guard off the simulation notices."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.sabotage import SABOTAGES

ROOT = Path(__file__).parents[2]
REGRESSIONS = Path(__file__).with_name("regressions.txt")


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: sets keep their order there, so that a seed says everything."""
    command = [sys.executable, str(ROOT / "scripts" / "simulate"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)


def test_a_few_histories_hold() -> None:
    done = simulate("--seeds", "12", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("12 seeds, "), done.stdout


def test_the_same_seed_plays_the_same() -> None:
    first, second = (simulate("--seeds", "2", "--start", "77").stdout.split(" in ")[0] for _ in range(2))
    assert first == second
    assert "2 seeds" in first


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_many_histories_hold() -> None:
    done = simulate("--seeds", "300", "--start", "1000")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_histories_that_once_failed_hold() -> None:
    for line in REGRESSIONS.read_text().splitlines():
        seed = line.split("#")[0].strip()
        if seed:
            done = simulate("--seeds", "1", "--start", seed)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
@pytest.mark.timeout(600)
@pytest.mark.parametrize("guard", sorted(SABOTAGES))
def test_with_a_guard_off_the_violation_is_found(guard: str) -> None:
    done = simulate("--seeds", "2000", "--without", guard, "--stop-at", "1")
    assert done.returncode == 1, f"nothing was found without {guard}: {done.stdout}{done.stderr}"
    assert f"--without {guard}" in done.stdout, "the command that replays it is printed"
