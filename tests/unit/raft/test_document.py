"""docs/raft.md names tests and controls: they are there."""

import re
from pathlib import Path

from tests.sim.sabotage import SABOTAGES

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/raft.md").read_text()
RAFT = ROOT / "manager/swarm_manager/raft"


def rows() -> list[list[str]]:
    """The table, without its head."""
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_row_names_a_test_that_exists() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named: set[str] = set()
    assert len(rows()) > 15
    for defect, _, _, proof in rows():
        tests = re.findall(r"`((?:check|test)_\w+)`", proof)
        controls = re.findall(r"`([a-z-]+)`", proof)
        assert tests or controls, defect
        assert [name for name in tests if f"def {name}(" not in sources] == []
        assert set(controls) <= set(SABOTAGES), defect
        named |= set(controls)
    assert named == set(SABOTAGES), "every control has its row"


def test_every_file_it_names_exists() -> None:
    for _, _, where, _ in rows():
        for name in re.findall(r"`([\w/]+\.py)`", where):
            assert (RAFT / name).exists() or (RAFT.parent / name).exists(), name
