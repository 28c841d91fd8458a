"""One manager, from `init` to tasks that run."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from swarm_api.control_pb2 import CreateServiceRequest, GetRequest, ListTasksRequest
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import TaskState

from tests.integration.manager.processes import FakeWorker, ManagerProcess, free_ports, wait_for

pytestmark = pytest.mark.integration


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerProcess]:
    manager = ManagerProcess(tmp_path / "m1", free_ports(1)[0])
    manager.init()
    manager.start()
    try:
        manager.wait_until_leading()
        yield manager
    finally:
        manager.stop()
        print(manager.log)


def service(name: str, replicas: int = 1) -> ServiceSpec:
    spec = ServiceSpec()
    spec.annotations.name = name
    spec.task.container.image = "busybox"
    spec.replicated.replicas = replicas
    return spec


def test_a_service_is_created_assigned_and_reported_running(manager: ManagerProcess) -> None:
    worker = FakeWorker(manager, manager.tokens()["worker"])
    worker.open(manager)
    created = manager.control.CreateService(CreateServiceRequest(spec=service("web", 2)), timeout=5).service
    assert created.meta.version.index > 0
    while len(worker.tasks()) < 2:
        worker.take()
    for task in worker.tasks():
        assert task.node_id == worker.node_id
        worker.report(task, TaskState.RUNNING)
    found = manager.local.GetService(GetRequest(id="web"), timeout=5)
    assert (found.progress.wanted, found.progress.running) == (2, 2)
    listed = manager.control.ListTasks(ListTasksRequest(service_ids=["web"]), timeout=5).tasks
    assert {task.status.state for task in listed} == {TaskState.RUNNING}
