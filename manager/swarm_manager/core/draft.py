"""A snapshot in the making: objects are put and deleted, the indexes follow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from immutables import Map
from swarm_api.objects_pb2 import (
    CLUSTER,
    NETWORK,
    NODE,
    SERVICE,
    TASK,
    Cluster,
    Network,
    Node,
    Service,
    Task,
)
from swarm_api.store_pb2 import RememberedRequest
from swarm_api.types_pb2 import (
    ASSIGNED,
    COMPLETE,
    PortConfig,
)

from swarm_manager.core.kinds import KINDS, Stored, is_leaving, name_of
from swarm_manager.core.nodefacts import NO_LOAD, NodeLoad, add_task, facts_of
from swarm_manager.core.snapshot import VIEW_FIELDS, Snapshot, View

V = TypeVar("V")


class Draft(View):
    """A copy of a view (made in constant time) that can be changed without the view noticing."""

    __slots__ = ()

    def __init__(self, base: View) -> None:
        for name in VIEW_FIELDS:
            setattr(self, name, getattr(base, name))

    def snapshot(self, index: int) -> Snapshot:
        """The draft as it is now, as the snapshot at `index`."""
        done = Snapshot()
        for name in VIEW_FIELDS:
            object.__setattr__(done, name, getattr(self, name))
        object.__setattr__(done, "index", index)
        return done

    def put(self, kind: int, obj: Stored) -> None:
        """Stores the object under its id. The draft owns it from now on: it must not be changed any more."""
        object_id: str = obj.id
        old = self.get(kind, object_id)
        self._store(kind, object_id, obj)
        self._follow(kind, object_id, old, obj)

    def delete(self, kind: int, object_id: str) -> None:
        """Removes the object; does nothing when there is none."""
        old = self.get(kind, object_id)
        if old is None:
            return
        self._store(kind, object_id, None)
        self._follow(kind, object_id, old, None)

    def assign_all(self, tasks: Sequence[Task]) -> None:
        """Stores tasks that waited for a node and have one now: as `put` would each, at a fraction of the cost.

        Nothing else about them may have changed.
        """
        self.tasks = self.tasks.update({task.id: task for task in tasks})
        self.tasks_by_service = _merged(self.tasks_by_service, ((task.service_id, task) for task in tasks))
        self.tasks_by_node = _merged(self.tasks_by_node, ((task.node_id, task) for task in tasks))
        attached = ((a.network_id, task) for task in tasks for a in task.networks)
        self.tasks_by_network = _merged(self.tasks_by_network, attached)
        self._add_loads(tasks)
        with self.unassigned.mutate() as unassigned:
            for task in tasks:
                unassigned.pop(task.id, None)
            self.unassigned = unassigned.finish()

    def add_tasks(self, tasks: Mapping[str, Task]) -> None:
        """Stores tasks, by id, that the draft does not hold: as `put` would each, at a fraction of the cost."""
        waiting: dict[str, Task] = {}
        assigned: list[Task] = []
        attached: list[Task] = []
        for task_id, task in tasks.items():  # of a restart this loop is a good part: one look at the state for all
            state = task.status.state
            if state >= COMPLETE:
                continue
            if state < ASSIGNED:
                waiting[task_id] = task
            elif task.node_id:
                assigned.append(task)
            if task.networks:
                attached.append(task)
        self.tasks = self.tasks.update(tasks)
        self.tasks_by_service = _merged(self.tasks_by_service, ((t.service_id, t) for t in tasks.values()))
        self.tasks_by_node = _merged(self.tasks_by_node, ((t.node_id, t) for t in tasks.values() if t.node_id))
        self.unassigned = self.unassigned.update(waiting)
        self._add_loads(assigned)
        self._add_attachments(attached)

    def _add_loads(self, tasks: Iterable[Task]) -> None:
        loads: dict[str, NodeLoad] = {}
        for task in tasks:
            node_id = task.node_id
            loads[node_id] = add_task(loads.get(node_id) or self.load_of(node_id), task, 1)
        self.loads = self.loads.update(loads)

    def _add_attachments(self, tasks: Iterable[Task]) -> None:
        attached = [(a.network_id, a.address, task) for task in tasks for a in task.networks]
        self.tasks_by_network = _merged(self.tasks_by_network, ((network, task) for network, _, task in attached))
        owners: dict[str, dict[str, str]] = {}
        for network_id, address, task in attached:
            if address:
                owners.setdefault(network_id, {})[address] = f"task/{task.id}"
        self.addresses = self.addresses.update(
            {network_id: self.used_addresses(network_id).update(new) for network_id, new in owners.items()}
        )
        self.last_addresses = self.last_addresses.update({n: a for n, a, _ in attached if a})

    def remember(self, request: RememberedRequest, limit: int) -> None:
        """Adds a request to the remembered ones; beyond `limit` the oldest make room."""
        self.requests = self.requests.set(request.request_id, request)
        self.request_order = self.request_order.set(self.next_request, request.request_id)
        self.next_request += 1
        while self.next_request - self.first_request > limit:
            self.requests = self.requests.delete(self.request_order[self.first_request])
            self.request_order = self.request_order.delete(self.first_request)
            self.first_request += 1

    def _store(self, kind: int, object_id: str, obj: Stored | None) -> None:
        if kind == CLUSTER:
            self.cluster = obj if isinstance(obj, Cluster) else None
            return
        plural = KINDS[kind].plural
        objects = getattr(self, plural)
        setattr(self, plural, objects.delete(object_id) if obj is None else objects.set(object_id, obj))

    def _follow(self, kind: int, object_id: str, old: Stored | None, new: Stored | None) -> None:
        if kind == TASK:
            self._follow_task(old, new)  # type: ignore[arg-type]  # the kind says so
            return
        if KINDS[kind].unique_names:
            self._follow_name(kind, object_id, old, new)
        if kind == SERVICE:
            self._follow_service(old, new)  # type: ignore[arg-type]  # the kind says so
        elif kind == NETWORK:
            self._follow_network(old, new)  # type: ignore[arg-type]  # the kind says so
        elif kind == NODE:
            self._follow_node(object_id, new)  # type: ignore[arg-type]  # the kind says so

    def _follow_name(self, kind: int, object_id: str, old: Stored | None, new: Stored | None) -> None:
        before = "" if old is None or is_leaving(old) else f"{KINDS[kind].noun}/{name_of(old)}"
        after = "" if new is None or is_leaving(new) else f"{KINDS[kind].noun}/{name_of(new)}"
        if before == after:
            return
        if before and self.names.get(before) == object_id:
            self.names = self.names.delete(before)
        if after:
            self.names = self.names.set(after, object_id)

    def _follow_node(self, node_id: str, new: Node | None) -> None:
        if new is not None:
            self.facts = self.facts.set(node_id, facts_of(new))
        elif node_id in self.facts:
            self.facts = self.facts.delete(node_id)

    # Services

    def _follow_service(self, old: Service | None, new: Service | None) -> None:
        self.services_by_network = _follow_sets(self.services_by_network, old, new, networks_of_service)
        self.dependents = _follow_sets(self.dependents, old, new, _dependencies)
        service_id = (new or old).id  # type: ignore[union-attr]  # one of them is set
        before = {} if old is None else published_ports(old)
        after = {} if new is None else published_ports(new)
        if before != after:
            for key in before.keys() - after.keys():
                if self.published.get(key) == service_id:
                    self.published = self.published.delete(key)
            for key in after.keys() - before.keys():
                self.published = self.published.set(key, service_id)
        self._follow_addresses(f"vip/{service_id}", _vips(old), _vips(new))

    # Networks

    def _follow_network(self, old: Network | None, new: Network | None) -> None:
        network_id = (new or old).id  # type: ignore[union-attr]  # one of them is set
        leaving = self.leaving_networks - {network_id}
        self.leaving_networks = leaving | {network_id} if new is not None and new.pending_delete else leaving
        before = {} if old is None else dict(old.gateways)
        after = {} if new is None else dict(new.gateways)
        if before == after:
            return
        changed = (n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        for node_id in sorted(changed, key=lambda n: (after.get(n, ""), n)):  # the order decides which is the last
            self._follow_addresses(
                f"gateway/{node_id}",
                ((network_id, before[node_id]),) if node_id in before else (),
                ((network_id, after[node_id]),) if node_id in after else (),
            )

    # Tasks

    def _follow_task(self, old: Task | None, new: Task | None) -> None:
        self._follow_owner(old, new)
        self._follow_node_of_task(old, new)
        live_old = old if old is not None and is_live(old) else None
        live_new = new if new is not None and is_live(new) else None
        self._follow_load(live_old, live_new)
        self._follow_attachments(live_old, live_new)
        self._follow_unassigned(live_old, live_new)

    def _follow_owner(self, old: Task | None, new: Task | None) -> None:
        if new is not None:
            self.tasks_by_service = _add_to(self.tasks_by_service, new.service_id, new)
        elif old is not None:
            self.tasks_by_service = _take_from(self.tasks_by_service, old.service_id, old.id)

    def _follow_node_of_task(self, old: Task | None, new: Task | None) -> None:
        before = "" if old is None else old.node_id
        after = "" if new is None else new.node_id
        if before and before != after and old is not None:
            self.tasks_by_node = _take_from(self.tasks_by_node, before, old.id)
        if after and new is not None:
            self.tasks_by_node = _add_to(self.tasks_by_node, after, new)

    def _follow_load(self, old: Task | None, new: Task | None) -> None:
        before = old.node_id if old is not None and is_assigned(old) else ""
        after = new.node_id if new is not None and is_assigned(new) else ""
        if before == after:
            return  # what a task reserves never changes: its spec is its own for life
        if before and old is not None:
            load = add_task(self.loads.get(before, NO_LOAD), old, -1)
            self.loads = self.loads.set(before, load) if load != NO_LOAD else self.loads.delete(before)
        if after and new is not None:
            self.loads = self.loads.set(after, add_task(self.loads.get(after, NO_LOAD), new, 1))

    def _follow_attachments(self, old: Task | None, new: Task | None) -> None:
        before = () if old is None else tuple((a.network_id, a.address) for a in old.networks)
        after = () if new is None else tuple((a.network_id, a.address) for a in new.networks)
        if not before and not after:
            return
        task_id = (new or old).id  # type: ignore[union-attr]  # one of them is set
        if before != after:
            for network_id, _ in before:
                self.tasks_by_network = _take_from(self.tasks_by_network, network_id, task_id)
            self._follow_addresses(f"task/{task_id}", before, after)
        if new is not None:
            for network_id, _ in after:
                self.tasks_by_network = _add_to(self.tasks_by_network, network_id, new)

    def _follow_unassigned(self, old: Task | None, new: Task | None) -> None:
        if new is not None and not is_assigned(new):
            self.unassigned = self.unassigned.set(new.id, new)
        elif old is not None and not is_assigned(old):
            self.unassigned = self.unassigned.delete(old.id)

    def _follow_addresses(self, owner: str, old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> None:
        if old == new:
            return
        for network_id, address in old:
            used = self.used_addresses(network_id)
            if used.get(address) == owner:
                self.addresses = _set_or_drop(self.addresses, network_id, used.delete(address))
        for network_id, address in new:
            if address:
                self.addresses = self.addresses.set(network_id, self.used_addresses(network_id).set(address, owner))
                self.last_addresses = self.last_addresses.set(network_id, address)


def is_live(task: Task) -> bool:
    """Whether the task is not over yet, as far as anybody reported."""
    return task.status.state < COMPLETE


def is_assigned(task: Task) -> bool:
    """Whether a node has been settled for the task."""
    return task.status.state >= ASSIGNED


def port_key(port: PortConfig) -> str:
    """What must be unique among published ports: `tcp/8080`."""
    return f"{PortConfig.Protocol.Name(port.protocol).lower()}/{port.published_port}"


def published_ports(service: Service) -> dict[str, PortConfig]:
    """The ports a service holds on every node: those it names, and those the allocator gave it, by `port_key`."""
    if service.pending_delete:
        return {}
    asked = [p for p in service.spec.endpoint.ports if p.published_port]
    return {port_key(p): p for p in (*asked, *service.endpoint.ports) if p.publish_mode == PortConfig.INGRESS}


def networks_of_service(service: Service) -> set[str]:
    """The networks a service's spec names."""
    return {attachment.target for attachment in service.spec.task.networks}


