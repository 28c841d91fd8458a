"""A published port answers on every node, from everywhere, and opens nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.integration.net.world import Cluster, Endpoint, Net, Node
from tests.testbed.process import wait_until

pytestmark = pytest.mark.integration

RED = Net("red0000000000000000000000", "10.128.1", 5001)
INGRESS = Net("ingress000000000000000000", "10.128.2", 5002, ingress=True)

# Sends from one and the same port until someone answers, and says who did.
ASK_UDP = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 45454)); s.settimeout(0.2)
for _ in range(int(sys.argv[3])):
    s.sendto(b"?", (sys.argv[1], int(sys.argv[2])))
    try: print(s.recv(100).decode().strip()); break
    except OSError: pass
else: print("nobody")
"""

# Answers every datagram with a name, until it is killed.
ANSWER_UDP = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 53))
while True:
    _, peer = s.recvfrom(100)
    s.sendto(sys.argv[1].encode(), peer)
"""


@pytest.fixture
def web(cluster: Cluster) -> list[Endpoint]:
    """A published service with a task on each node, in the ingress network and one of its own."""
    red, ingress = cluster.world.net(RED), cluster.world.net(INGRESS)
    cluster.world.service(red, "web", red.address(100))
    cluster.world.service(ingress, "web", "")
    cluster.world.publish(ingress, "web", 8080, 80)
    tasks = []
    for node in (1, 2):
        cluster.world.put(Endpoint(f"t{node}", red, red.address(10 + node), node, "web", node))
        tasks.append(cluster.world.put(Endpoint(f"t{node}", ingress, ingress.address(10 + node), node, "web", node)))
    cluster.apply()
    for node, task in zip(cluster.nodes, tasks, strict=True):
        node.serve(cluster.world.endpoints[task.task_id, red.id], task)
    return tasks


def ask(node: Node, address: str, times: int = 4) -> Counter[str]:
    said = node.sh(f"for i in $(seq {times}); do curl -sS -m 3 http://{address}:8080/; done")
    return Counter(line.split()[0] for line in said.splitlines())


def ask_udp(node: Node, address: str, port: int, tries: int = 10) -> str:
    return node.host.run(["python3", "-c", ASK_UDP, address, str(port), str(tries)]).stdout.strip()


def test_every_address_of_every_node_answers_from_everywhere(cluster: Cluster, web: list[Endpoint]) -> None:
    for node in cluster.nodes:
        for address in ("127.0.0.1", *(other.host.address for other in cluster.nodes)):
            assert ask(node, address) == {"t1": 2, "t2": 2}, f"{node.host.name} asks {address}"
    container = cluster.nodes[0].get("task.t1", f"http://{cluster.nodes[1].host.address}:8080/", times=4)
    assert {line.split()[0] for line in container} == {"t1", "t2"}


def test_only_who_serves_is_asked(cluster: Cluster, web: list[Endpoint]) -> None:
    cluster.world.serving(web[1], serving=False)
    cluster.apply()
    assert [ask(node, "127.0.0.1") for node in cluster.nodes] == [{"t1": 4}, {"t1": 4}]
    cluster.world.remove(web[0])
    cluster.apply()
    assert "curl: (7)" in cluster.nodes[1].sh("curl -sS -m 3 http://127.0.0.1:8080/")
    cluster.world.serving(web[1], serving=True)
    cluster.apply()
    assert [ask(node, "127.0.0.1") for node in cluster.nodes] == [{"t2": 4}, {"t2": 4}]


def test_datagrams_reach_a_service_that_comes_later_and_the_next_when_it_goes(cluster: Cluster) -> None:
    n1, n2 = cluster.nodes
    ingress = cluster.world.net(INGRESS)
    cluster.world.publish(ingress, "echo", 9053, 53, "UDP")
    tasks = [Endpoint(f"u{n}", ingress, ingress.address(30 + n), n, "echo", n, serving=False) for n in (1, 2)]
    for task in tasks:
        cluster.world.put(task)
    cluster.apply()
    for node, task in zip(cluster.nodes, tasks, strict=True):
        node.run_beside(node.idle(task), ["python3", "-c", ANSWER_UDP, task.task_id])
    targets = ("127.0.0.1", n1.host.address, n2.host.address)
    assert [ask_udp(n1, address, 9053, tries=2) for address in targets] == ["nobody"] * 3
    cluster.world.serving(tasks[1], serving=True)
    cluster.apply()
    assert [ask_udp(n1, address, 9053) for address in targets] == ["u2"] * 3
    cluster.world.serving(tasks[0], serving=True)
    cluster.world.remove(tasks[1])
    cluster.apply()
    assert [ask_udp(n1, address, 9053) for address in targets] == ["u1"] * 3


def test_a_port_that_a_program_of_the_node_has_is_named(cluster: Cluster, web: list[Endpoint]) -> None:
    n1, n2 = cluster.nodes
    n1.host.spawn(["python3", "-m", "http.server", "8081", "--bind", "127.0.0.1"], n1.host.folder / "web.log")
    wait_until(lambda: "8081" in n1.sh("ss -lnt"), "the start of the node's own program", 10)
    cluster.world.publish(INGRESS, "web", 8081, 80)
    assert ["8081/tcp" in problem for problem in n1.apply(cluster.world)["problems"]] == [True]
    assert n2.apply(cluster.world)["problems"] == []
    assert ask(n1, "127.0.0.1") == {"t1": 2, "t2": 2}
    n1.sh("kill $(ss -lntpH 'sport = :8081' | grep -o 'pid=[0-9]*' | cut -d= -f2)")


def test_containers_do_not_reach_the_nodes_loopback(cluster: Cluster, web: list[Endpoint]) -> None:
    n1, _ = cluster.nodes
    n1.host.spawn(["python3", "-m", "http.server", "7000", "--bind", "127.0.0.1"], n1.host.folder / "web.log")
    wait_until(lambda: "7000" in n1.sh("ss -lnt"), "the start of the node's own program", 10)
    into = "nsenter -t $(docker inspect -f '{{.State.Pid}}' task.t1) -n"
    device = n1.sh(f"{into} ip -br addr | grep {web[0].address} | cut -d@ -f1")
    n1.sh(f"{into} sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.{device}.route_localnet=1")
    n1.sh(f"{into} ip route del local 127.0.0.0/8 table local; {into} ip route del local 127.0.0.1 table local")
    n1.sh(f"{into} ip route add 127.0.0.1/32 via {INGRESS.gateway(1)} dev {device} src {web[0].address}")
    attack = f"{into} curl -sS -m 1 http://127.0.0.1:7000/"
    arrived = "conntrack -L -p tcp --orig-port-dst 7000 2>/dev/null"
    n1.sh(attack)
    assert n1.sh(arrived) == ""
    n1.sh("nft flush chain ip sw_ing raw")
    n1.sh(attack)
    assert "dst=127.0.0.1" in n1.sh(arrived), "the guard is what kept it out"
    n1.sh("kill $(ss -lntpH 'sport = :7000' | grep -o 'pid=[0-9]*' | cut -d= -f2)")


def test_docker_publishing_of_others_keeps_their_clients_address(cluster: Cluster, web: list[Endpoint]) -> None:
    n1, n2 = cluster.nodes
    body = {
        "Image": "tools:local",
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8090"}]}},
        "ExposedPorts": {"80/tcp": {}},
    }
    n1.host.engine.request("POST", "/containers/create", query={"name": "plain"}, body=body)
    n1.host.engine.request("POST", "/containers/plain/start")
    url = f"http://{n1.host.address}:8090/"
    wait_until(lambda: n2.host.address in n2.sh(f"curl -sS -m 2 {url}"), "an answer with the client's address", 10)
