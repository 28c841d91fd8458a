"""A testbed for the whole run, a fresh cluster for each module.

    testbed   the same for all modules, gone at the end
    hosts     five new hosts with the test images
    swarm     a cluster on them: n1, n2, n3 are managers and workers, n4 and n5 workers

New hosts for each module take two seconds and leave nothing of the module before. A module may break its hosts as it
likes; within a module tests share the cluster, so each uses names of its own and repairs what later ones need.
RAFTSWARM_KEEP=1 leaves the testbed standing after the run, to look at: `scripts/testbed --name NAME status`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.images.catalogue import TEST_IMAGES
from tests.testbed.swarm import Swarm

HOSTS = 5


@pytest.fixture(scope="session")
def testbed() -> Iterator[Testbed]:
    bed = Testbed(os.environ.get("TESTBED_NAME", f"e2e-{os.getpid()}"))
    try:
        yield bed
    finally:
        if not os.environ.get("RAFTSWARM_KEEP"):
            bed.down()


@pytest.fixture(scope="module")
def hosts(testbed: Testbed) -> list[Host]:
    return testbed.renew(HOSTS, TEST_IMAGES)


@pytest.fixture(scope="module")
def swarm(hosts: list[Host]) -> Swarm:
    cluster = Swarm(hosts)
    cluster.form()
    return cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the hosts say to the report of a test that failed."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("swarm")
    if report.failed and report.when == "call" and isinstance(cluster, Swarm):
        report.sections.append(("the cluster", cluster.describe()))
    return report
