"""All that orchestration does for one service."""

from swarm_api.objects_pb2 import Service

from swarm_manager.core.allocate.allocator import allocate_service
from swarm_manager.core.orchestrate import global_, replicated
from swarm_manager.core.orchestrate.cron import follow_schedule, kept_iterations
from swarm_manager.core.orchestrate.enforce import NodeRules
from swarm_manager.core.orchestrate.healing import heal, heal_in_place
from swarm_manager.core.orchestrate.jobs import run_job
from swarm_manager.core.orchestrate.reap import reap_service, reap_slot
from swarm_manager.core.orchestrate.slots import Desk
from swarm_manager.core.orchestrate.update import Update
from swarm_manager.core.scratch import Scratch

#: The modes whose tasks are kept running. Jobs run to their end.
_RUNNING_MODES = frozenset({None, "replicated", "global"})


def orchestrate(scratch: Scratch, service_id: str) -> None:
    """Brings the tasks of a service nearer to what it wants. Does nothing when they are there."""
    service = scratch.services.get(service_id)
    if service is None or service.pending_delete:
        reap_service(scratch, service_id, service)
    elif service.spec.WhichOneof("mode") in _RUNNING_MODES:
        _keep_running(scratch, allocate_service(scratch, service))
    else:
        _run_to_the_end(scratch, allocate_service(scratch, service))


def _keep_running(scratch: Scratch, service: Service) -> None:
    desk = Desk(scratch, service)
    rules = NodeRules(service)
    is_global = service.spec.WhichOneof("mode") == "global"
    mend = heal_in_place if is_global else heal
    for slot in desk.in_order():
        mend(desk, slot, rules, desk.is_of_other_kind(slot))
    if is_global:
        global_.forget_removed_nodes(desk)
        global_.cover_nodes(desk, rules)
    else:
        replicated.scale(desk)
    Update(desk).advance()
    for slot in list(desk.slots.values()):
        reap_slot(desk, slot)


def _run_to_the_end(scratch: Scratch, service: Service) -> None:
    service = follow_schedule(scratch, service)
    desk = Desk(scratch, service)
    run_job(desk)
    kept = kept_iterations(service) if service.spec.HasField("schedule") else None
    for slot in list(desk.slots.values()):
        reap_slot(desk, slot, kept)
