"""What the resolver knows: names and addresses by network, and who may see which network.

Every network has zones of its own, because two networks may each have a `db`. The gateway address that was asked
tells the network; the asker's address tells its task, which may be in further networks whose names it sees too.
Written by the worker (dns.py), read by the resolver process; both sides share this module and nothing heavier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network
from typing import Any

_REVERSE_SUFFIX = ".in-addr.arpa"
_TASKS_PREFIX = "tasks."


@dataclass(frozen=True)
class NetworkZone:
    """The names of one network. Lists of addresses are in a stable order; the resolver rotates them."""

    gateway: str
    subnet: str
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)  # lower-case name -> addresses
    reverse: Mapping[str, str] = field(default_factory=dict)  # address -> name

    def as_json(self) -> dict[str, Any]:
        names = {name: list(found) for name, found in self.names.items()}
        return {"gateway": self.gateway, "subnet": self.subnet, "names": names, "reverse": dict(self.reverse)}


class Verdict(Enum):
    """What to do with a question."""

    ANSWER = auto()  # with the addresses found, which may be none
    POINTER = auto()
    UNKNOWN = auto()  # a name inside the cluster that nobody has
    FOREIGN = auto()  # not ours: ask the node's own name servers
    REFUSED = auto()  # the asker is not in this network


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    addresses: Sequence[str] = ()
    pointer: str = ""


class Zones:
    """All networks of a node."""

    def __init__(self, networks: Mapping[str, NetworkZone], askers: Mapping[str, Sequence[str]]) -> None:
        self.networks = networks
        self.askers = askers  # a task's address -> ids of all its networks, where it has more than one
        self._by_gateway = {zone.gateway: (key, zone, IPv4Network(zone.subnet)) for key, zone in networks.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Zones":
        """Raises KeyError, TypeError or ValueError for anything that as_json() did not make."""
        networks = {key: NetworkZone(**zone) for key, zone in document["networks"].items()}
        return cls(networks, document["askers"])

    def as_json(self) -> dict[str, Any]:
        networks = {key: zone.as_json() for key, zone in self.networks.items()}
        return {"networks": networks, "askers": {address: list(found) for address, found in self.askers.items()}}

    @property
    def gateways(self) -> frozenset[str]:
        return frozenset(self._by_gateway)

    def find(self, gateway: str, asker: str, name: str) -> Finding:
        """Look a lower-case name up for an asker that sent its question to a gateway address."""
        known = self._by_gateway.get(gateway)
        if known is None:
            return Finding(Verdict.REFUSED)
        network_id, zone, subnet = known
        if asker not in self.gateways and IPv4Address(asker) not in subnet:
            return Finding(Verdict.REFUSED)
        zones = [zone, *self._further_zones(asker, network_id)]
        if name.endswith(_REVERSE_SUFFIX):
            return self._reverse(zones, name)
        for candidate in zones:
            if name in candidate.names:
                return Finding(Verdict.ANSWER, candidate.names[name])
        return Finding(Verdict.UNKNOWN if _is_internal(name) else Verdict.FOREIGN)

    def _further_zones(self, asker: str, first: str) -> list[NetworkZone]:
        return [self.networks[key] for key in self.askers.get(asker, ()) if key != first and key in self.networks]

    def _reverse(self, zones: Sequence[NetworkZone], name: str) -> Finding:
        address = ".".join(reversed(name.removesuffix(_REVERSE_SUFFIX).split(".")))
        for zone in zones:
            if address in zone.reverse:
                return Finding(Verdict.POINTER, pointer=zone.reverse[address])
        ours = any(_contains(zone.subnet, address) for zone in self.networks.values())
        return Finding(Verdict.UNKNOWN if ours else Verdict.FOREIGN)


def _is_internal(name: str) -> bool:
    """Single labels, and `tasks.` before one, are the cluster's own and never leave the node."""
    return "." not in name.removeprefix(_TASKS_PREFIX)


def _contains(subnet: str, address: str) -> bool:
    try:
        return IPv4Address(address) in IPv4Network(subnet)
    except ValueError:
        return False
