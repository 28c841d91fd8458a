"""Rebalancing on request: marks the services, and the planner moves their tasks; or only says what it would move."""

from collections.abc import Iterable
from typing import Any

from swarm_api.control_pb2 import RebalanceRequest, RebalanceResponse, TaskMove
from swarm_api.objects_pb2 import ObjectKind, Service

from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find
from swarm_manager.api.writes import Edit, copy_of, write
from swarm_manager.core.orchestrate.rebalance import planned_moves, why_not
from swarm_manager.core.schedule.balance import Balance, Move
from swarm_manager.core.snapshot import Snapshot, View
from swarm_manager.core.times import timestamp


class RebalanceRpcs(Desk):
    """Rebalance."""

    async def Rebalance(self, request: RebalanceRequest, context: Any) -> RebalanceResponse:  # noqa: N802, ARG002 - gRPC's
        """Move tasks to even out the load, or say which would be moved."""
        if request.dry_run:
            return _answer(await self._view(), request)[0]

        def decide(snapshot: Snapshot, edit: Edit) -> RebalanceResponse:
            answer, services = _answer(snapshot, request)
            for service in services:
                marked = copy_of(service)
                marked.rebalance_asked_at.CopyFrom(timestamp(edit.at_ns))
                edit.update(marked)
            return answer

        return await write(self._store, request.request_id, RebalanceResponse, decide)


def _answer(view: View, request: RebalanceRequest) -> tuple[RebalanceResponse, list[Service]]:
    """What is to be moved, and the services that something of is."""
    answer, to_move = RebalanceResponse(), []
    balance = Balance(view)
    for service in _chosen(view, request):
        name = service.spec.annotations.name
        if reason := _reason(service, why_not(view, service), named=bool(request.services)):
            answer.unmoved.add(service_id=service.id, service_name=name, reason=reason)
        elif moves := planned_moves(view, service, balance):
            answer.moves.extend(_shown(service, move) for move in moves)
            to_move.append(service)
    return answer, to_move


def _reason(service: Service, why: str, *, named: bool) -> str:
    if service.pending_delete:
        return f"Service {service.spec.annotations.name} was removed." if named else ""
    return f"Service {service.spec.annotations.name} stays where it is: {why}" if why else ""


def _chosen(view: View, request: RebalanceRequest) -> Iterable[Service]:
    if request.services:
        return [find(view, ObjectKind.SERVICE, name, Service) for name in dict.fromkeys(request.services)]
    allowed = (s for s in view.services.values() if (s.spec.rebalance or request.all) and not s.pending_delete)
    return sorted(allowed, key=lambda s: s.spec.annotations.name)


def _shown(service: Service, move: Move) -> TaskMove:
    return TaskMove(
        service_id=service.id,
        service_name=service.spec.annotations.name,
        task_id=move.task.id,
        slot=move.task.slot,
        from_node_id=move.task.node_id,
        to_node_id=move.to_node_id,
    )
