"""Subnets for networks, cut from the cluster's address pools; no two overlap."""

import ipaddress
from collections.abc import Iterable, Iterator

from swarm_api.defaults import ADDRESS_POOLS, SUBNET_PREFIX_LENGTH
from swarm_api.objects_pb2 import Network

from swarm_manager.core.snapshot import View

#: The ingress network has room for every published task of the cluster: this many bits more than others, ...
_INGRESS_EXTRA_BITS = 8
#: ... but at most this fraction of a pool (in bits: a sixteenth).
_INGRESS_POOL_BITS = 4


def free_subnet(view: View, network: Network) -> str | None:
    """The subnet for a network that has none: the user's own when it is free, else the first free one of the pools.

    None when nothing is free. Subnets that hold a node's own address are never given out.
    """
    taken = sorted(_taken(view, network.id))
    asked = network.spec.ipam[0].subnet if network.spec.ipam else ""
    if asked:
        wanted = ipaddress.IPv4Network(asked, strict=False)
        return str(wanted) if _is_free(_span(wanted), taken) else None
    for pool in _pools(view):
        if (subnet := _first_gap(pool, _prefix_length(view, network, pool), taken)) is not None:
            return subnet
    return None


def _pools(view: View) -> Iterator[ipaddress.IPv4Network]:
    configured = view.cluster.spec.address_pools if view.cluster is not None else ()
    for text in configured or ADDRESS_POOLS:
        yield ipaddress.IPv4Network(text, strict=False)


def _prefix_length(view: View, network: Network, pool: ipaddress.IPv4Network) -> int:
    configured = view.cluster.spec.subnet_prefix_length if view.cluster is not None else 0
    usual = max(configured or SUBNET_PREFIX_LENGTH, pool.prefixlen)
    if not network.spec.ingress:
        return usual
    return min(usual, max(usual - _INGRESS_EXTRA_BITS, pool.prefixlen + _INGRESS_POOL_BITS))


def _span(network: ipaddress.IPv4Network) -> tuple[int, int]:
    first = int(network.network_address)
    return first, first + network.num_addresses


def _taken(view: View, but_not: str) -> Iterator[tuple[int, int]]:
    for network in view.networks.values():
        if network.subnet and network.id != but_not:
            yield _span(ipaddress.IPv4Network(network.subnet, strict=False))
    for node in view.nodes.values():
        if (number := _number_of(node.status.address)) is not None:
            yield number, number + 1


def _number_of(address: str) -> int | None:
    try:
        return int(ipaddress.IPv4Address(address))
    except ValueError:
        return None


def _is_free(span: tuple[int, int], taken: Iterable[tuple[int, int]]) -> bool:
    return all(stop <= span[0] or span[1] <= start for start, stop in taken)


def _first_gap(pool: ipaddress.IPv4Network, prefix_length: int, taken: list[tuple[int, int]]) -> str | None:
    size = 2 ** (32 - prefix_length)
    candidate, end = _span(pool)
    for start, stop in taken:
        if start >= candidate + size:
            break
        if stop > candidate:
            candidate = -(-stop // size) * size
    if candidate + size > end:
        return None
    return f"{ipaddress.IPv4Address(candidate)}/{prefix_length}"