def _dependencies(service: Service) -> set[str]:
    return {dependency.service for dependency in service.spec.depends_on}


def _vips(service: Service | None) -> tuple[tuple[str, str], ...]:
    if service is None:
        return ()
    return tuple((vip.network_id, vip.address) for vip in service.endpoint.virtual_ips)


def _add_to(index: Map[str, Map[str, Task]], key: str, task: Task) -> Map[str, Map[str, Task]]:
    members = index.get(key)
    return index.set(key, Map({task.id: task}) if members is None else members.set(task.id, task))


def _take_from(index: Map[str, Map[str, Task]], key: str, task_id: str) -> Map[str, Map[str, Task]]:
    members = index.get(key)
    if members is None or task_id not in members:
        return index
    return _set_or_drop(index, key, members.delete(task_id))


def _merged(index: Map[str, Map[str, Task]], pairs: Iterable[tuple[str, Task]]) -> Map[str, Map[str, Task]]:
    added: dict[str, dict[str, Task]] = {}
    for key, task in pairs:
        added.setdefault(key, {})[task.id] = task
    return index.update({key: (index.get(key) or Map()).update(tasks) for key, tasks in added.items()})


def _set_or_drop(index: Map[str, Map[str, V]], key: str, members: Map[str, V]) -> Map[str, Map[str, V]]:
    return index.set(key, members) if members else index.delete(key)


def _follow_sets(
    index: Map[str, frozenset[str]],
    old: Service | None,
    new: Service | None,
    keys_of: Callable[[Service], set[str]],
) -> Map[str, frozenset[str]]:
    """An index from each key of a service to the services that have it."""
    before = set() if old is None else keys_of(old)
    after = set() if new is None else keys_of(new)
    for key in before - after:
        rest = index.get(key, frozenset()) - {old.id}  # type: ignore[union-attr]  # it had the key
        index = index.set(key, rest) if rest else index.delete(key)
    for key in after - before:
        index = index.set(key, index.get(key, frozenset()) | {new.id})  # type: ignore[union-attr]  # it has the key
    return index
