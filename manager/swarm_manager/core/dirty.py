"""What the planner has to look at again because of what happened.

Nearly all that happens in a large cluster is tasks coming up as they were told to: thirty thousand of them are sixty
thousand reports, and a plan looks at all tasks of a service.  So a task that comes up makes nothing dirty where nobody
waits for it: no task that it replaces, no update that counts it, no service that depends on its own.
"""

from collections.abc import Iterable

from swarm_api.objects_pb2 import CLUSTER, NETWORK, NODE, SERVICE, Service, Task, UpdateStatus
from swarm_api.types_pb2 import ASSIGNED, RUNNING, STARTING

from swarm_manager.core.diff import Event
from swarm_manager.core.draft import is_live
from swarm_manager.core.orchestrate.rebalance import wants_moves
from swarm_manager.core.snapshot import View

#: In a dirty set: a task ended or went, so a node, an address or a port has room again.
FREED = "freed"

_PLANNED = frozenset({NODE, SERVICE, NETWORK, CLUSTER})
_KEPT_RUNNING = frozenset({None, "replicated", "global"})
_AT_REST = frozenset({UpdateStatus.NONE, UpdateStatus.COMPLETED, UpdateStatus.ROLLBACK_COMPLETED})


def dirty_ids(happened: Iterable[Event], view: View) -> set[str]:
    """Ids of services, nodes and networks that changed, and `FREED`; `view` is the state after what happened.

    A task's change makes its service dirty, not its node: nodes are looked at when they themselves change.
    """
    dirty: set[str] = set()
    for event in happened:
        if _comes_up(event, view):
            continue
        if event.kind in _PLANNED:
            dirty.add(event.id)
        if isinstance(event.old, Task):
            dirty.add(event.old.service_id)
            if is_live(event.old) and not (isinstance(event.new, Task) and is_live(event.new)):
                dirty.add(FREED)
        if isinstance(event.new, Task):
            dirty.add(event.new.service_id)
    return dirty


def _comes_up(event: Event, view: View) -> bool:
    """Whether an assigned task went a step towards running, and nobody waits for that step."""
    old, new = event.old, event.new
    if not isinstance(old, Task) or not isinstance(new, Task) or old.desired_state != new.desired_state:
        return False
    if not ASSIGNED <= old.status.state <= new.status.state <= RUNNING:
        return False
    return new.status.state < STARTING or not _is_waited_for(new, view)


def _is_waited_for(task: Task, view: View) -> bool:
    """Whether a plan may decide something because this task starts or runs."""
    service = view.services.get(task.service_id)
    if service is None or task.replaces or task.desired_state != RUNNING:
        return True
    return (
        service.spec.WhichOneof("mode") not in _KEPT_RUNNING  # a job counts its tasks
        or service.update_status.state not in _AT_REST
        or _has_dependents(view, service)
        or wants_moves(view, service)
    )


def _has_dependents(view: View, service: Service) -> bool:
    return service.id in view.dependents or service.spec.annotations.name in view.dependents
