"""Decides what to change next: orchestrate, allocate, schedule, over one scratch copy of a snapshot.

Theory of operation
    `plan` is a function of the snapshot, the time and fresh ids.  Its passes write to a scratch copy, so that each
    sees what the one before decided: creating a service and assigning its tasks is one set of changes, and one commit.
    The result is the difference between the scratch and the snapshot, with the versions it was decided on.

    It is level-triggered: planning on its own result changes nothing, and a leader that knows nothing of what was
    going on plans with `ALL` and goes on.  `dirty` only spares work: with it, the cost is in the number of services
    that were touched and not in the size of the cluster.

    The caller commits.  A stale conflict means: plan again on the new snapshot, with the same dirty set.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.objects_pb2 import Service, Task
from swarm_api.store_pb2 import Change
from swarm_api.types_pb2 import (
    PENDING,
    RUNNING,
)

from swarm_manager.core.allocate.allocator import (
    allocate_gateways,
    allocate_network,
    allocate_task,
    nodes_of_ingress,
)
from swarm_manager.core.dirty import FREED
from swarm_manager.core.draft import is_assigned, is_live
from swarm_manager.core.entries import entries
from swarm_manager.core.orchestrate.depend import waits_for
from swarm_manager.core.orchestrate.reap import reap_networks
from swarm_manager.core.orchestrate.rebalance import rebalance, wants_moves
from swarm_manager.core.orchestrate.service import orchestrate
from swarm_manager.core.schedule.pipeline import place
from swarm_manager.core.scratch import Scratch
from swarm_manager.core.snapshot import View
from swarm_manager.core.times import Zones, ns, only_utc, timestamp

WAITS_FOR_SERVICES = "waits for other services"
_ON_EVERY_NODE = frozenset({"global", "global_job"})


class All:
    """The dirty set of somebody who does not know what changed: everything is looked at."""


ALL = All()
Dirty = Collection[str] | All


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes to propose in this order, and when to look again though nothing changes.

    `wakes`: for each service that was looked at and waits for a time, that time. `wake_at` is the earliest of them.
    A service that was looked at and is not in it waits for nothing any more (see `Agenda`).
    """

    changes: list[Change] = field(default_factory=list)
    wake_at: Timestamp | None = None
    wakes: Mapping[str, Timestamp] = field(default_factory=dict)
    looked_at: frozenset[str] = frozenset()

    def batches(self, max_size_bytes: int) -> Iterator[list[Change]]:
        """The changes in order, cut into lists for one entry each. Each beginning of them is a valid state.

        A single change larger than `max_size_bytes` is a list of its own.
        """
        return entries(self.changes, max_size_bytes)


class Agenda:
    """Who wants another look when: kept by the leader between plans, empty again on a new one."""

    def __init__(self) -> None:
        self._at_ns: dict[str, int] = {}

    def note(self, made: Plan) -> None:
        """Takes over what a plan said about time."""
        for object_id in made.looked_at:
            self._at_ns.pop(object_id, None)
        for object_id, at in made.wakes.items():
            self._at_ns[object_id] = ns(at)

    def due(self, now: Timestamp) -> set[str]:
        """The ids that are to be planned now because of the time. They stay until a plan has looked at them."""
        return {object_id for object_id, at_ns in self._at_ns.items() if at_ns <= ns(now)}

    def next_at(self) -> Timestamp | None:
        """When something is due next."""
        return timestamp(min(self._at_ns.values())) if self._at_ns else None


@dataclass(slots=True)
class _Scope:
    """What a plan looks at."""

    services: set[str]
    nodes: set[str]
    networks: set[str]
    retry_waiting: bool  # tasks that wait for a node or an address may find one now, whosever they are


def plan(snapshot: View, now: Timestamp, dirty: Dirty, ids: Iterator[str], zone_of: Zones = only_utc) -> Plan:
    """What has to change in `snapshot` because of what is dirty (ids of services, nodes, networks, `FREED`, or ALL)."""
    scratch = Scratch(snapshot, now, ids, zone_of)
    scope = _everything(snapshot) if isinstance(dirty, All) else _scope_of(snapshot, dirty)
    for network_id in sorted(scope.networks):
        if (network := scratch.networks.get(network_id)) is not None:
            allocate_network(scratch, network)
    for service_id in sorted(scope.services):
        orchestrate(scratch, service_id)
    rebalance(scratch, scope.services)
    assigned = place(scratch, _ready_to_place(scratch, _waiting(scratch, scope)))
    _give_gateways(scratch, scope, assigned)
    reap_networks(scratch)
    return _result(scratch, scope)


