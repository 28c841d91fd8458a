"""Gives networks, services and tasks what they need before they can be used.

Level-triggered: each function gives what is missing and leaves alone what is there. What cannot be given now is
asked for again when something is freed; a task that waits for it says so.
"""

from collections.abc import Collection, Iterable

from swarm_api.naming import INGRESS_NETWORK
from swarm_api.objects_pb2 import (
    NETWORK,
    SERVICE,
    TASK,
    Endpoint,
    Network,
    Service,
    Task,
    VirtualIp,
)
from swarm_api.types_pb2 import (
    PENDING,
    EndpointSpec,
    NodeState,
)

from swarm_manager.core.allocate.addresses import free_address, free_addresses, usable_range
from swarm_manager.core.allocate.ports import has_ingress_ports, resolved_ports
from swarm_manager.core.allocate.subnets import free_subnet
from swarm_manager.core.allocate.vxlan_ids import free_vni
from swarm_manager.core.scratch import Scratch, copy_of

WAITS_FOR_ADDRESS = "waits for an address"


# Networks


def ensure_ingress_network(scratch: Scratch) -> Network:
    """The ingress network; made now when there is none."""
    network = scratch.ingress_network()
    if network is None:
        network = Network(id=next(scratch.fresh_ids))
        network.meta.created_at.CopyFrom(scratch.now)
        network.spec.annotations.name = INGRESS_NETWORK
        network.spec.driver = "overlay"
        network.spec.ingress = True
        scratch.put(NETWORK, network)
    return allocate_network(scratch, network)


def allocate_network(scratch: Scratch, network: Network) -> Network:
    """The network with a subnet and a VXLAN id, where they were missing and are to be had."""
    if (network.subnet and network.vni) or network.pending_delete:
        return network
    new = copy_of(network)
    new.subnet = network.subnet or free_subnet(scratch, network) or ""
    new.vni = network.vni or free_vni(scratch) or 0
    if new != network:
        scratch.put(NETWORK, new)
    return new


def allocate_gateways(scratch: Scratch, network_id: str, node_ids: Collection[str]) -> None:
    """Gives each of the nodes an address of its own in the network; forgets those of nodes that were removed."""
    network = scratch.networks.get(network_id)
    if network is None or not network.subnet:
        return
    gone = [node_id for node_id in network.gateways if node_id not in scratch.nodes]
    missing = [n for n in node_ids if n not in network.gateways and n in scratch.nodes]
    if not gone and not missing:
        return
    new = copy_of(network)
    for node_id in gone:
        del new.gateways[node_id]
    for node_id, address in zip(sorted(missing), free_addresses(scratch, network), strict=False):
        new.gateways[node_id] = address
    scratch.put(NETWORK, new)


def drop_idle_gateways(scratch: Scratch, network: Network) -> None:
    """Takes back the gateways of nodes without a task in the network; done when its addresses run short."""
    if network.spec.ingress:
        return
    busy = {task.node_id for task in scratch.tasks_in_network(network.id).values()}
    idle = [node_id for node_id in network.gateways if node_id not in busy]
    if not idle:
        return
    new = copy_of(network)
    for node_id in idle:
        del new.gateways[node_id]
    scratch.put(NETWORK, new)


def nodes_of_ingress(scratch: Scratch, node_ids: Iterable[str]) -> list[str]:
    """Those of the nodes that answer on published ports: every one that is ready."""
    return [
        node_id
        for node_id in node_ids
        if (node := scratch.nodes.get(node_id)) is not None and node.status.state == NodeState.READY_STATE
    ]


# Services


def allocate_service(scratch: Scratch, service: Service) -> Service:
    """The service with its published ports and virtual addresses; its networks have their subnets."""
    if has_ingress_ports(service):
        ensure_ingress_network(scratch)
    for attachment in service.spec.task.networks:
        if (network := scratch.networks.get(attachment.target)) is not None:
            allocate_network(scratch, network)
    endpoint = Endpoint(spec=service.spec.endpoint if service.spec.HasField("endpoint") else None)
    endpoint.ports.extend(resolved_ports(scratch, service))
    endpoint.virtual_ips.extend(_virtual_ips(scratch, service))
    if endpoint == service.endpoint:
        return service
    new = copy_of(service)
    new.endpoint.CopyFrom(endpoint)
    scratch.put(SERVICE, new)
    return new


def _virtual_ips(scratch: Scratch, service: Service) -> list[VirtualIp]:
    if service.spec.endpoint.mode == EndpointSpec.DNSRR:
        return []
    had = {vip.network_id: vip.address for vip in service.endpoint.virtual_ips}
    given: dict[str, VirtualIp] = {}
    for network_id in sorted({a.target for a in service.spec.task.networks}):
        network = scratch.networks.get(network_id)
        if network is None or network.spec.ingress:
            continue
        if address := had.get(network_id) or free_address(scratch, network):
            given[network_id] = VirtualIp(network_id=network_id, address=address)
    return list(given.values())


# Tasks


def allocate_task(scratch: Scratch, task: Task, full: set[str]) -> Task:
    """The task with an address in each of its networks and PENDING; else NEW or PENDING with the reason why not.

    `full`: networks found without room in this plan; grows.
    """
    if all(a.address for a in task.networks):
        return task if task.status.state >= PENDING else _pending(scratch, task)
    new = copy_of(task)
    for attachment in new.networks:
        if not attachment.address:
            address, reason = _address_or_reason(scratch, attachment.network_id, full)
            if reason:
                return scratch.set_status(task, PENDING, WAITS_FOR_ADDRESS, reason)
            attachment.address = address
    return _pending(scratch, new)


def _pending(scratch: Scratch, task: Task) -> Task:
    new = copy_of(task)
    new.status.state = PENDING
    new.status.message = "waits for a node"
    new.status.err = ""
    new.status.timestamp.CopyFrom(scratch.now)
    scratch.put(TASK, new)
    return new


def _address_or_reason(scratch: Scratch, network_id: str, full: set[str]) -> tuple[str, str]:
    network = scratch.networks.get(network_id)
    if network is None or network.pending_delete:
        return "", f"The network {network_id} was removed."
    name = network.spec.annotations.name
    network = allocate_network(scratch, network)
    if not network.subnet:
        reason = "the cluster's address pools are used up, or the subnet it names overlaps another"
        return "", f"Network {name} has no subnet: {reason}."
    if network_id not in full and (address := _address_for_task(scratch, network)) is not None:
        return address, ""
    full.add(network_id)
    return "", f"Network {name} is full: no address of {network.subnet} is free."


def _address_for_task(scratch: Scratch, network: Network) -> str | None:
    address = free_address(scratch, network, _kept_for_gateways(scratch, network))
    if address is None:
        drop_idle_gateways(scratch, network)
        network = scratch.networks[network.id]
        address = free_address(scratch, network, _kept_for_gateways(scratch, network))
    return address


def _kept_for_gateways(scratch: Scratch, network: Network) -> int:
    """Addresses that tasks must leave: the nodes they come to need gateways, or the tasks could not talk."""
    missing = max(0, len(scratch.nodes) - len(network.gateways))
    return min(missing, len(usable_range(network)) // 4)
