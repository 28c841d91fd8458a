"""Short ways to write a node's assignments."""

from __future__ import annotations

from swarm_api.dispatcher_pb2 import (
    Assignment,
    EndpointAssignment,
    GatewayAssignment,
    NetworkAssignment,
    PortAssignment,
    ServiceAssignment,
)
from swarm_api.types_pb2 import PortConfig
from swarm_worker.net.plan import WantedNetwork, wanted

ME, OTHER = "node1", "node2"
NODE_ADDRESS = {ME: "192.0.2.1", OTHER: "192.0.2.2"}


def network(key: str, subnet: int, *, ingress: bool = False, **fields: object) -> Assignment:
    """Network `key` with the subnet 10.128.<subnet>.0/24, gateway .1."""
    item = NetworkAssignment(
        network_id=key,
        name=key,
        vni=4096 + subnet,
        subnet=f"10.128.{subnet}.0/24",
        gateway=f"10.128.{subnet}.1",
        ingress=ingress,
        vxlan_port=4790,
        **fields,  # type: ignore[arg-type]
    )
    return Assignment(key=f"network/{key}", network=item)


def gateway(key: str, address: str, node: str = OTHER) -> Assignment:
    item = GatewayAssignment(network_id=key, node_id=node, address=address, node_address=NODE_ADDRESS[node])
    return Assignment(key=f"gateway/{key}/{node}", gateway=item)


def endpoint(
    key: str, service: str, slot: int, address: str, node: str = ME, *, serving: bool = True, task: str = ""
) -> Assignment:
    item = EndpointAssignment(
        task_id=task or f"{service}{slot}",
        network_id=key,
        address=address,
        node_id=node,
        node_address=NODE_ADDRESS[node],
        service_id=service,
        serving=serving,
        slot=slot,
    )
    return Assignment(key=f"endpoint/{key}/{item.task_id}", endpoint=item)


def service(key: str, name: str, virtual_ip: str = "", *aliases: str) -> Assignment:
    item = ServiceAssignment(service_id=name, network_id=key, name=name, aliases=aliases, virtual_ip=virtual_ip)
    return Assignment(key=f"service/{key}/{name}", service=item)


def port(
    key: str, service: str, published: int, target: int, protocol: str = "TCP", mode: str = "INGRESS"
) -> Assignment:
    config = PortConfig(
        protocol=PortConfig.Protocol.Value(protocol),
        published_port=published,
        target_port=target,
        publish_mode=PortConfig.PublishMode.Value(mode),
    )
    item = PortAssignment(service_id=service, network_id=key, port=config)
    return Assignment(key=f"port/{protocol.lower()}/{published}", port=item)


def plan(*assignments: Assignment) -> WantedNetwork:
    return wanted(assignments, ME)