def portion(view: View, dirty: set[str], tasks: int) -> tuple[set[str], set[str]]:
    """As much of what is dirty as one plan should look at, and the rest: services until they have so many tasks."""
    services = sorted(key for key in dirty if key in view.tasks_by_service)
    now, counted = dirty.difference(services), 0
    for number, service_id in enumerate(services):
        if counted >= tasks:
            return now, set(services[number:])
        now.add(service_id)
        counted += len(view.tasks_by_service[service_id])
    return now, set()


def _everything(view: View) -> _Scope:
    services = set(view.services) | set(view.tasks_by_service)
    return _Scope(services, set(view.nodes), set(view.networks), retry_waiting=True)


def _scope_of(view: View, dirty: Collection[str]) -> _Scope:
    scope = _Scope(set(), set(), set(), retry_waiting=FREED in dirty)
    for object_id in dirty:
        if object_id in view.services or object_id in view.tasks_by_service:
            scope.services |= {object_id} | _dependents(view, object_id)
        elif object_id in view.networks:
            scope.networks.add(object_id)
            scope.services |= view.services_in_network(object_id)
            scope.retry_waiting = True
        else:
            scope.nodes.add(object_id)  # also ids of what is no more: it may have been a node
    if any(node_id in view.nodes for node_id in scope.nodes):
        scope.services |= {s.id for s in view.services.values() if s.spec.WhichOneof("mode") in _ON_EVERY_NODE}
    for node_id in scope.nodes:
        scope.services |= {task.service_id for task in view.tasks_on_node(node_id).values()}
    scope.retry_waiting |= bool(scope.nodes)
    if scope.retry_waiting:  # where there is room now, tasks may be moved to
        scope.services |= {s.id for s in view.services.values() if wants_moves(view, s)}
    return scope


def _dependents(view: View, service_id: str) -> frozenset[str]:
    service = view.services.get(service_id)
    by_name = view.dependents.get(service.spec.annotations.name) if service is not None else None
    return (by_name or frozenset()) | view.dependents.get(service_id, frozenset())


def _waiting(scratch: Scratch, scope: _Scope) -> list[Task]:
    """The wanted tasks without a node that the plan is about, the longest waiting first."""
    waiting = [
        task
        for task in scratch.unassigned.values()
        if task.desired_state <= RUNNING and (scope.retry_waiting or task.service_id in scope.services)
    ]
    return sorted(waiting, key=lambda t: (t.meta.created_at.seconds, t.slot, t.id))


def _ready_to_place(scratch: Scratch, waiting: Iterable[Task]) -> list[Task]:
    """Those whose services may start and that have all their addresses."""
    reasons: dict[str, str] = {}
    full: set[str] = set()
    ready = []
    for task in waiting:
        if task.service_id not in reasons:
            reasons[task.service_id] = _reason_to_wait(scratch, scratch.services.get(task.service_id))
        if reason := reasons[task.service_id]:
            scratch.set_status(task, PENDING, WAITS_FOR_SERVICES, reason)
            continue
        allocated = allocate_task(scratch, task, full)
        if all(attachment.address for attachment in allocated.networks):
            ready.append(allocated)
    return ready


def _reason_to_wait(scratch: Scratch, service: Service | None) -> str:
    return "" if service is None else waits_for(scratch, service)


def _give_gateways(scratch: Scratch, scope: _Scope, assigned: Iterable[Task]) -> None:
    needed: dict[str, set[str]] = {}
    for task in assigned:
        for attachment in task.networks:
            needed.setdefault(attachment.network_id, set()).add(task.node_id)
    removed = {node_id for node_id in scope.nodes if node_id not in scratch.nodes}
    stale = {n.id for n in scratch.networks.values() if any(i in n.gateways for i in removed)} if removed else set()
    for network_id in scope.networks | stale:
        users = scratch.tasks_in_network(network_id).values()
        needed.setdefault(network_id, set()).update(t.node_id for t in users if is_live(t) and is_assigned(t))
    if (ingress := scratch.ingress_network()) is not None:
        is_new = ingress.id not in scratch.base.networks
        candidates = scratch.nodes if is_new or ingress.id in scope.networks else scope.nodes
        needed.setdefault(ingress.id, set()).update(nodes_of_ingress(scratch, candidates))
    for network_id in sorted(needed):
        allocate_gateways(scratch, network_id, needed[network_id])


def _result(scratch: Scratch, scope: _Scope) -> Plan:
    wakes = {object_id: timestamp(at_ns) for object_id, at_ns in scratch.wakes_ns().items()}
    earliest = min(wakes.values(), key=ns, default=None)
    return Plan(scratch.changes(), earliest, wakes, frozenset(scope.services))


__all__ = ["ALL", "FREED", "Agenda", "Dirty", "Plan", "plan", "portion"]
