"""A cluster on real hosts keeps its promises when parts of it die."""

from __future__ import annotations

from tests.testbed.cluster import Testbed
from tests.testbed.swarm import STATE_DIR, Swarm


def test_five_nodes_are_ready_and_one_manager_leads(swarm: Swarm) -> None:
    nodes = swarm.nodes()
    assert sorted(node["description"]["hostname"] for node in nodes) == ["n1", "n2", "n3", "n4", "n5"]
    assert [bool((node.get("manager_status") or {}).get("leader")) for node in nodes].count(True) == 1


def test_a_host_that_loses_power_is_a_node_again_after_its_boot(testbed: Testbed, swarm: Swarm) -> None:
    n5 = testbed.host("n5")
    before = {node["id"] for node in swarm.nodes()}
    n5.power_off()
    swarm.wait_ready(4)
    testbed.power_on(n5)
    swarm.wait_ready(5)
    assert {node["id"] for node in swarm.nodes()} == before
    assert n5.run(["test", "-e", STATE_DIR / "node" / "node.json"], check=False).returncode == 0


def test_the_leaders_death_costs_no_node(swarm: Swarm) -> None:
    leader = swarm.leader()
    leader.kill("swarm-manager")
    swarm.wait(lambda: bool(swarm.leader()), "a leader", timeout_s=30)
    swarm.wait_ready(5)


def test_all_hosts_lose_power_at_once_and_the_cluster_is_whole_again(testbed: Testbed, swarm: Swarm) -> None:
    before = {node["id"] for node in swarm.nodes()}
    for host in swarm.hosts:
        host.power_off()
    testbed.up(len(swarm.hosts))
    swarm.wait_ready(5)
    assert {node["id"] for node in swarm.nodes()} == before
