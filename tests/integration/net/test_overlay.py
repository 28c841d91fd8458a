"""Containers of one network reach each other wherever they are, and nobody else's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.net.world import Cluster, Endpoint, Net
from tests.testbed.process import wait_until

pytestmark = pytest.mark.integration

RED = Net("red0000000000000000000000", "10.128.1", 5001)
BLUE = Net("blue000000000000000000000", "10.128.2", 5002)


def pings(cluster: Cluster, node: int, container: str, address: str) -> bool:
    return "1 received" in cluster.nodes[node - 1].inside(container, f"/usr/bin/ping -c 1 -W 1 {address}")


def test_containers_on_two_hosts_reach_each_other_with_packets_as_big_as_promised(cluster: Cluster) -> None:
    n1, n2 = cluster.nodes
    net = cluster.world.net(RED)
    here = cluster.world.put(Endpoint("here", net, net.address(11), 1, "a"))
    there = cluster.world.put(Endpoint("there", net, net.address(12), 2, "a"))
    assert not n1.ready(net)
    cluster.apply()
    assert n1.ready(net)
    n1.idle(here)
    n2.idle(there)
    assert pings(cluster, 1, "task.here", there.address)
    assert pings(cluster, 2, "task.there", here.address)
    assert "mtu 1450" in n1.inside("task.here", "ip link show eth0")
    assert "1 received" in n1.inside("task.here", f"/usr/bin/ping -c 1 -W 1 -M do -s {1450 - 28} {there.address}")
    assert pings(cluster, 1, "task.here", net.gateway(2)), "the other node's gateway"
    assert f"{here.address} " in n2.sh(f"curl -sS -m 2 http://{here.address}:9"), "a node reaches containers of another"


def test_networks_are_kept_apart(cluster: Cluster) -> None:
    n1, n2 = cluster.nodes
    red, blue = cluster.world.net(RED), cluster.world.net(BLUE)
    cluster.world.service(blue, "secret", blue.address(100))
    asker = cluster.world.put(Endpoint("asker", red, red.address(11), 1, "a"))
    local = cluster.world.put(Endpoint("local", blue, blue.address(11), 1, "secret"))
    remote = cluster.world.put(Endpoint("remote", blue, blue.address(12), 2, "secret"))
    inside = cluster.world.put(Endpoint("inside", blue, blue.address(13), 1, "b"))
    cluster.apply()
    n1.idle(asker)
    n1.serve(local)
    n2.serve(remote)
    n1.idle(inside)
    assert n1.get("task.inside", f"{blue.address(100)}")[0].startswith(("local", "remote"))
    for address in (local.address, remote.address, blue.address(100)):
        assert "curl: (" in n1.get("task.asker", address)[0]


def test_an_internal_network_works_and_leads_nowhere_else(cluster: Cluster) -> None:
    n1, n2 = cluster.nodes
    net = cluster.world.net(replace(RED, internal=True))
    cluster.world.service(net, "web", net.address(100))
    here = cluster.world.put(Endpoint("here", net, net.address(11), 1, "a"))
    there = cluster.world.put(Endpoint("there", net, net.address(12), 2, "web"))
    cluster.apply()
    n1.idle(here)
    n2.serve(there)
    assert n1.get("task.here", "http://web/") == [f"there {here.address}"]
    refused = n1.get("task.here", f"http://{n2.host.address}:9/")[0]
    assert refused.startswith(("curl: (7)", "curl: (28)"))
    assert "refused" not in refused


def test_an_address_that_moves_between_nodes_is_reached_at_once(cluster: Cluster) -> None:
    net = cluster.world.net(RED)
    clients = [cluster.world.put(Endpoint(f"c{n}", net, net.address(20 + n), n, "c")) for n in (1, 2)]
    cluster.apply()
    for node, client in zip(cluster.nodes, clients, strict=True):
        node.idle(client)
    for number in (2, 1, 2):
        node = cluster.nodes[number - 1]
        moving = cluster.world.put(Endpoint(f"at{number}", net, net.address(11), number, "m"))
        cluster.apply()
        name = node.idle(moving)
        assert pings(cluster, 1, "task.c1", moving.address)
        assert pings(cluster, 2, "task.c2", moving.address)
        node.remove(name)
        cluster.world.remove(moving)


def test_what_is_gone_leaves_no_entry(cluster: Cluster) -> None:
    n1, _ = cluster.nodes
    net = cluster.world.net(RED)
    cluster.world.service(net, "web", net.address(100))
    there = cluster.world.put(Endpoint("there", net, net.address(12), 2, "web"))
    cluster.apply()
    entries = "bridge fdb show | grep -ic 02:42:0a:80:01:0c; ip neigh show nud permanent | grep -c 10.128.1.12"
    assert "0" not in n1.sh(entries).split()
    assert net.address(100) in n1.sh("ip -4 addr")
    cluster.world.remove(there)
    cluster.world.services.clear()
    cluster.apply()
    assert n1.sh(entries).split() == ["0", "0"]
    assert net.address(100) not in n1.sh("ip -4 addr")


def test_a_network_with_containers_stays_until_they_are_gone(cluster: Cluster) -> None:
    n1, _ = cluster.nodes
    net = cluster.world.net(RED)
    task = cluster.world.put(Endpoint("here", net, net.address(11), 1, "a"))
    cluster.apply()
    name = n1.idle(task)
    cluster.world.nets.clear()
    cluster.world.endpoints.clear()
    assert any("active endpoints" in problem for problem in n1.apply(cluster.world)["problems"])
    assert "swx-" in n1.sh("ip -br link")
    n1.remove(name)
    wait_until(lambda: n1.apply(cluster.world)["problems"] == [], "the removal of the network", 10)
    assert "swx-" not in n1.sh("ip -br link")


def test_everything_is_back_after_a_power_loss(cluster: Cluster) -> None:
    n1, n2 = cluster.nodes
    net = cluster.world.net(RED)
    cluster.world.service(net, "web", net.address(100))
    here = cluster.world.put(Endpoint("here", net, net.address(11), 1, "a"))
    there = cluster.world.put(Endpoint("there", net, net.address(12), 2, "web"))
    cluster.apply()
    n1.idle(here)
    n2.serve(there)
    n2.host.power_off()
    n2.died()
    cluster.testbed.power_on(n2.host)
    cluster.apply()
    answers = ["there " + here.address]
    wait_until(lambda: n1.get("task.here", "http://web/") == answers, "the container that the engine started again", 60)
    assert n2.get("task.there", "http://web/") == [f"there {net.gateway(2)}"]


def test_an_engine_that_crashed_finds_its_networks(cluster: Cluster) -> None:
    n1, n2 = cluster.nodes
    net = cluster.world.net(RED)
    cluster.world.service(net, "web", net.address(100))
    here = cluster.world.put(Endpoint("here", net, net.address(11), 1, "web"))
    there = cluster.world.put(Endpoint("there", net, net.address(12), 2, "web"))
    cluster.apply()
    n1.serve(here)
    n2.serve(there)
    n1.host.engine.crash()
    new = cluster.world.put(Endpoint("new", net, net.address(13), 2, "a"))
    n1.invalidate()
    assert n1.apply(cluster.world)["problems"] != [], "the engine is down"
    assert n2.apply(cluster.world)["problems"] == []
    n2.idle(new)
    assert {line.split()[0] for line in n2.get("task.new", "http://web/", times=4)} == {"here", "there"}
    cluster.testbed.power_on(n1.host)
    n1.invalidate()
    cluster.apply()
    assert {line.split()[0] for line in n1.get("task.here", "http://web/", times=4)} == {"here", "there"}


def test_what_others_broke_is_repaired(cluster: Cluster) -> None:
    n1, n2 = cluster.nodes
    net = cluster.world.net(RED)
    cluster.world.service(net, "web", net.address(100))
    here = cluster.world.put(Endpoint("here", net, net.address(11), 1, "a"))
    there = cluster.world.put(Endpoint("there", net, net.address(12), 2, "web"))
    cluster.apply()
    n1.invalidate()
    cluster.apply()
    n1.idle(here)
    n2.serve(there)
    device = "swx-red0000000"
    for damage in (
        f"ip neigh flush dev {device} nud permanent; bridge fdb flush dev {device}",
        f"ip link del {device}",
        f"ip addr del {net.address(100)}/32 dev sw-red0000000",
        "nft delete table ip sw_vip; nft delete table ip sw_ing",
        "nft flush chain ip sw_vip prerouting",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
    ):
        n1.sh(damage)
        n1.invalidate()
        cluster.apply()
        assert n1.get("task.here", "http://web/") == [f"there {here.address}"], damage
