"""Clusters of real managers on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.manager.processes import ManagerProcess, api_ports, grow


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerProcess]:
    """One manager that leads."""
    manager = ManagerProcess(tmp_path / "m1", api_ports(1)[0])
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
    cluster = [ManagerProcess(tmp_path / f"m{n}", port) for n, port in enumerate(api_ports(3), 1)]
    try:
        grow(cluster)
        yield cluster
    finally:
        for manager in cluster:
            manager.stop()
            print(manager.folder.name, manager.log)  # shown by pytest when the test fails
