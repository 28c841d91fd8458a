"""What each node is told: its tasks, and what it must know of networks, services, secrets and configs.

A node takes part in a network when it has a task in it that is not over, and in the ingress network always.  Of each
network it gets the addresses of all tasks and gateways, and the names and virtual addresses of all services; that part
is the same for all nodes, so `Assignments` computes it once a network.

A task is sent without its observed state and without `meta`: what a worker reports is not sent back to it.
"""

from collections.abc import Iterator, Mapping
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

from swarm_manager.core.draft import is_assigned, is_live, port_key, published_ports
from swarm_manager.core.snapshot import View

Keyed = dict[str, Assignment]


def assignments_for(view: View, node_id: str) -> Keyed:
    """All that a node is told, by key."""
    return Assignments(view).for_node(node_id)


class Assignments:
    """The assignments of any number of nodes at one snapshot; what nodes share is computed once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._shared: dict[str, Keyed] = {}

    def for_node(self, node_id: str) -> Keyed:
        """All that the node is told, by key."""
        view = self._view
        if node_id not in view.nodes:
            return {}
        tasks = [task for task in view.tasks_on_node(node_id).values() if is_assigned(task) and is_live(task)]
        keyed = dict(chain(_tasks(tasks), _secrets(view, tasks), _configs(view, tasks)))
        for network in networks_of_node(view, node_id, tasks):
            keyed.update(_network(view, network, node_id))
            keyed.update(self._shared_by_all(network))
            keyed.pop(_gateway_key(network.id, node_id), None)
        return keyed

    def _shared_by_all(self, network: Network) -> Keyed:
        if network.id not in self._shared:
            self._shared[network.id] = dict(_about_network(self._view, network))
        return self._shared[network.id]


def difference(old: Mapping[str, Assignment], new: Mapping[str, Assignment]) -> tuple[list[Assignment], list[str]]:
    """What to set and which keys to remove to come from `old` to `new`, each in the order of keys."""
    changed = (key for key, item in new.items() if (had := old.get(key)) is not item and had != item)
    return [new[key] for key in sorted(changed)], sorted(old.keys() - new.keys())


def networks_of_node(view: View, node_id: str, tasks: list[Task]) -> list[Network]:
    """The networks a node takes part in, given its tasks; those without a gateway for it are not ready yet."""
    ids = {attachment.network_id for task in tasks for attachment in task.networks}
    if (ingress := view.ingress_network()) is not None:
        ids.add(ingress.id)
    networks = (view.networks.get(network_id) for network_id in sorted(ids))
    return [network for network in networks if network is not None and node_id in network.gateways]


# The node's own


def _tasks(tasks: list[Task]) -> Iterator[tuple[str, Assignment]]:
    for task in tasks:
        key = f"task/{task.id}"
        sent = Assignment(key=key, task=task)
        sent.task.ClearField("status")
        sent.task.ClearField("meta")
        yield key, sent


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


def _network(view: View, network: Network, node_id: str) -> Keyed:
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
    return {key: Assignment(key=key, network=item)}


# What all nodes of a network share


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
