"""Start order: a service's first tasks wait until the services it depends on have come far enough.

The gate is for starting up only. Once any task of the service was placed, it stays open: a replacement, or an
update, never waits because a dependency is down for a moment.
"""

from swarm_api.objects_pb2 import (
    SERVICE,
    Service,
    Task,
)
from swarm_api.specs_pb2 import ServiceDependency
from swarm_api.types_pb2 import (
    COMPLETE,
    NEW,
    RUNNING,
    STARTING,
)

from swarm_manager.core.draft import is_assigned
from swarm_manager.core.orchestrate.jobs import is_job, standing
from swarm_manager.core.snapshot import View

_STARTED = frozenset({STARTING, RUNNING, COMPLETE})


def waits_for(view: View, service: Service) -> str:
    """What the service's tasks wait for, as a sentence; empty: for nothing."""
    if not service.spec.depends_on or _has_started(view, service):
        return ""
    return next((reason for d in service.spec.depends_on if (reason := _unfulfilled(view, d))), "")


def _has_started(view: View, service: Service) -> bool:
    return any(task.node_id and is_assigned(task) for task in view.tasks_of_service(service.id).values())


def _unfulfilled(view: View, dependency: ServiceDependency) -> str:
    found = view.id_of_name(SERVICE, dependency.service) or dependency.service
    service = view.services.get(found)
    if service is None or service.pending_delete:
        return "" if dependency.optional else f"Waits for service {dependency.service}, which does not exist."
    tasks = list(view.tasks_of_service(service.id).values())
    if _fulfils(view, service, tasks, dependency.condition):
        return ""
    return f"Waits for service {dependency.service} to {_WORDS[dependency.condition]}."


def _fulfils(view: View, service: Service, tasks: list[Task], condition: ServiceDependency.Condition.ValueType) -> bool:
    if condition == ServiceDependency.COMPLETED and is_job(service.spec):
        at = standing(view, service)
        return at.completed >= at.wanted
    if service.spec.WhichOneof("mode") == "replicated" and not service.spec.replicated.replicas:
        return True
    states = [task.status.state for task in tasks]
    if condition == ServiceDependency.COMPLETED:
        return COMPLETE in states and not any(NEW < s < COMPLETE for s in states)
    if condition == ServiceDependency.HEALTHY:
        return RUNNING in states
    return any(state in _STARTED for state in states)


_WORDS = {
    ServiceDependency.STARTED: "start",
    ServiceDependency.HEALTHY: "be running and healthy",
    ServiceDependency.COMPLETED: "complete",
}
