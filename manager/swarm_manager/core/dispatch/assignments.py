"""What each node is told: its tasks, and what it must know of networks, services, secrets and configs.

A node takes part in a network when it has a task in it that is not over, and in the ingress network always.  Of each
network it gets the addresses of all tasks and gateways, and the names and virtual addresses of all services; that part
is the same for all nodes, so `Assignments` computes it once a network (see told.py).

A task is sent without its observed state and without `meta`: what a worker reports is not sent back to it.
"""

from collections.abc import Iterator
from itertools import chain

from swarm_api.defaults import VXLAN_PORT
from swarm_api.dispatcher_pb2 import (
    Assignment,
    ConfigAssignment,
    EndpointAssignment,
    GatewayAssignment,
    NetworkAssignment,
    PortAssignment,
    SecretAssignment,
    ServiceAssignment,
)
from swarm_api.naming import STACK_LABEL
from swarm_api.objects_pb2 import Network, Service, Task
from swarm_api.types_pb2 import (
    RUNNING,
)

from swarm_manager.core.dispatch.told import NOTHING, Differences, Shared, Told
from swarm_manager.core.draft import is_assigned, is_live, port_key, published_ports
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import View


def assignments_for(view: View, node_id: str) -> Told:
    """All that a node is told."""
    return Assignments(view).for_node(node_id)


class Assignments:
    """The assignments of any number of nodes at one snapshot; what nodes share is computed once.

    `before`: those of an earlier snapshot, whose shared parts are taken over where nothing about them has changed.
    """

    def __init__(self, view: View, before: "Assignments | None" = None) -> None:
        self._view = view
        self._shared: dict[str, Shared] = {}
        self._before: dict[str, Shared] = {} if before is None else before._parts(view)
        self.differences = Differences()

    def for_node(self, node_id: str, before: Told = NOTHING) -> Told:
        """All that the node is told. `before`: what it was told last, to be taken over where it is the same."""
        view = self._view
        if node_id not in view.nodes:
            return NOTHING
        tasks = [task for task in view.tasks_on_node(node_id).values() if is_assigned(task) and is_live(task)]
        networks = networks_of_node(view, node_id, tasks)
        keyed_tasks = {f"task/{task.id}": task for task in tasks}
        own = dict(chain(_orders(keyed_tasks, before), _secrets(view, tasks), _configs(view, tasks)))
        own.update(_network(view, network, node_id) for network in networks)
        shared = {network.id: self._shared_by_all(network) for network in networks}
        return Told(own, shared, keyed_tasks, frozenset(_gateway_key(network.id, node_id) for network in networks))

    def _parts(self, view: View) -> dict[str, Shared]:
        """The shared parts known here of the networks that are still there."""
        return {key: part for key, part in {**self._before, **self._shared}.items() if key in view.networks}

    def _shared_by_all(self, network: Network) -> Shared:
        if (part := self._shared.get(network.id)) is None:
            part = self._shared[network.id] = self._taken_over(network) or self._computed(network)
        return part

    def _taken_over(self, network: Network) -> Shared | None:
        part = self._before.get(network.id)
        return part if part is not None and part.is_of(_basis(self._view, network)) else None

    def _computed(self, network: Network) -> Shared:
        return Shared(dict(_about_network(self._view, network)), _basis(self._view, network))


def networks_of_node(view: View, node_id: str, tasks: list[Task]) -> list[Network]:
    """The networks a node takes part in, given its tasks; those without a gateway for it are not ready yet."""
    ids = {attachment.network_id for task in tasks for attachment in task.networks}
    if (ingress := view.ingress_network()) is not None:
        ids.add(ingress.id)
    networks = (view.networks.get(network_id) for network_id in sorted(ids))
    return [network for network in networks if network is not None and node_id in network.gateways]


# The node's own


def _orders(tasks: dict[str, Task], before: Told) -> Iterator[tuple[str, Assignment]]:
    for key, task in tasks.items():
        is_same = before.tasks.get(key) is task
        yield key, before.own[key] if is_same else Assignment(key=key, task=ordered(task))


def ordered(task: Task) -> Task:
    """The task as an order to its node."""
    order = copy_of(task)
    order.ClearField("status")
    order.ClearField("meta")
    return order


def _secrets(view: View, tasks: list[Task]) -> Iterator[tuple[str, Assignment]]:
    for secret_id in sorted({ref.secret_id for task in tasks for ref in task.spec.container.secrets}):
        if (secret := view.secrets.get(secret_id)) is not None:
            item = SecretAssignment(id=secret_id, name=secret.spec.annotations.name, data=secret.spec.data)
            item.templating = secret.spec.templating
            yield f"secret/{secret_id}", Assignment(key=f"secret/{secret_id}", secret=item)


