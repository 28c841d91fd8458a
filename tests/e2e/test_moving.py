"""Tasks that change places on real engines: drained, rebalanced, kept away from others - and never too few of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.testbed.cluster import Testbed
from tests.testbed.process import wait_until
from tests.testbed.swarm import Swarm

IMAGE = "busybox:local"


@contextmanager
def watched(swarm: Swarm, service: str) -> Iterator[list[int]]:
    """How many containers of a service run on all engines together, counted again and again meanwhile."""
    counts: list[int] = []
    is_over = threading.Event()

    def count() -> None:
        while not is_over.is_set():
            counts.append(
                sum(
                    found["Labels"].get("swarm.service.name") == service
                    for host in swarm.hosts
                    for found in host.engine.containers()
                )
            )

    watcher = threading.Thread(target=count)
    watcher.start()
    try:
        yield counts
    finally:
        is_over.set()
        watcher.join()


def nodes_of(swarm: Swarm, service: str) -> list[str]:
    names = {node["id"]: node["description"]["hostname"] for node in swarm.ask("node", "ls")["nodes"]}
    tasks = swarm.ask("service", "ps", service, "--running")["tasks"]
    return sorted(names[task["node_id"]] for task in tasks if task["status"]["state"] == "RUNNING")


def test_drain_waits_and_there_are_never_too_few(swarm: Swarm) -> None:
    swarm.cli(
        "service", "create", "--name", "web", "--replicas", "10", "--stop-grace-period", "1s", IMAGE, "sleep", "3600"
    )
    drained = next(name for name in nodes_of(swarm, "web") if name != "n1")
    with watched(swarm, "web") as counts:
        swarm.cli("node", "drain", "--wait", drained)
        assert drained not in nodes_of(swarm, "web")
    assert min(counts) >= 10, counts
    host = next(host for host in swarm.hosts if host.name == drained)
    assert not [c for c in host.engine.containers() if c["Labels"].get("swarm.service.name") == "web"]
    swarm.cli("node", "activate", drained)


def test_rebalance_fills_the_node_again_without_a_gap(swarm: Swarm) -> None:
    shown = swarm.cli("service", "rebalance", "--dry-run", "web").stdout
    assert shown.count("web.") == 2
    with watched(swarm, "web") as counts:
        swarm.cli("service", "rebalance", "web")
    assert min(counts) >= 10, counts
    spread = nodes_of(swarm, "web")
    assert {spread.count(name) for name in set(spread)} == {2}
    assert "Nothing to move" in swarm.cli("service", "rebalance", "--dry-run", "web").stdout


def test_a_node_that_returns_gets_its_share_by_itself(swarm: Swarm, testbed: Testbed) -> None:
    create = ("service", "create", "--name", "auto", "--replicas", "5", "--rebalance", "--stop-grace-period", "1s")
    swarm.cli(*create, IMAGE, "sleep", "3600")
    assert len(set(nodes_of(swarm, "auto"))) == 5
    swarm.hosts[4].power_off()
    swarm.wait(lambda: "n5" not in nodes_of(swarm, "auto") and len(nodes_of(swarm, "auto")) == 5, "five elsewhere", 30)
    testbed.power_on(swarm.hosts[4])
    swarm.wait_ready()
    swarm.wait(lambda: len(set(nodes_of(swarm, "auto"))) == 5, "one on each node again", 60)


def test_classic_placement_from_the_environment(swarm: Swarm) -> None:
    swarm.cli("service", "create", "--name", "db", "-e", "constraint:node==/^n[45]$/", IMAGE, "sleep", "3600")
    (home,) = nodes_of(swarm, "db")
    assert home in ("n4", "n5")
    swarm.cli("service", "create", "--name", "near", "-e", "affinity:service==db", IMAGE, "sleep", "3600")
    assert nodes_of(swarm, "near") == [home]
    far = ("service", "create", "--name", "far", "--replicas", "5", "--affinity", "service!=db")
    swarm.cli(*far, "--detach", IMAGE, "sleep", "3600")
    swarm.wait(lambda: len(nodes_of(swarm, "far")) == 5, "five far ones", 30)
    assert home not in nodes_of(swarm, "far")
    container = next(
        found
        for host in swarm.hosts
        for found in host.engine.containers()
        if found["Labels"].get("swarm.service.name") == "near"
    )
    host = next(host for host in swarm.hosts if host.name == home)
    said = host.run(["docker", "exec", str(container["Id"]), "env"]).stdout
    assert "affinity" not in said


def test_a_refusal_says_which_nodes_lack_what(swarm: Swarm) -> None:
    swarm.cli("node", "update", "--label-add", "disk=ssd", "n2")
    create = ("service", "create", "--detach", "--name", "huge", "--constraint", "node.labels.disk == ssd")
    swarm.cli(*create, "--reserve-memory", "1000g", IMAGE, "sleep", "1")

    def why() -> str:
        return str(swarm.ask("service", "ps", "huge")["tasks"][0]["status"].get("err", ""))

    wait_until(lambda: bool(why()), "a reason", 10)
    assert why() == "No suitable node: 5 nodes lack memory for a reservation of 1024000 MiB."
