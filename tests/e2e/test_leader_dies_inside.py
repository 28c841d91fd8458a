"""The leading manager is killed inside whatever is going on: the next one goes on, and nothing is started twice.

What was started is not what the managers believe but what the engines say: their events name each container that began.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.testbed.host import Host
from tests.testbed.swarm import Document, Swarm

IMAGE = "busybox:local"
REPLICAS = 6


@pytest.fixture(scope="module")
def web(swarm: Swarm) -> Swarm:
    """A service with six replicas that is updated and rolled back one task at a time."""
    each = [f"--{what}-{flag}" for what in ("update", "rollback") for flag in ("monitor=1s", "parallelism=1")]
    create = ("service", "create", "--name", "web", "--replicas", str(REPLICAS), "--stop-grace-period", "1s", *each)
    swarm.cli(*create, "--env", "V=1", IMAGE, "sleep", "100000")
    return swarm


def tasks(swarm: Swarm, name: str = "web") -> list[Document]:
    """The tasks that are wanted."""
    return [t for t in swarm.ask("service", "ps", name)["tasks"] if t["desired_state"] == "RUNNING"]


def running(swarm: Swarm, env: str = "") -> list[Document]:
    is_meant = (lambda t: env in t["spec"]["container"]["env"]) if env else bool
    return [t for t in tasks(swarm) if t["status"]["state"] == "RUNNING" and is_meant(t)]


def started(host: Host, name: str, since_s: float) -> list[str]:
    """The tasks of a service whose containers the host's engine began, as often as it did."""
    filters = {"type": ["container"], "event": ["start"], "label": [f"swarm.service.name={name}"]}
    query = {"since": f"{since_s:.6f}", "until": f"{time.time():.6f}", "filters": filters}
    said: Any = host.engine.request("GET", "/events", query=query)
    events = [said] if isinstance(said, dict) else [json.loads(line) for line in (said or "").splitlines()]
    return [event["Actor"]["Attributes"]["swarm.task.id"] for event in events]


@contextmanager
def nothing_twice(swarm: Swarm, name: str = "web") -> Iterator[None]:
    """What is started meanwhile are the service's new tasks, each once, and nothing else."""
    since_s, before = time.time(), {t["id"] for t in tasks(swarm, name)} if name == "web" else set()
    yield
    new = sorted({t["id"] for t in tasks(swarm, name)} - before)
    assert sorted(task for host in swarm.hosts for task in started(host, name, since_s)) == new


def kill_leader_when(swarm: Swarm, is_inside: Callable[[], bool], what: str) -> None:
    """kill -9 the manager that leads, as soon as the state is reached."""
    leader = swarm.leader()
    swarm.wait(is_inside, what, 60)
    leader.kill("swarm-manager")


def all_managers(swarm: Swarm) -> bool:
    return [m["reachability"] for m in swarm.ask("info")["managers"]].count("REACHABLE") == len(swarm.managers)


def update_state(swarm: Swarm) -> str:
    return str(swarm.ask("service", "inspect", "web")["update_status"]["state"])


@pytest.fixture(autouse=True)
def whole(web: Swarm) -> Iterator[None]:
    """Each test begins with all managers, so that one may die."""
    web.wait(lambda: all_managers(web), "three managers", 60)
    yield


def test_inside_a_rolling_update(web: Swarm) -> None:
    with nothing_twice(web):
        web.cli("service", "update", "--detach", "--env-add", "V=2", "web")
        kill_leader_when(web, lambda: len(running(web, "V=2")) == 2, "two updated tasks")
        web.wait(lambda: update_state(web) == "COMPLETED", "the end of the update", 60)
        assert len(running(web, "V=2")) == REPLICAS == len(tasks(web))


def test_inside_a_rollback(web: Swarm) -> None:
    with nothing_twice(web):
        web.cli("service", "rollback", "--detach", "web")
        kill_leader_when(web, lambda: len(running(web, "V=1")) == 2, "two tasks that went back")
        web.wait(lambda: update_state(web) == "ROLLBACK_COMPLETED", "the end of the rollback", 60)
        assert len(running(web, "V=1")) == REPLICAS == len(tasks(web))


def on_node(swarm: Swarm, node_id: str) -> int:
    return sum(task["node_id"] == node_id for task in running(swarm))


def test_inside_a_drain_and_a_rebalance(web: Swarm) -> None:
    place = next(node["id"] for node in web.nodes() if node["description"]["hostname"] == "n5")
    web.cli("service", "update", "--constraint-add", "node.hostname == /^n[45]$/", "web")
    web.wait(lambda: len(running(web)) == REPLICAS, "all on two nodes", 60)
    with nothing_twice(web):
        web.cli("node", "update", "--availability", "drain", "n5")
        kill_leader_when(web, lambda: len(tasks(web)) > REPLICAS or on_node(web, place) < 3, "a replacement")
        web.wait(lambda: len(running(web)) == REPLICAS and not on_node(web, place), "an empty node", 60)
    web.wait(lambda: all_managers(web), "three managers", 60)
    web.cli("node", "activate", "n5")
    with nothing_twice(web):
        web.cli("service", "rebalance", "--detach", "web")
        kill_leader_when(web, lambda: len(tasks(web)) > REPLICAS or on_node(web, place) > 0, "a task that moves")
        web.wait(lambda: on_node(web, place) == REPLICAS // 2, "half of the tasks on each", 60)
        web.wait(lambda: len(tasks(web)) == REPLICAS == len(running(web)), "each task once", 60)


def test_inside_a_job(web: Swarm) -> None:
    def completed() -> int:
        return [task["status"]["state"] for task in tasks(web, "batch")].count("COMPLETE")

    with nothing_twice(web, "batch"):
        flags = ("--mode", "replicated-job", "--replicas", "6", "--max-concurrent", "2", "--name", "batch")
        web.cli("service", "create", "--detach", *flags, IMAGE, "sleep", "1")
        kill_leader_when(web, lambda: completed() >= 1, "a run that completed")
        web.wait(lambda: completed() == 6, "six runs that completed", 60)
        assert len(tasks(web, "batch")) == 6
