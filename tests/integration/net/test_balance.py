"""A virtual address spreads new connections over who serves now, and treats the others' connections well."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.integration.net.world import Cluster, Endpoint, Net
from tests.testbed import faults
from tests.testbed.process import wait_until

pytestmark = pytest.mark.integration

RED = Net("red0000000000000000000000", "10.128.1", 5001)
VIP = RED.address(100)


@pytest.fixture
def web(cluster: Cluster) -> list[Endpoint]:
    """A service with a task on each node, and an idle client on each."""
    net = cluster.world.net(RED)
    cluster.world.service(net, "web", VIP)
    tasks = [cluster.world.put(Endpoint(f"t{n}", net, net.address(10 + n), n, "web", n)) for n in (1, 2)]
    clients = [cluster.world.put(Endpoint(f"c{n}", net, net.address(20 + n), n, "c", n)) for n in (1, 2)]
    cluster.apply()
    for node, task, client in zip(cluster.nodes, tasks, clients, strict=True):
        node.serve(task)
        node.idle(client)
    return tasks


def test_local_and_remote_endpoints_get_the_same_share_and_see_the_client(
    cluster: Cluster, web: list[Endpoint]
) -> None:
    for node in cluster.nodes:
        got = Counter(node.get(f"task.c{node.number}", "http://web/", times=20))
        client = RED.address(20 + node.number)
        assert got == {f"t1 {client}": 10, f"t2 {client}": 10}


def test_a_task_reaches_its_own_service_also_at_itself(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    # An engine with its default options leaves hairpin off.
    n1.sh("for port in /sys/class/net/sw-red0000000/brif/*; do echo 0 > $port/hairpin_mode; done")
    n1.invalidate()
    cluster.apply()
    assert Counter(n1.get("task.t1", "http://web/", times=8)) == {f"t1 {RED.gateway(1)}": 4, f"t2 {RED.address(11)}": 4}


def test_with_nobody_serving_a_client_is_refused_at_once(cluster: Cluster, web: list[Endpoint]) -> None:
    n1 = cluster.nodes[0]
    for task in web:
        cluster.world.serving(task, serving=False)
    cluster.apply()
    assert "curl: (7)" in n1.get("task.c1", "http://web/")[0]
    cluster.world.serving(web[1], serving=True)
    cluster.apply()
    assert n1.get("task.c1", "http://web/") == [f"t2 {RED.address(21)}"]


def test_who_stops_serving_finishes_its_connections_but_gets_no_new_ones(cluster: Cluster, web: list[Endpoint]) -> None:
    n1, n2 = cluster.nodes
    cluster.world.serving(web[0], serving=False)
    cluster.apply()
    open_connection(cluster)
    cluster.world.serving(web[0], serving=True)
    cluster.world.serving(web[1], serving=False)
    cluster.apply()
    heard = len(n2.inside("task.t2", "cat /tmp/heard"))
    wait_until(lambda: len(n2.inside("task.t2", "cat /tmp/heard")) > heard, "more over the old connection", 10)
    assert {line.split()[0] for line in n1.get("task.c1", "http://web/", times=4)} == {"t1"}


def test_the_clients_of_an_endpoint_that_vanished_do_not_hang(cluster: Cluster, web: list[Endpoint]) -> None:
    n1, n2 = cluster.nodes
    cluster.world.serving(web[0], serving=False)
    cluster.apply()
    open_connection(cluster)
    faults.partition(cluster.testbed.switch, [[n1.host], [n2.host]])
    cluster.world.remove(web[1])
    cluster.world.serving(web[0], serving=True)
    cluster.apply()
    wait_until(lambda: "ended" in n1.inside("task.c1", "cat /tmp/talk"), "the end of the dead connection", 10)


def test_a_worker_that_starts_forgets_connections_to_the_gone(cluster: Cluster, web: list[Endpoint]) -> None:
    n1, _ = cluster.nodes
    cluster.world.serving(web[0], serving=False)
    cluster.apply()
    open_connection(cluster)
    n1.stop()
    assert f"src={web[1].address}" in n1.sh("conntrack -L -d 10.128.1.100")
    cluster.world.remove(web[1])
    cluster.apply()
    assert f"src={web[1].address}" not in n1.sh("conntrack -L -d 10.128.1.100")


def open_connection(cluster: Cluster) -> None:
    """Have the client on node 1 talk, over one connection to the virtual address, to the task on node 2."""
    n1, n2 = cluster.nodes
    n2.inside("task.t2", "(tail -f /dev/null | nc -l -p 9000 > /tmp/heard) > /dev/null 2>&1 &")
    talk = f"while echo x; do sleep 0.1; done | nc {VIP} 9000; echo ended > /tmp/talk"
    n1.inside("task.c1", f"({talk}) > /dev/null 2>&1 &")
    wait_until(lambda: "x" in n2.inside("task.t2", "cat /tmp/heard"), "the first words", 10)