def _configs(view: View, tasks: list[Task]) -> Iterator[tuple[str, Assignment]]:
    for config_id in sorted({ref.config_id for task in tasks for ref in task.spec.container.configs}):
        if (config := view.configs.get(config_id)) is not None:
            item = ConfigAssignment(id=config_id, name=config.spec.annotations.name, data=config.spec.data)
            item.templating = config.spec.templating
            yield f"config/{config_id}", Assignment(key=f"config/{config_id}", config=item)


def _network(view: View, network: Network, node_id: str) -> tuple[str, Assignment]:
    key = f"network/{network.id}"
    item = NetworkAssignment(
        network_id=network.id,
        name=network.spec.annotations.name,
        vni=network.vni,
        subnet=network.subnet,
        gateway=network.gateways[node_id],
        internal=network.spec.internal,
        ingress=network.spec.ingress,
        vxlan_port=(view.cluster.spec.vxlan_port if view.cluster is not None else 0) or VXLAN_PORT,
        driver_opts=network.spec.driver_opts,
    )
    return key, Assignment(key=key, network=item)


# What all nodes of a network share


def _basis(view: View, network: Network) -> tuple[object, ...]:
    """All of the state that `_about_network` reads; the same objects, the same outcome."""
    return (
        network,
        view.tasks_by_network.get(network.id),
        view.nodes,
        view.services,
        view.services_by_network.get(network.id),
        view.published,
    )


def _about_network(view: View, network: Network) -> Iterator[tuple[str, Assignment]]:
    yield from _gateways(view, network)
    yield from _endpoints(view, network)
    if network.spec.ingress:
        yield from _ports(view, network)
    else:
        yield from _services(view, network)


def _gateways(view: View, network: Network) -> Iterator[tuple[str, Assignment]]:
    """All gateways; each node is told those of the others."""
    for node_id, address in network.gateways.items():
        if view.node_is_gone(node_id):
            continue
        key = _gateway_key(network.id, node_id)
        item = GatewayAssignment(
            network_id=network.id,
            node_id=node_id,
            address=address,
            node_address=view.nodes[node_id].status.address,
        )
        yield key, Assignment(key=key, gateway=item)


def _gateway_key(network_id: str, node_id: str) -> str:
    return f"gateway/{network_id}/{node_id}"


def _endpoints(view: View, network: Network) -> Iterator[tuple[str, Assignment]]:
    for task in view.tasks_in_network(network.id).values():
        if not is_assigned(task) or view.node_is_gone(task.node_id):
            continue
        key = f"endpoint/{network.id}/{task.id}"
        yield key, Assignment(key=key, endpoint=_endpoint(view, network, task))


def _endpoint(view: View, network: Network, task: Task) -> EndpointAssignment:
    return EndpointAssignment(
        task_id=task.id,
        network_id=network.id,
        address=next(a.address for a in task.networks if a.network_id == network.id),
        node_id=task.node_id,
        node_address=view.nodes[task.node_id].status.address,
        service_id=task.service_id,
        serving=is_serving(task),
        slot=task.slot,
    )


def is_serving(task: Task) -> bool:
    """Whether a task on a node that is up gets traffic: it runs, is healthy, and is wanted."""
    return task.status.state == RUNNING and task.desired_state == RUNNING


def _services(view: View, network: Network) -> Iterator[tuple[str, Assignment]]:
    for service_id in view.services_in_network(network.id):
        service = view.services[service_id]
        if service.pending_delete:
            continue
        key = f"service/{network.id}/{service_id}"
        item = ServiceAssignment(
            service_id=service_id,
            network_id=network.id,
            name=service.spec.annotations.name,
            aliases=aliases_of(service, network.id),
            virtual_ip=next((v.address for v in service.endpoint.virtual_ips if v.network_id == network.id), ""),
        )
        yield key, Assignment(key=key, service=item)


def aliases_of(service: Service, network_id: str) -> list[str]:
    """A service's further names in a network: the one within its stack, and those its attachment gives it."""
    annotations = service.spec.annotations
    prefix = f"{annotations.labels[STACK_LABEL]}_" if STACK_LABEL in annotations.labels else ""
    names = {alias for a in service.spec.task.networks if a.target == network_id for alias in a.aliases}
    if prefix and annotations.name.startswith(prefix):
        names.add(annotations.name[len(prefix) :])
    return sorted(names - {annotations.name, ""})


def _ports(view: View, network: Network) -> Iterator[tuple[str, Assignment]]:
    for service_id in frozenset(view.published.values()):
        for port in published_ports(view.services[service_id]).values():
            if port.published_port:
                key = f"port/{port_key(port)}"
                item = PortAssignment(service_id=service_id, network_id=network.id, port=port)
                yield key, Assignment(key=key, port=item)
