"""Tasks, as users see them."""

from collections.abc import Iterable
from typing import Any

from swarm_api.control_pb2 import GetRequest, GetTaskResponse, ListTasksRequest, ListTasksResponse
from swarm_api.objects_pb2 import ObjectKind, Task

from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find, select
from swarm_manager.core.snapshot import View


class TaskRpcs(Desk):
    """ListTasks, GetTask."""

    async def ListTasks(self, request: ListTasksRequest, context: Any) -> ListTasksResponse:  # noqa: N802, ARG002 - gRPC's
        """Tasks by service, node, wanted state and filter."""
        view = await self._view(stale=request.stale)
        return ListTasksResponse(tasks=select(_candidates(view, request), request.filter))

    async def GetTask(self, request: GetRequest, context: Any) -> GetTaskResponse:  # noqa: N802, ARG002 - gRPC's
        """One task by id or a unique beginning of it."""
        view = await self._view(stale=request.stale)
        return GetTaskResponse(task=find(view, ObjectKind.TASK, request.id, Task))


def _candidates(view: View, request: ListTasksRequest) -> Iterable[Task]:
    services = _ids(view, ObjectKind.SERVICE, request.service_ids)
    nodes = _ids(view, ObjectKind.NODE, request.node_ids)
    if services is not None:
        tasks: Iterable[Task] = (t for service_id in services for t in view.tasks_of_service(service_id).values())
    elif nodes is not None:
        tasks = (t for node_id in nodes for t in view.tasks_on_node(node_id).values())
    else:
        tasks = view.tasks.values()
    for task in tasks:
        if nodes is not None and task.node_id not in nodes:
            continue
        if not request.desired_states or task.desired_state in request.desired_states:
            yield task


def _ids(view: View, kind: int, texts: Iterable[str]) -> set[str] | None:
    asked = list(texts)
    # An id that no longer exists still selects its tasks: a removed service's are being stopped.
    return {found for text in asked for found in (view.ids_matching(kind, text) or [text])} if asked else None
