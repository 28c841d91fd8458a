"""What an apply costs with many endpoints. Prints; asserts only that the result is right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.net.world import Cluster, Endpoint, Net

pytestmark = pytest.mark.integration

NETS = [Net(f"scale{n}{'0' * 19}", f"10.128.{n}", 5000 + n) for n in range(1, 5)]


def test_four_networks_with_a_hundred_services_and_800_endpoints(cluster: Cluster) -> None:
    n1 = cluster.nodes[0]
    world = cluster.world
    for net in NETS:
        world.net(net)
        for number in range(25):
            world.service(net, f"s{number}", net.address(225 + number % 23))
    for net in NETS:
        for number in range(200):
            world.put(Endpoint(f"{net.id}{number}", net, net.address(10 + number), 2, f"s{number % 23}", number))
    report("800 endpoints, from nothing", n1.apply(world))
    report("the same again", n1.apply(world))
    first = next(iter(world.endpoints.values()))
    world.serving(first, serving=False)
    report("one stops serving", n1.apply(world))
    world.remove(first)
    report("one vanishes", n1.apply(world))
    n1.invalidate()
    report("all read back", n1.apply(world))
    n1.invalidate()
    report("all read back again", n1.apply(world))
    for endpoint in [e for e in world.endpoints.values() if e.net == NETS[0]]:
        world.remove(endpoint)
    report("199 vanish at once", n1.apply(world))
    entries = n1.sh("bridge fdb show | grep -c 'dst '; nft list map ip sw_vip services | grep -c vip_")
    assert entries.split()[0] == str(600 + 4), "600 endpoints and the other node's gateways"


def report(what: str, result: dict[str, Any]) -> None:
    print(f"{what}: {result['seconds'] * 1000:.0f} ms, {result['cpu_s'] * 1000:.0f} ms of CPU in the worker")
    assert result["problems"] == []
