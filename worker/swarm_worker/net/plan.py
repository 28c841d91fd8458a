"""From the assignments a node has to the network it should have. Pure: no I/O, no clock.

The plan is a value: two equal plans want the same network, so "nothing changed" is one comparison. Everything in it
is sorted, so that equal sets of assignments give equal plans whatever their order.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from ipaddress import IPv4Address, IPv4Network

from swarm_api import naming
from swarm_api.dispatcher_pb2 import Assignment, EndpointAssignment, NetworkAssignment, PortAssignment
from swarm_api.types_pb2 import PortConfig

_PROTOCOLS = {PortConfig.TCP: "tcp", PortConfig.UDP: "udp", PortConfig.SCTP: "sctp"}
_RESERVED_PREFIX_LENGTH = 30
_MTU_OPTION = "com.docker.network.driver.mtu"


@dataclass(frozen=True, order=True)
class EndpointView:
    """A task's address in a network, on whatever node."""

    service_id: str
    slot: int
    address: str
    task_id: str
    node_id: str
    node_address: str
    serving: bool


@dataclass(frozen=True, order=True)
class GatewayView:
    """A node's own gateway address in a network."""

    node_id: str
    address: str
    node_address: str


@dataclass(frozen=True, order=True)
class ServiceView:
    """A service as one network sees it. No virtual address: DNS round robin."""

    service_id: str
    name: str
    aliases: tuple[str, ...]
    virtual_ip: str


@dataclass(frozen=True, order=True)
class PublishedPort:
    """A port every node answers on, and the endpoints behind it (in the ingress network, serving only)."""

    published_port: int
    protocol: str
    target_port: int
    service_id: str
    network_id: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class NetworkView:
    """One overlay network as this node should have it."""

    network_id: str
    name: str
    vni: int
    vxlan_port: int
    subnet: str
    gateway: str
    internal: bool
    ingress: bool
    mtu: int | None  # asked for by the user; None: what the underlay allows
    gateways: tuple[GatewayView, ...] = ()  # of other nodes
    endpoints: tuple[EndpointView, ...] = ()
    services: tuple[ServiceView, ...] = ()

    @property
    def bridge(self) -> str:
        return naming.bridge_name(self.network_id)

    @property
    def device(self) -> str:
        return naming.vxlan_name(self.network_id)

    def peers(self, node_id: str) -> dict[str, str]:
        """Overlay address -> underlay address of the node that has it, for all that is not on `node_id`.

        An address in transit between nodes is assigned twice for a moment: the serving endpoint wins.
        """
        found = {gateway.address: gateway.node_address for gateway in self.gateways}
        local: set[str] = {self.gateway}
        for endpoint in sorted(self.endpoints, key=lambda endpoint: endpoint.serving):
            if endpoint.node_id == node_id:
                local.add(endpoint.address)
                found.pop(endpoint.address, None)
            else:
                local.discard(endpoint.address)
                found[endpoint.address] = endpoint.node_address
        return {address: node for address, node in found.items() if node and address not in local}

    @cached_property
    def _serving(self) -> dict[str, tuple[EndpointView, ...]]:
        found: dict[str, list[EndpointView]] = {}
        for endpoint in self.endpoints:
            if endpoint.serving:
                found.setdefault(endpoint.service_id, []).append(endpoint)
        return {service_id: tuple(endpoints) for service_id, endpoints in found.items()}

    def serving_endpoints(self, service_id: str) -> tuple[EndpointView, ...]:
        """The endpoints of a service that get traffic, by slot."""
        return self._serving.get(service_id, ())

    def serving(self, service_id: str) -> tuple[str, ...]:
        """Their addresses."""
        return tuple(endpoint.address for endpoint in self.serving_endpoints(service_id))

    def virtual_ips(self) -> frozenset[str]:
        return frozenset(service.virtual_ip for service in self.services if service.virtual_ip)


@dataclass(frozen=True)
class WantedNetwork:
    """All of a node's network, as its assignments want it."""

    node_id: str
    networks: Mapping[str, NetworkView] = field(default_factory=dict)
    ports: tuple[PublishedPort, ...] = ()
    refused: tuple[str, ...] = ()  # assignments that make no sense, each as one sentence

    def addresses(self) -> dict[str, frozenset[str]]:
        """Task address -> all networks its task is in: who asks, and what it may see."""
        networks_of: dict[str, set[str]] = {}
        for network_id, network in self.networks.items():
            for endpoint in network.endpoints:
                networks_of.setdefault(endpoint.task_id, set()).add(network_id)
        return {
            endpoint.address: frozenset(networks_of[endpoint.task_id])
            for network in self.networks.values()
            for endpoint in network.endpoints
        }


