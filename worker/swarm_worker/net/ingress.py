"""Published ports: every node answers on them and passes connections to the service's serving endpoints anywhere.

    prerouting, output  protocol . port, to an address of this node -> the port's chain, which marks the connection and
                        rewrites its destination to the next endpoint in the ingress network
    postrouting         marked connections leave with this node's gateway address, so that answers come back here
    raw                 the bridge may route 127.0.0.0/8 (for 127.0.0.1:PORT on the node itself), so packets that
                        containers send there are dropped: the node's local programs stay local

Docker drops what it does not know on its way to a bridge: one rule in its chain for users, DOCKER-USER, lets marked
connections pass. Addresses in overlay networks are left alone: they are balance.py's, or containers'.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swarm_worker.net.errors import ProgramError
from swarm_worker.net.plan import PublishedPort, WantedNetwork
from swarm_worker.net.programs import run
from swarm_worker.net.tables import Rules, added, elements, round_robin

TABLE = "sw_ing"
MARK = "0x7377"  # of connections to published ports
_PASS = ["DOCKER-USER", "-m", "connmark", "--mark", MARK, "-j", "ACCEPT"]
_LISTEN, _UNCONNECTED = "0A", "07"  # states in /proc/net/tcp and udp

PortKey = tuple[str, int]  # protocol, published port


@dataclass(frozen=True)
class Ports(Rules):
    """The contents of the table."""

    targets: Mapping[PortKey, tuple[str, ...]]  # -> "address . port" of each endpoint, not empty
    subnets: frozenset[str]  # of all overlay networks
    bridges: frozenset[str]  # that may route 127.0.0.0/8

    def full(self) -> str:
        return "\n".join(
            [
                f"table ip {TABLE}",
                f"delete table ip {TABLE}",
                f"table ip {TABLE} {{",
                f"  set overlays {{ type ipv4_addr; flags interval;{elements(self.subnets)} }}",
                f"  set bridges {{ type ifname;{elements(frozenset(map(_quoted, self.bridges)))} }}",
                *(
                    f"  chain {_chain(key)} {{ {_mark()}; {_dnat(key, self.targets[key])}; }}"
                    for key in sorted(self.targets)
                ),
                f"  map ports {{ type inet_proto . inet_service : verdict;{elements(self._ports())} }}",
                "  chain select {",
                "    ip daddr != @overlays meta l4proto . th dport vmap @ports",
                "  }",
                "  chain raw {",
                "    type filter hook prerouting priority -300;",
                "    iifname @bridges ip daddr 127.0.0.0/8 drop",
                "  }",
                "  chain prerouting {",
                "    type nat hook prerouting priority -105;",
                "    fib daddr type local jump select",
                "  }",
                "  chain output {",
                "    type nat hook output priority -105;",
                "    fib daddr type local jump select",
                "  }",
                "  chain postrouting {",
                "    type nat hook postrouting priority 90;",
                f"    ct mark {MARK} ct status dnat masquerade",
                "  }",
                "}",
                "",
            ]
        )

    def change(self, old: Rules) -> str:
        assert isinstance(old, Ports)
        lines = [*self._leave(old), *self._chains(old), *self._join(old)]
        return "".join(f"{line}\n" for line in lines)

    def _leave(self, old: "Ports") -> list[str]:
        closed = [key for key in old.targets if key not in self.targets]
        lines = [_element("delete", "ports", _key(key)) for key in closed]
        lines += [f"flush chain ip {TABLE} {_chain(key)}" for key in closed]
        lines += [f"delete chain ip {TABLE} {_chain(key)}" for key in closed]
        lines += [_element("delete", "overlays", subnet) for subnet in sorted(old.subnets - self.subnets)]
        return lines + [_element("delete", "bridges", _quoted(name)) for name in sorted(old.bridges - self.bridges)]

    def _chains(self, old: "Ports") -> list[str]:
        lines = []
        for key, targets in added(old.targets, self.targets).items():
            lines.append(f"{'flush' if key in old.targets else 'add'} chain ip {TABLE} {_chain(key)}")
            lines.append(f"add rule ip {TABLE} {_chain(key)} {_mark()}")
            lines.append(f"add rule ip {TABLE} {_chain(key)} {_dnat(key, targets)}")
        return lines

    def _join(self, old: "Ports") -> list[str]:
        lines = [_element("add", "overlays", subnet) for subnet in sorted(self.subnets - old.subnets)]
        lines += [_element("add", "bridges", _quoted(name)) for name in sorted(self.bridges - old.bridges)]
        opened = [key for key in self.targets if key not in old.targets]
        return lines + [_element("add", "ports", f"{_key(key)} : goto {_chain(key)}") for key in opened]

    def _ports(self) -> dict[str, str]:
        return {_key(key): f"goto {_chain(key)}" for key in self.targets}


def ports(plan: WantedNetwork) -> Ports:
    """The published ports of a node that someone serves; the others are left to refuse by themselves."""
    targets = {
        (port.protocol, port.published_port): tuple(f"{address} . {port.target_port}" for address in port.targets)
        for port in plan.ports
        if port.targets
    }
    subnets = frozenset(network.subnet for network in plan.networks.values())
    bridges = frozenset(network.bridge for network in plan.networks.values() if network.ingress)
    return Ports(targets, subnets, bridges)


def let_pass() -> None:
    """Have Docker's firewall let connections to published ports pass. Raises ProgramError."""
    try:
        run(["iptables", "-w", "-C", *_PASS])
    except ProgramError:
        run(["iptables", "-w", "-I", *_PASS])


def let_pass_no_more() -> None:
    """Raises ProgramError only when iptables is missing."""
    run(["iptables", "-w", "-D", *_PASS], accept=range(256))


def occupied(published: Iterable[PublishedPort], proc_net: Path = Path("/proc/self/net")) -> list[str]:
    """A sentence for each published port that a program of the node itself listens on: it gets no connections."""
    wanted = sorted({(port.protocol, port.published_port) for port in published})
    if not wanted:
        return []
    open_ports = {("tcp", port) for port in _open_ports(proc_net, "tcp", _LISTEN)}
    open_ports |= {("udp", port) for port in _open_ports(proc_net, "udp", _UNCONNECTED)}
    return [
        f"Port {port}/{protocol} is published by a service, but a program on this node listens on it and gets no "
        "connections any more: publish another port or stop the program."
        for protocol, port in wanted
        if (protocol, port) in open_ports
    ]


def _open_ports(proc_net: Path, protocol: str, state: str) -> set[int]:
    found = set()
    for name in (protocol, f"{protocol}6"):
        table = proc_net / name
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            words = line.split()
            if words[3] == state:
                found.add(int(words[1].rpartition(":")[2], 16))
    return found


def _chain(key: PortKey) -> str:
    return f"port_{key[0]}_{key[1]}"


def _key(key: PortKey) -> str:
    return f"{key[0]} . {key[1]}"


def _mark() -> str:
    return f"ct mark set {MARK}"


def _dnat(key: PortKey, targets: tuple[str, ...]) -> str:
    return f"meta l4proto {key[0]} dnat ip to {round_robin(targets)}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _element(verb: str, name: str, element: str) -> str:
    return f"{verb} element ip {TABLE} {name} {{ {element} }}"
