"""The main job: the example stack over four machines, followed through scaling and removal."""

import json
import time

import pytest

from tests.testbed.host import Host
from tests.testbed.layout import CHECKOUT
from tests.testbed.process import wait_until
from tests.testbed.swarm import Swarm

COMPOSE = CHECKOUT / "examples" / "rnn" / "docker-compose.yml"


@pytest.fixture(scope="module")
def rnn(swarm: Swarm) -> Swarm:
    swarm.cli("stack", "deploy", "-c", COMPOSE, "rnn")
    return swarm


def answer(host: Host, address: str) -> dict[str, object]:
    said = host.run(["curl", "-sS", "-m", "5", f"http://{address}:8080/"], check=False).stdout
    try:
        told = json.loads(said)
    except json.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def names_in_dns(swarm: Swarm, name: str) -> set[str]:
    """The addresses a container of the stack is told for a name."""
    host, container = some_container(swarm, "rnn_worker")
    script = f"require('dns').resolve4('{name}', (e, a) => console.log(JSON.stringify(a || [])))"
    said = host.run(["docker", "exec", container, "node", "-e", script], check=False).stdout
    return set(json.loads(said or "[]"))


def some_container(swarm: Swarm, service: str) -> tuple[Host, str]:
    for host in swarm.hosts:
        for found in host.engine.containers():
            if found["Labels"].get("swarm.service.name") == service:
                return host, str(found["Id"])
    raise AssertionError(f"no container of {service} runs anywhere")


def test_eight_containers_run_spread_over_the_machines(rnn: Swarm) -> None:
    assert rnn.running("rnn") == 8
    by_node: dict[str, int] = {}
    for task in rnn.tasks("rnn"):
        by_node[task["node_id"]] = by_node.get(task["node_id"], 0) + 1
    assert len(by_node) == len(rnn.hosts)
    assert max(by_node.values()) - min(by_node.values()) <= 1


def test_the_published_port_answers_on_every_host_and_the_count_goes_up(rnn: Swarm) -> None:
    wait_until(lambda: bool(answer(rnn.hosts[0], "127.0.0.1")), "a first answer", 30)
    counts = []
    for asker in rnn.hosts:
        for address in ("127.0.0.1", *(host.address for host in rnn.hosts)):
            told = answer(asker, address)
            assert "visits" in told, f"{asker.name} asked {address}: {told}"
            counts.append(told["visits"])
    assert counts == sorted(set(counts))  # every answer counted once, in Redis, by whichever worker


def test_dns_follows_scaling(rnn: Swarm) -> None:
    rnn.cli("service", "scale", "rnn_worker=7")
    wait_until(lambda: len(names_in_dns(rnn, "tasks.worker")) == 7, "seven workers in DNS", 20)
    rnn.cli("service", "scale", "rnn_worker=2")
    wait_until(lambda: len(names_in_dns(rnn, "tasks.worker")) == 2, "two workers in DNS", 20)
    # The virtual address stays; but who is asked may be one of those that are being stopped.
    wait_until(lambda: len(names_in_dns(rnn, "worker")) == 1, "one virtual address in DNS", 20)
    seen = {answer(rnn.hosts[0], rnn.hosts[1].address).get("worker") for _ in range(12)}
    assert len(seen - {None}) == 2 and None not in seen


def test_deploying_the_same_file_again_restarts_nothing(rnn: Swarm) -> None:
    rnn.cli("service", "scale", "rnn_worker=5")
    before = {task["id"] for task in rnn.tasks("rnn")}
    said = rnn.cli("stack", "deploy", "-c", COMPOSE, "rnn").stdout
    assert "Updated" not in said
    assert {task["id"] for task in rnn.tasks("rnn")} == before


def test_a_container_that_dies_is_replaced_in_its_slot(rnn: Swarm) -> None:
    host, container = some_container(rnn, "rnn_worker")
    host.run(["docker", "kill", container])
    wait_until(lambda: rnn.running("rnn") < 8, "the loss to be seen", 15, period_s=0.1)
    rnn.wait_running("rnn", 8)
    slots = sorted(task.get("slot") for task in rnn.tasks("rnn") if task["service_annotations"]["name"] == "rnn_worker")
    assert [int(slot) for slot in slots] == [1, 2, 3, 4, 5]


def test_removing_the_stack_removes_every_container_and_network(rnn: Swarm) -> None:
    rnn.cli("stack", "rm", "rnn")

    def gone() -> bool:
        return not any(
            found["Labels"].get("swarm.service.name", "").startswith("rnn_")
            for host in rnn.hosts
            for found in host.engine.containers(everything=True)
        )

    wait_until(gone, "no container of the stack", 40, period_s=0.2)
    rnn.wait(
        lambda: all(n["spec"]["annotations"]["name"] != "rnn_rnn" for n in rnn.ask("network", "ls")["networks"]),
        "no network",
        20,
    )
    deadline = time.monotonic() + 20
    while leftover := [h.name for h in rnn.hosts if "rnn_rnn" in h.run(["docker", "network", "ls"]).stdout]:
        assert time.monotonic() < deadline, f"the engine's network stays on {leftover}"
    assert answer(rnn.hosts[0], "127.0.0.1") == {}