def wanted(assignments: Iterable[Assignment], node_id: str) -> WantedNetwork:
    """The network that a node with these assignments should have. Assignments it cannot read are named in `refused`."""
    refused: list[str] = []
    builders: dict[str, _Builder] = {}
    rest: list[Assignment] = []
    for assignment in assignments:
        if assignment.WhichOneof("item") == "network":
            _guarded(refused, assignment, partial(_add_network, builders, assignment.network))
        else:
            rest.append(assignment)
    for assignment in rest:
        _guarded(refused, assignment, partial(_add_member, builders, assignment))
    networks = {network_id: builder.view() for network_id, builder in sorted(builders.items())}
    ports = sorted(_port(networks, a.port) for a in rest if a.WhichOneof("item") == "port" and _is_ingress(a.port))
    return WantedNetwork(node_id, networks, tuple(ports), tuple(sorted(refused)))


def mac_of(address: str) -> str:
    """The MAC of the container (or gateway) that has an overlay address: the same on every node, told to nobody."""
    return "02:42:" + ":".join(f"{octet:02x}" for octet in IPv4Address(address).packed)


def reserved_range(subnet: str) -> str:
    """The slice of a subnet that no task, gateway or service is ever given: its first four addresses (CIDR).

    Docker insists on a range to take addresses from by itself, for containers nobody gave one; ours all get theirs
    from the manager's allocator, which leaves this slice out (allocate/addresses.py there).
    """
    network = IPv4Network(subnet)
    if network.prefixlen >= _RESERVED_PREFIX_LENGTH:
        raise ValueError(f"the subnet {subnet} is too small for an overlay network: /29 is the smallest")
    return f"{network.network_address}/{_RESERVED_PREFIX_LENGTH}"


class _Builder:
    """Gathers what belongs to one network."""

    def __init__(self, network: NetworkAssignment) -> None:
        reserved_range(network.subnet)  # a subnet no bridge can be made of is refused here
        self.network = network
        self.subnet = str(IPv4Network(network.subnet))
        self.gateway = _address(network.gateway)
        self.mtu = int(network.driver_opts[_MTU_OPTION]) if _MTU_OPTION in network.driver_opts else None
        self.gateways: list[GatewayView] = []
        self.endpoints: list[EndpointView] = []
        self.services: list[ServiceView] = []

    def view(self) -> NetworkView:
        network = self.network
        return NetworkView(
            network_id=network.network_id,
            name=network.name,
            vni=network.vni,
            vxlan_port=network.vxlan_port,
            subnet=self.subnet,
            gateway=self.gateway,
            internal=network.internal,
            ingress=network.ingress,
            mtu=self.mtu,
            gateways=tuple(sorted(g for g in self.gateways if g.address != self.gateway)),
            endpoints=tuple(sorted(self.endpoints)),
            services=tuple(sorted(self.services)),
        )


def _add_network(builders: dict[str, _Builder], item: NetworkAssignment) -> None:
    builders[item.network_id] = _Builder(item)


def _add_member(builders: dict[str, _Builder], assignment: Assignment) -> None:
    """Put a gateway, endpoint or service into its network; one in a network this node lacks is of no concern to it."""
    kind = assignment.WhichOneof("item")
    if kind == "gateway" and assignment.gateway.network_id in builders:
        gateway = assignment.gateway
        view = GatewayView(gateway.node_id, _address(gateway.address), _optional_address(gateway.node_address))
        builders[gateway.network_id].gateways.append(view)
    elif kind == "endpoint" and assignment.endpoint.network_id in builders:
        builders[assignment.endpoint.network_id].endpoints.append(_endpoint(assignment.endpoint))
    elif kind == "service" and assignment.service.network_id in builders:
        service = assignment.service
        virtual_ip = _optional_address(service.virtual_ip)
        view_of = ServiceView(service.service_id, service.name, tuple(sorted(set(service.aliases))), virtual_ip)
        builders[service.network_id].services.append(view_of)


def _endpoint(item: EndpointAssignment) -> EndpointView:
    return EndpointView(
        service_id=item.service_id,
        slot=item.slot,
        address=_address(item.address),
        task_id=item.task_id,
        node_id=item.node_id,
        node_address=_optional_address(item.node_address),
        serving=item.serving,
    )


def _is_ingress(item: PortAssignment) -> bool:
    return item.port.publish_mode == PortConfig.INGRESS and item.port.published_port > 0


def _port(networks: Mapping[str, NetworkView], item: PortAssignment) -> PublishedPort:
    network = networks.get(item.network_id)
    return PublishedPort(
        published_port=item.port.published_port,
        protocol=_PROTOCOLS[item.port.protocol],
        target_port=item.port.target_port,
        service_id=item.service_id,
        network_id=item.network_id,
        targets=network.serving(item.service_id) if network else (),
    )


@lru_cache(maxsize=2**14)  # every apply reads every address again
def _address(text: str) -> str:
    return str(IPv4Address(text))


def _optional_address(text: str) -> str:
    return _address(text) if text else ""


def _guarded(refused: list[str], assignment: Assignment, add: Callable[[], None]) -> None:
    try:
        add()
    except ValueError as error:
        refused.append(f"The assignment {assignment.key} cannot be carried out: {error}.")
