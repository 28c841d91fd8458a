"""Connections the kernel remembers that lead to endpoints which are no more.

nftables decides once per connection; conntrack carries the decision on. That is wanted while an endpoint drains. When
it is gone, its clients would hang: their connections are forgotten, so that their next packet is decided anew and
refused at once.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from swarm_worker.net.programs import run

_NOTHING_FOUND = (0, 1)  # conntrack ends with 1 when it deleted nothing
_LIST_FROM = 4
_REPLY_SOURCE = re.compile(r"\bsrc=(\S+)")


def forget(addresses: Collection[str]) -> None:
    """Forget the connections that lead to these endpoints. Raises ProgramError."""
    if len(addresses) > _LIST_FROM:  # most have no connection: one look at all is cheaper than a program for each
        addresses = _targets(["conntrack", "-L"]) & set(addresses)
    for address in addresses:
        run(["conntrack", "-D", "--reply-src", address], accept=_NOTHING_FOUND)


def forget_port(protocol: str, port: int) -> None:
    """Forget what was sent to a port while nobody served it: a UDP client that keeps sending is decided anew."""
    run(["conntrack", "-D", "-p", protocol, "--orig-port-dst", str(port)], accept=_NOTHING_FOUND)


def strays(subnets: Iterable[str], known: frozenset[str]) -> set[str]:
    """Addresses of our overlays that balanced connections lead to though no endpoint has them. Raises ProgramError."""
    networks = [IPv4Network(subnet) for subnet in subnets]
    targets = _targets(["conntrack", "-L", "--dst-nat"])
    return {target for target in targets - known if any(IPv4Address(target) in network for network in networks)}


def _targets(command: Sequence[str]) -> set[str]:
    """Who answers the listed connections: the second source of each line."""
    listing = run(command, accept=_NOTHING_FOUND)
    return {sources[1] for line in listing.splitlines() if len(sources := _REPLY_SOURCE.findall(line)) > 1}
