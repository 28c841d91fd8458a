"""Virtual addresses: one per service and network, balanced over its serving endpoints by nftables on the client's node.

    prerouting   bridge . virtual address -> the service's chain, which rewrites the destination of a new connection to
                 the next endpoint. Bound to the bridge, so that no network reaches another one's services. (Packets
                 between ports of one bridge come here because of bridge-nf-call-iptables, see settings.py.)
    postrouting  a client that got itself as endpoint would see its own address as the source: it sees the gateway's
    input        nobody serves: refused at once. Without it the address would lead to the node's own programs

The client's address is kept otherwise. Established connections follow conntrack, not the chains: an endpoint that
merely stops serving finishes what it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from swarm_worker.net.plan import WantedNetwork
from swarm_worker.net.tables import Rules, added, elements, gone, round_robin

TABLE = "sw_vip"


@dataclass(frozen=True)
class VirtualIps(Rules):
    """The contents of the table."""

    addresses: frozenset[str]
    services: Mapping[tuple[str, str], tuple[str, ...]]  # (bridge, virtual address) -> serving endpoints, not empty
    hairpins: Mapping[str, str]  # serving endpoint on this node -> this node's gateway address

    def full(self) -> str:
        return "\n".join(
            [
                f"table ip {TABLE}",  # so that the next line holds, also where there is none
                f"delete table ip {TABLE}",
                f"table ip {TABLE} {{",
                f"  set addresses {{ type ipv4_addr;{elements(self.addresses)} }}",
                f"  map hairpins {{ type ipv4_addr . ipv4_addr : ipv4_addr;{elements(self._hairpins())} }}",
                *(
                    f"  chain {_chain(vip)} {{ {_dnat(targets)}; }}"
                    for (_, vip), targets in sorted(self.services.items())
                ),
                f"  map services {{ type ifname . ipv4_addr : verdict;{elements(self._services())} }}",
                "  chain prerouting {",
                "    type nat hook prerouting priority -110;",
                "    iifname . ip daddr vmap @services",
                "  }",
                "  chain postrouting {",
                "    type nat hook postrouting priority 90;",
                "    ct status dnat snat ip to ip saddr . ip daddr map @hairpins",
                "  }",
                "  chain input {",
                "    type filter hook input priority -10;",
                "    ip daddr @addresses meta l4proto tcp reject with tcp reset",
                "    ip daddr @addresses reject",
                "  }",
                "}",
                "",
            ]
        )

    def change(self, old: Rules) -> str:
        assert isinstance(old, VirtualIps)
        return "".join(f"{line}\n" for line in [*self._leave(old), *self._chains(old), *self._join(old)])

    def _leave(self, old: "VirtualIps") -> list[str]:
        """First what must not lead anywhere any more: elements, then the chains they led to."""
        lines = [
            f"delete element ip {TABLE} services {{ {_key(key)} }}" for key in old.services if key not in self.services
        ]
        lines += [f"flush chain ip {TABLE} {_chain(key[1])}" for key in old.services if key not in self.services]
        lines += [f"delete chain ip {TABLE} {_chain(key[1])}" for key in old.services if key not in self.services]
        lines += [_element("delete", "addresses", address) for address in sorted(old.addresses - self.addresses)]
        return lines + [_element("delete", "hairpins", _pair(key)) for key in gone(old.hairpins, self.hairpins)]

    def _chains(self, old: "VirtualIps") -> list[str]:
        lines = []
        for key, targets in added(old.services, self.services).items():
            lines.append(f"{'flush' if key in old.services else 'add'} chain ip {TABLE} {_chain(key[1])}")
            lines.append(f"add rule ip {TABLE} {_chain(key[1])} {_dnat(targets)}")
        return lines

    def _join(self, old: "VirtualIps") -> list[str]:
        lines = [_element("add", "addresses", address) for address in sorted(self.addresses - old.addresses)]
        new_hairpins = added(old.hairpins, self.hairpins).items()
        lines += [_element("add", "hairpins", f"{_pair(address)} : {gateway}") for address, gateway in new_hairpins]
        new = [key for key in self.services if key not in old.services]
        return lines + [_element("add", "services", f"{_key(key)} : jump {_chain(key[1])}") for key in new]

    def _services(self) -> dict[str, str]:
        return {_key(key): f"jump {_chain(key[1])}" for key in self.services}

    def _hairpins(self) -> dict[str, str]:
        return {_pair(address): gateway for address, gateway in self.hairpins.items()}


def virtual_ips(plan: WantedNetwork) -> VirtualIps:
    """The virtual addresses of all networks of a node."""
    addresses: set[str] = set()
    services: dict[tuple[str, str], tuple[str, ...]] = {}
    hairpins: dict[str, str] = {}
    for network in plan.networks.values():
        addresses |= network.virtual_ips()
        for service in network.services:
            targets = network.serving(service.service_id)
            if service.virtual_ip and targets:
                services[network.bridge, service.virtual_ip] = targets
        local = (e.address for e in network.endpoints if e.node_id == plan.node_id and e.serving)
        hairpins.update(dict.fromkeys(local, network.gateway))
    return VirtualIps(frozenset(addresses), services, hairpins)


def _chain(virtual_ip: str) -> str:
    return f"vip_{virtual_ip.replace('.', '_')}"


def _dnat(targets: tuple[str, ...]) -> str:
    return f"dnat to {round_robin(targets)}"


def _key(key: tuple[str, str]) -> str:
    return f'"{key[0]}" . {key[1]}'


def _pair(address: str) -> str:
    return f"{address} . {address}"


def _element(verb: str, name: str, element: str) -> str:
    return f"{verb} element ip {TABLE} {name} {{ {element} }}"
