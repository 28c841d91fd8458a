"""Two hosts for all tests of this package; a new cluster on them for each test, taken down by what is under test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.integration.net.world import Cluster, Node, World
from tests.testbed import faults
from tests.testbed.cluster import Testbed


@pytest.fixture(scope="package")
def testbed() -> Iterator[Testbed]:
    with Testbed(f"net{os.getpid()}") as bed:
        bed.up(2, images=["tools:local"])
        yield bed


@pytest.fixture(scope="package")
def nodes(testbed: Testbed) -> Iterator[list[Node]]:
    nodes = [Node(host) for host in testbed.hosts]
    yield nodes
    for node in nodes:
        node.stop()


@pytest.fixture
def cluster(testbed: Testbed, nodes: list[Node]) -> Iterator[Cluster]:
    for node in nodes:
        node.sh("iptables -P FORWARD DROP")  # as Docker does where forwarding was off before it came
    cluster = Cluster(testbed, World({node.number: node.host.address for node in nodes}), nodes)
    yield cluster
    faults.heal(testbed.switch)
    for node in nodes:
        testbed.power_on(node.host)
        node.remove_containers()
    cluster.world = World(cluster.world.nodes)
    cluster.apply()
    for node in nodes:
        assert node.sh("ip -br link | grep -E 'swx?-'; nft list tables | grep sw_; ls /run/raftswarm") == ""
