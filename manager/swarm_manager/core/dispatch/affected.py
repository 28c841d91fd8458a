"""Whom a commit concerns: the nodes whose assignments may differ after it."""

from collections.abc import Iterable

from swarm_api.objects_pb2 import Config, Network, Node, Secret, Service, Task

from swarm_manager.core.diff import Event
from swarm_manager.core.dispatch.assignments import is_serving, ordered
from swarm_manager.core.draft import is_assigned, is_live, published_ports
from swarm_manager.core.snapshot import View


def affected_nodes(old: View, new: View, happened: Iterable[Event]) -> set[str]:
    """The nodes whose assignments may differ between two snapshots; some of them may turn out the same."""
    nodes: set[str] = set()
    networks: set[str] = set()
    for event in happened:
        obj = event.new or event.old
        if isinstance(obj, Task):
            nodes |= _nodes_of_task(event.old, event.new)  # type: ignore[arg-type]  # both are tasks or None
        elif isinstance(obj, Secret | Config):
            nodes |= _users(new, obj)
        networks |= _networks_touched(old, new, event)
    for network_id in networks:
        nodes |= _participants(old, network_id) | _participants(new, network_id)
    nodes.discard("")
    return nodes


def stops_serving(event: Event) -> bool:
    """Whether a task that others send traffic to gets none from now on: soon it will be told to stop."""
    old, new = event.old, event.new
    if not isinstance(old, Task) or not old.networks or not is_serving(old):
        return False
    return not isinstance(new, Task) or not is_serving(new)


def _nodes_of_task(before: Task | None, after: Task | None) -> set[str]:
    """The node of the task, when it is told something new of it; not of what it reported itself."""
    if before is not None and after is not None and _order(before) == _order(after):
        return set()
    return {task.node_id for task in (before, after) if task is not None}


def _order(task: Task) -> Task | None:
    """The task as its node is told of it; None when it is not."""
    return ordered(task) if is_assigned(task) and is_live(task) else None


def _networks_touched(old: View, new: View, event: Event) -> set[str]:
    """The networks about which other nodes are told something new."""
    before, after = event.old, event.new
    if isinstance(before or after, Task):
        return _networks_of_task(before, after)  # type: ignore[arg-type]  # both are tasks or None
    if isinstance(before or after, Node):
        return _networks_of_node(old, new, before, after)  # type: ignore[arg-type]  # both are nodes or None
    if isinstance(before or after, Service):
        return _networks_of_service(new, before, after)  # type: ignore[arg-type]  # both are services or None
    return {event.id} if isinstance(before or after, Network) else set()


def _networks_of_task(before: Task | None, after: Task | None) -> set[str]:
    if _as_endpoint(before) == _as_endpoint(after):
        return set()
    return {a.network_id for task in (before, after) if task is not None for a in task.networks}


def _as_endpoint(task: Task | None) -> object:
    """What other nodes see of a task."""
    if task is None or not is_live(task) or not is_assigned(task):
        return None
    return task.node_id, is_serving(task), [(a.network_id, a.address) for a in task.networks]


def _networks_of_node(old: View, new: View, before: Node | None, after: Node | None) -> set[str]:
    if before is not None and after is not None and _as_peer(before) == _as_peer(after):
        return set()
    node_id = (after or before).id  # type: ignore[union-attr]  # one of them is set
    return {n.id for view in (old, new) for n in view.networks.values() if node_id in n.gateways}


def _as_peer(node: Node) -> object:
    """What other nodes see of a node."""
    return node.status.address, node.status.state


def _networks_of_service(new: View, before: Service | None, after: Service | None) -> set[str]:
    if before is not None and after is not None and _as_names(before) == _as_names(after):
        return set()
    services = [service for service in (before, after) if service is not None]
    networks = {a.target for service in services for a in service.spec.task.networks}
    ingress = new.ingress_network()
    if ingress is not None and any(published_ports(service) for service in services):
        networks.add(ingress.id)
    return networks


def _as_names(service: Service) -> object:
    """What nodes are told of a service."""
    return (
        service.pending_delete,
        service.spec.annotations,
        list(service.spec.task.networks),
        list(service.endpoint.virtual_ips),
        published_ports(service),
    )


def _participants(view: View, network_id: str) -> set[str]:
    network = view.networks.get(network_id)
    if network is not None and network.spec.ingress:
        return set(network.gateways)
    return {task.node_id for task in view.tasks_in_network(network_id).values()}


def _users(view: View, obj: Secret | Config) -> set[str]:
    """The nodes that have tasks which name the secret or config."""
    return {task.node_id for task in view.tasks.values() if is_live(task) and obj.id in _references(task)}


def _references(task: Task) -> set[str]:
    container = task.spec.container
    return {r.secret_id for r in container.secrets} | {r.config_id for r in container.configs}
