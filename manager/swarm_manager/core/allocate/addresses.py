"""IPv4 addresses inside a network's subnet.

The next address is the one after the last that was given out, round and round, so that an address that has just
become free, and that others may still have in their caches, is the last to be used again.
"""

import ipaddress
from collections.abc import Iterator
from functools import lru_cache

from swarm_api.objects_pb2 import Network

from swarm_manager.core.snapshot import View

#: The first addresses of a subnet are left to the engines, whose own address management must have some.
ENGINE_SLICE_PREFIX_LENGTH = 30


def address_range(subnet: str) -> range:
    """The addresses of a subnet that are given out, as integers: not the engines' slice, not the broadcast address."""
    network = ipaddress.IPv4Network(subnet)
    first = int(network.network_address)
    reserved = 2 ** (32 - ENGINE_SLICE_PREFIX_LENGTH)
    return range(min(first + reserved, first + network.num_addresses // 2), first + network.num_addresses - 1)


def address_text(number: int) -> str:
    """The dotted form of an address."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def address_number(text: str) -> int:
    """The number of a dotted address."""
    a, b, c, d = text.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def usable_range(network: Network) -> range:
    """What is given out in a network: its subnet, or the part of it that the user named."""
    return _usable(network.subnet, network.spec.ipam[0].ip_range if network.spec.ipam else "")


@lru_cache(maxsize=1024)
def _usable(subnet: str, part: str) -> range:
    whole = address_range(subnet)
    if not part:
        return whole
    named = ipaddress.IPv4Network(part)
    first = int(named.network_address)
    return range(max(first, whole.start), min(first + named.num_addresses, whole.stop))


def free_address(view: View, network: Network, keep_free: int = 0) -> str | None:
    """The next address to give out; None when there is none, or when no more than `keep_free` would be left."""
    return next(free_addresses(view, network, keep_free), None)


def free_addresses(view: View, network: Network, keep_free: int = 0) -> Iterator[str]:
    """The addresses to give out next, in order; none when there are no more than `keep_free`."""
    if not network.subnet:
        return
    span = usable_range(network)
    used = view.used_addresses(network.id)
    if len(used) >= len(span) - keep_free:
        return
    reserved = {address for ipam in network.spec.ipam for address in (*ipam.reserved.values(), ipam.gateway)}
    for number in _round(span, view.last_addresses.get(network.id)):
        address = address_text(number)
        if address not in used and address not in reserved:
            yield address


def _round(span: range, last: str | None) -> Iterator[int]:
    """Every number of the span, from the one after `last` on."""
    start = span.start if last is None else address_number(last) + 1
    if start not in span:
        start = span.start
    yield from range(start, span.stop)
    yield from range(span.start, start)
