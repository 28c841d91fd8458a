"""Checks of networks and of the address pools they are cut from."""

import ipaddress
import itertools
from collections.abc import Iterator

from swarm_api.naming import INGRESS_NETWORK
from swarm_api.specs_pb2 import ClusterSpec, IpamConfig, NetworkSpec

#: A subnet has room for a few nodes and tasks, and fits the ways addresses are written down.
_SMALLEST_PREFIX, _LARGEST_PREFIX = 8, 29


def network_problems(spec: NetworkSpec) -> Iterator[str]:
    """What is wrong with a network's spec besides its name."""
    if spec.driver not in ("", "overlay"):
        yield f"driver {spec.driver!r} is not supported; networks of the cluster are overlays."
    if spec.annotations.name == INGRESS_NETWORK and not spec.ingress:
        yield f"The name {INGRESS_NETWORK} is kept for the network of published ports."
    if spec.ipv6:
        yield "ipv6 is not supported yet."
    if len(spec.ipam) > 1:
        yield "ipam has more than one entry; a network has one subnet."
    for config in spec.ipam[:1]:
        yield from _ipam(config)


def _ipam(config: IpamConfig) -> Iterator[str]:
    subnet = _network(config.subnet)
    if config.subnet and subnet is None:
        yield f"ipam.subnet {config.subnet!r} is not an IPv4 subnet such as 10.1.0.0/24."
    if subnet is not None and not _SMALLEST_PREFIX <= subnet.prefixlen <= _LARGEST_PREFIX:
        yield f"ipam.subnet {config.subnet} has the wrong size: use /{_SMALLEST_PREFIX} to /{_LARGEST_PREFIX}."
    if not config.subnet and (config.ip_range or config.gateway):
        yield "ipam names a range or a gateway but no subnet."
    part = _network(config.ip_range)
    if config.ip_range and (part is None or subnet is None or not part.subnet_of(subnet)):
        yield f"ipam.ip_range {config.ip_range!r} is not a part of the subnet {config.subnet}."
    for name, address in (("gateway", config.gateway), *config.reserved.items()):
        if address and not _is_in(address, subnet):
            yield f"ipam has the address {address!r} for {name}, which is not in the subnet {config.subnet}."


def _network(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text) if text else None
    except ValueError:
        return None


def _is_in(address: str, subnet: ipaddress.IPv4Network | None) -> bool:
    try:
        return subnet is not None and ipaddress.IPv4Address(address) in subnet
    except ValueError:
        return False


def cluster_network_problems(spec: ClusterSpec) -> Iterator[str]:
    """What is wrong with the pools that subnets are cut from."""
    pools = [(text, _network(text)) for text in spec.address_pools]
    for text, pool in pools:
        if pool is None:
            yield f"address_pools has {text!r}, which is not an IPv4 subnet such as 10.128.0.0/11."
        elif spec.subnet_prefix_length and pool.prefixlen > spec.subnet_prefix_length:
            yield f"address_pools has {text}, which is smaller than one subnet (/{spec.subnet_prefix_length})."
    known = sorted(pool for _, pool in pools if pool is not None)
    for one, other in itertools.pairwise(known):
        if one.overlaps(other):
            yield f"address_pools has {one} and {other}, which overlap."
    if spec.subnet_prefix_length and not _SMALLEST_PREFIX <= spec.subnet_prefix_length <= _LARGEST_PREFIX:
        yield f"subnet_prefix_length is {spec.subnet_prefix_length}; use {_SMALLEST_PREFIX} to {_LARGEST_PREFIX}."
    if spec.vxlan_port > 65535:
        yield f"vxlan_port is {spec.vxlan_port}; ports are from 1 to 65535."
