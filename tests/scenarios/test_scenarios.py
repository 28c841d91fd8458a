"""Replays every scenario beside this file, with one leader, and with a new leader before each plan."""

import os
from pathlib import Path

import pytest

from tests.scenarios.script import replay

SCENARIOS = sorted((Path(__file__).parent / "stories").glob("*.txt"))
REWRITE = bool(os.environ.get("REWRITE_SCENARIOS"))


@pytest.mark.parametrize(
    "forgetful",
    [pytest.param(False, id="one leader"), pytest.param(True, id="a new leader at every plan", marks=pytest.mark.long)],
)
@pytest.mark.parametrize("path", SCENARIOS, ids=[path.stem for path in SCENARIOS])
def test_scenario(path: Path, forgetful: bool) -> None:
    got = replay(path.read_text(), forgetful=forgetful)
    if REWRITE and not forgetful:
        path.write_text(got)
    assert got.splitlines() == path.read_text().splitlines()


def test_there_are_scenarios() -> None:
    assert SCENARIOS
