"""One manager, from `init` to tasks that run."""

import pytest
from swarm_api.control_pb2 import CreateServiceRequest, GetRequest, ListTasksRequest
from swarm_api.types_pb2 import TaskState

from tests.integration.manager.processes import FakeWorker, ManagerProcess, service

pytestmark = pytest.mark.integration


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
