"""Clusters of real managers on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.manager.processes import ManagerProcess, free_ports, wait_for


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerProcess]:
    """One manager that leads."""
    manager = ManagerProcess(tmp_path / "m1", free_ports(1)[0])
    manager.init()
    manager.start()
    try:
        manager.wait_until_leading()
        yield manager
    finally:
        manager.stop()
        print(manager.log)  # shown by pytest when the test fails


@pytest.fixture
def managers(tmp_path: Path) -> Iterator[list[ManagerProcess]]:
    """Three managers, the first of which leads."""
    cluster = [ManagerProcess(tmp_path / f"m{n}", port) for n, port in enumerate(free_ports(3), 1)]
    try:
        grow(cluster)
        yield cluster
    finally:
        for manager in cluster:
            manager.stop()
            print(manager.folder.name, manager.log)  # shown by pytest when the test fails


def grow(cluster: list[ManagerProcess]) -> None:
    """Make a cluster of the first, and let the others join."""
    first, *others = cluster
    first.init()
    first.start()
    first.wait_until_leading()
    token = first.tokens()["manager"]
    for other in others:
        other.join(first, token)
        other.start()
    wait_for("three voters", lambda: sum(m.voter for m in first.info().managers) == len(cluster))
    for other in others:
        wait_for("the state", lambda other=other: other.info().cluster_id)
