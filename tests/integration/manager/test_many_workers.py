"""Fifty workers at three managers: all of them come, get their tasks, and come back to the next leader."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from swarm_api.control_pb2 import CreateServiceRequest, ListRequest
from swarm_api.types_pb2 import NodeState

from bench.fleet import Fleet
from tests.integration.manager.processes import ManagerProcess, service, wait_for

WORKERS, TASKS = 50, 300
LIMIT_S = 60.0


@pytest.fixture
def fleet(managers: list[ManagerProcess], tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(managers, WORKERS, tmp_path, processes=1)
    try:
        yield fleet
    finally:
        fleet.stop()


def test_many_workers_run_what_they_are_given_under_one_leader_and_the_next(
    managers: list[ManagerProcess], fleet: Fleet
) -> None:
    fleet.wait(lambda now: now.sessions == WORKERS, "all sessions", LIMIT_S)
    leader, *others = managers
    leader.control.CreateService(CreateServiceRequest(spec=service("web", TASKS)), timeout=5)
    fleet.wait(lambda now: now.running == TASKS, f"{TASKS} running tasks", LIMIT_S)
    leader.kill()
    began_ns = fleet.now().at_ns
    wait_for("the next leader", lambda: any(other.info().leader_id == other.node_id for other in others))
    fleet.wait(lambda now: now.sessions == WORKERS and now.at_ns > began_ns, "sessions with the next leader", LIMIT_S)
    fleet.silence()
    fleet.wait(
        lambda now: now.joined == WORKERS - 1 and now.running == TASKS, "the lost one's tasks elsewhere", LIMIT_S
    )
    nodes = others[0].control.ListNodes(ListRequest(), timeout=5).nodes
    assert sum(node.status.state == NodeState.DOWN for node in nodes) == 1
