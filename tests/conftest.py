"""What holds for all tests: the folder a test is in says what it needs.

Tests below integration/ are marked `integration`, those below e2e/ `e2e`. They need root, and without it they fail
with one sentence instead of being skipped: a test that quietly did not run proves nothing. Deselect them with
`-m "not integration and not e2e"`, as `scripts/test unit` does.
"""

from __future__ import annotations

import os

import pytest

FOLDER_MARKS = ("integration", "e2e")
E2E_TIMEOUT_S = 300  # with the time to boot hosts and form a cluster, on a machine that has other work


@pytest.hookimpl(tryfirst=True)  # before pytest's own hook deselects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in FOLDER_MARKS:
            if mark in item.path.relative_to(item.config.rootpath).parts:
                item.add_marker(getattr(pytest.mark, mark))
        if item.get_closest_marker("e2e") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(E2E_TIMEOUT_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() != 0 and any(item.get_closest_marker(mark) for mark in FOLDER_MARKS):
        pytest.fail("this test needs root: run sudo scripts/test, or scripts/test unit without it", pytrace=False)
