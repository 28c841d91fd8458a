"""Names lead to who serves now, from every container, also while the worker or its resolver is away."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest
import swarm_worker

from tests.integration.net.world import Cluster, Endpoint, Net, Node
from tests.testbed.process import wait_until

pytestmark = pytest.mark.integration

RED = Net("red0000000000000000000000", "10.128.1", 5001)
BLUE = Net("blue000000000000000000000", "10.128.2", 5002)

# A name server of the outside world: it answers every A question with 192.0.2.7.
OUTSIDE = """
import dns.message, dns.rrset, os, pathlib, socket, sys
pathlib.Path("/run/outside.pid").write_text(str(os.getpid()))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 53))
while True:
    packet, peer = s.recvfrom(2000)
    query = dns.message.from_wire(packet)
    answer = dns.message.make_response(query)
    if query.question[0].rdtype == 1:
        answer.answer = [dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.7")]
    s.sendto(answer.to_wire(), peer)
"""


def resolver_pid(node: Node) -> str:
    return node.sh("cat /run/raftswarm/resolver.pid")


def dig(node: Node, container: str, question: str) -> list[str]:
    return sorted(node.inside(container, f"dig +short +tries=1 +time=3 {question}").splitlines())


def status(node: Node, container: str, question: str) -> str:
    said = node.inside(container, f"dig +tries=1 +time=3 {question}")
    return said.partition("status: ")[2].partition(",")[0]


@pytest.fixture
def web(cluster: Cluster) -> list[Endpoint]:
    """A service with a task on each node, and an idle client on node 1."""
    net = cluster.world.net(RED)
    cluster.world.service(net, "shop_Web", net.address(100), ("web", "shop"))
    cluster.world.service(net, "rr", "")
    tasks = [cluster.world.put(Endpoint(f"t{n}", net, net.address(10 + n), n, "shop_Web", n)) for n in (1, 2)]
    client = cluster.world.put(Endpoint("client", net, net.address(20), 1, "rr", 1))
    cluster.apply()
    cluster.nodes[0].idle(client)
    return tasks


def test_the_names_of_a_service(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    addresses = [task.address for task in web]
    for name in ("shop_Web", "SHOP_web", "web", "shop"):
        assert dig(n1, "task.client", name) == ["10.128.1.100"]
        assert dig(n1, "task.client", f"tasks.{name}") == addresses
    assert dig(n1, "task.client", "rr") == dig(n1, "task.client", "tasks.rr") == ["10.128.1.20"]
    assert dig(n1, "task.client", "shop_web.2") == [web[1].address]
    assert dig(n1, "task.client", f"-x {web[1].address}") == ["shop_web.2."]
    assert dig(n1, "task.client", "web AAAA") == []
    assert status(n1, "task.client", "web AAAA") == "NOERROR"
    assert status(n1, "task.client", "nobody") == status(n1, "task.client", "tasks.nobody") == "NXDOMAIN"
    assert n1.inside("task.client", "/usr/bin/ping -c 1 -W 1 web").startswith("PING web (10.128.1.100)")


def test_who_stops_serving_is_not_in_the_next_answer(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    cluster.world.serving(web[1], serving=False)
    cluster.apply()
    assert dig(n1, "task.client", "tasks.web") == [web[0].address]
    cluster.world.serving(web[1], serving=True)
    cluster.world.remove(web[0])
    cluster.apply()
    assert dig(n1, "task.client", "tasks.web") == [web[1].address]


def test_more_addresses_than_a_datagram_holds(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    many = [Endpoint(f"m{n}", RED, f"10.128.1.{n}", 2, "rr", n) for n in range(101, 240)]
    for endpoint in many:
        cluster.world.put(endpoint)
    cluster.apply()
    expected = sorted([*(endpoint.address for endpoint in many), "10.128.1.20"])
    assert dig(n1, "task.client", "rr") == expected  # dig comes again over TCP
    assert 25 < len(dig(n1, "task.client", "+noedns +ignore rr")) < 31  # a client without TCP has what fits


def test_a_task_in_two_networks_sees_the_names_of_both(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    blue = cluster.world.net(BLUE)
    cluster.world.service(blue, "db", blue.address(100))
    cluster.world.service(blue, "web", blue.address(101))
    in_red = cluster.world.put(Endpoint("both", RED, RED.address(21), 1, "x"))
    in_blue = cluster.world.put(Endpoint("both", blue, blue.address(21), 1, "x"))
    cluster.apply()
    n1.idle(in_red, in_blue)
    assert dig(n1, "task.both", "db") == [blue.address(100)]
    assert dig(n1, "task.both", "web") == ["10.128.1.100"], "its first network's"
    assert status(n1, "task.client", "db") == "NXDOMAIN"
    assert status(n1, "task.client", f"@{blue.gateway(1)} db") == "REFUSED", "asked at another network's gateway"


def test_other_names_are_asked_of_the_nodes_own_servers(cluster: Cluster, web: list[Endpoint]) -> None:
    n1, n2 = cluster.nodes
    assert status(n1, "task.client", "example.com") == "SERVFAIL"  # the testbed has no servers
    n2.host.spawn([sys.executable, "-c", OUTSIDE, n2.host.address], n2.host.folder / "outside.log")
    try:
        n1.sh(f"echo 'nameserver {RED.gateway(1)}\nnameserver {n2.host.address}' > /etc/resolv.conf")
        wait_until(lambda: dig(n1, "task.client", "example.com") == ["192.0.2.7"], "an answer of the world", 10)
        assert dig(n1, "task.client", "web") == ["10.128.1.100"]
    finally:
        n1.sh("echo > /etc/resolv.conf")
        n2.sh("kill $(cat /run/outside.pid)")


def test_the_resolver_outlives_the_worker_and_is_found_again(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    pid = resolver_pid(n1)
    n1.stop()
    assert dig(n1, "task.client", "web") == ["10.128.1.100"]
    cluster.world.remove(web[0])
    cluster.apply()
    assert resolver_pid(n1) == pid
    assert dig(n1, "task.client", "tasks.web") == [web[1].address]


def test_a_killed_resolver_is_back_soon_and_missed_little(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    pid = resolver_pid(n1)
    n1.sh(f"kill -9 {pid}")
    assert dig(n1, "task.client", "web") == ["10.128.1.100"], "the other node's resolver answers meanwhile"
    wait_until(lambda: resolver_pid(n1) != pid, "the start of another resolver", 10)
    wait_until(lambda: dig(n1, "task.client", f"@{RED.gateway(1)} web") == ["10.128.1.100"], "its answer", 10)


def test_a_resolver_that_hangs_is_replaced(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    pid = resolver_pid(n1)
    n1.sh(f"kill -STOP {pid}")
    n1.invalidate()
    cluster.apply()
    assert resolver_pid(n1) != pid
    assert n1.sh(f"ls /proc/{pid}/exe").endswith("No such file or directory")
    assert dig(n1, "task.client", f"@{RED.gateway(1)} web") == ["10.128.1.100"]


def test_without_worker_and_resolver_the_other_node_answers(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    n1.stop()
    n1.sh(f"kill -9 {resolver_pid(n1)}")
    assert dig(n1, "task.client", "web") == ["10.128.1.100"]


def test_a_resolver_of_another_version_is_replaced_without_a_lost_answer(
    cluster: Cluster, web: list[Endpoint], tmp_path: Path
) -> None:
    n1 = cluster.nodes[0]
    n1.stop()
    n1.sh(f"kill -9 {resolver_pid(n1)}")
    older = tmp_path / "swarm_worker"
    shutil.copytree(Path(swarm_worker.__file__).parent, older)
    with (older / "net" / "zones.py").open("a") as module:
        module.write("\n# an older release\n")
    n1.start(PYTHONPATH=str(tmp_path))
    cluster.apply()
    pid = resolver_pid(n1)
    n1.stop()
    asking = f"for i in $(seq 200); do dig +short +tries=1 +time=1 @{RED.gateway(1)} web; sleep 0.005; done > /tmp/got"
    n1.inside("task.client", f"({asking}; echo done >> /tmp/got) > /dev/null 2>&1 &")
    cluster.apply()
    assert resolver_pid(n1) != pid
    wait_until(lambda: "done" in n1.inside("task.client", "cat /tmp/got"), "the end of the lookups", 90)
    got = n1.inside("task.client", "cat /tmp/got").splitlines()
    print(f"{len(got) - 1} lookups during the replacement, {200 - got.count('10.128.1.100')} without an answer")
    assert got.count("10.128.1.100") >= 199  # one that the old one had not read yet may be lost


def test_what_the_resolver_costs(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    pid = resolver_pid(n1)
    before, started = n1.sh(f"cat /proc/{pid}/stat").split(), time.monotonic()
    wait_until(lambda: time.monotonic() - started > 2, "two seconds of rest", 5)
    after = n1.sh(f"cat /proc/{pid}/stat").split()
    resident = int(n1.sh(f"grep VmRSS /proc/{pid}/status").split()[1])
    print(f"resolver: {resident / 1024:.1f} MB resident, {int(after[13]) - int(before[13])} ticks in 2 s at rest")
    assert resident < 25 * 1024
