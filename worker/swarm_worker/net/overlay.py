"""Overlay networks in the kernel, by netlink (the only module that knows pyroute2).

Each overlay network is one Docker bridge network per node, all with the same subnet, and one VXLAN device enslaved to
the bridge. Nothing is learned and nothing is flooded: for every address that lives on another node we write

    a neighbour entry on the VXLAN device    address -> MAC: it answers the container's ARP question itself (proxy)
    an FDB entry on the VXLAN device         MAC -> the other node's underlay address
    a static FDB entry on the bridge         MAC -> the VXLAN port; without it an address that moved here and away
                                             again stays where the bridge last saw it, for 300 s

MACs follow from addresses (plan.mac_of), so that nobody has to tell them. Virtual addresses of services are /32 on the
bridge of every node: the bridge answers ARP for them, balance.py sends on what arrives.

What we wrote is remembered; at start, now and then, and after any refusal it is read back from the kernel instead,
because a power loss, an engine or an operator may have taken any of it away.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from swarm_worker.net.errors import KernelError
from swarm_worker.net.plan import mac_of

DEVICE_PREFIX = "swx-"
_VXLAN_OVERHEAD_BYTES = 50
_ON_DEVICE, _ON_BRIDGE = 2, 4  # NTF_SELF, NTF_MASTER
_STATIC, _PERMANENT = 0x40, 0x80  # NUD_NOARP, NUD_PERMANENT
_GONE = (2, 19, 99)  # ENOENT, ENODEV, EADDRNOTAVAIL: what we wanted to remove is not there


@dataclass(frozen=True)
class OverlaySpec:
    """What the kernel should have of one network."""

    network_id: str
    bridge: str
    device: str
    vni: int
    vxlan_port: int
    gateway: str
    mtu: int
    virtual_ips: frozenset[str] = frozenset()
    peers: Mapping[str, str] = field(default_factory=dict)  # overlay address -> underlay address of its node


@dataclass(frozen=True)
class Underlay:
    """The interface that carries the overlays. No name: the node's address is not on any (one-to-one NAT)."""

    address: str
    interface: str
    index: int
    mtu: int

    @property
    def overlay_mtu(self) -> int:
        return self.mtu - _VXLAN_OVERHEAD_BYTES


@dataclass
class _Entries:
    """The three tables of a VXLAN device."""

    nodes: dict[str, str] = field(default_factory=dict)  # MAC -> underlay address
    bridged: set[str] = field(default_factory=set)  # MACs
    neighbours: dict[str, str] = field(default_factory=dict)  # overlay address -> MAC

    @classmethod
    def of(cls, peers: Mapping[str, str]) -> "_Entries":
        macs = {address: mac_of(address) for address in peers}
        return cls({macs[address]: node for address, node in peers.items()}, set(macs.values()), macs)


class Overlays:
    """The overlay networks of this node. Use within one thread at a time, between open() and its end."""

    def __init__(self, node_address: str) -> None:
        self._node_address = node_address
        self._known: dict[str, _Entries] = {}  # network id -> what we believe the kernel has
        self._ip: Any = None

    @contextlib.contextmanager
    def open(self) -> Iterator["Overlays"]:
        """Hold a netlink socket. (pyroute2's sockets belong to the thread that opened them; ours come from a pool.)"""
        with IPRoute() as self._ip:
            try:
                yield self
            finally:
                self._ip = None

    def forget(self, network_id: str | None = None) -> None:
        """Read the kernel's tables again next time, of one network or all."""
        if network_id is None:
            self._known.clear()
        else:
            self._known.pop(network_id, None)

    def underlay(self) -> Underlay:
        """The interface with the node's address, else the one of the default route. Raises KernelError."""
        with _refusals("find the network interface that carries overlay traffic"):
            for entry in self._ip.get_addr(family=socket.AF_INET):
                if entry.get_attr("IFA_LOCAL") == self._node_address:
                    return self._underlay(entry["index"])
            for route in self._ip.get_default_routes(family=socket.AF_INET):
                link = self._link(index=route.get_attr("RTA_OIF"))
                return Underlay("", "", 0, link.get_attr("IFLA_MTU"))
        raise KernelError(
            f"No network interface has this node's address {self._node_address}, and there is no default route: "
            "give an address of this machine as the advertised address."
        )

    def _underlay(self, index: int) -> Underlay:
        link = self._link(index=index)
        return Underlay(self._node_address, link.get_attr("IFLA_IFNAME"), index, link.get_attr("IFLA_MTU"))

    # -- having a network

    def ensure(self, spec: OverlaySpec, underlay: Underlay) -> None:
        """Have the devices, the addresses on the bridge and an entry for every peer; drop nothing yet.

        Raises KernelError.
        """
        with self._watched(spec, "make"):
            bridge = self._link(name=spec.bridge)
            device = self._ensure_device(spec, underlay, bridge)
            self._ensure_bridge(spec, bridge)
            have = self._entries(spec, device)
            for peer_change in self._additions(have, _Entries.of(spec.peers), device):
                peer_change()

    def prune(self, spec: OverlaySpec) -> None:
        """Drop the entries and virtual addresses that are wanted no more, once nothing points to them."""
        with self._watched(spec, "clean"):
            device = self._link(name=spec.device)["index"]
            for removal in self._removals(self._entries(spec, device), _Entries.of(spec.peers), device):
                removal()
            self._drop_addresses(spec)

    def remove(self, device: str) -> None:
        """Remove a VXLAN device; its entries go with it. Raises KernelError."""
        with _refusals(f"remove the VXLAN device {device}"):
            for index in self._ip.link_lookup(ifname=device):
                self._ip.link("del", index=index)

    def exists(self, interface: str) -> bool:
        return bool(self._ip.link_lookup(ifname=interface))

    def devices(self) -> set[str]:
        """The names of all VXLAN devices of ours, whoever wants them."""
        with _refusals("list the VXLAN devices"):
            names = {link.get_attr("IFLA_IFNAME") for link in self._ip.get_links()}
        return {name for name in names if name.startswith(DEVICE_PREFIX)}

    def _ensure_device(self, spec: OverlaySpec, underlay: Underlay, bridge: Any) -> int:
        found = self._ip.link_lookup(ifname=spec.device)
        if found and not _is_as_wanted(self._link(index=found[0]), spec, underlay):
            self._ip.link("del", index=found[0])
            self.forget(spec.network_id)
            found = []
        if not found:
            self._make_device(spec, underlay)
            self._known[spec.network_id] = _Entries()
            found = self._ip.link_lookup(ifname=spec.device)
        index: int = found[0]
        link = self._link(index=index)
        if (link.get_attr("IFLA_MASTER"), link.get_attr("IFLA_MTU"), link["state"]) != (
            bridge["index"],
            spec.mtu,
            "up",
        ):
            self._ip.link("set", index=index, master=bridge["index"], mtu=spec.mtu, state="up")
            self.forget(spec.network_id)  # a port that joins a bridge has no entries on it
        self._ip.brport("set", index=index, learning=0, unicast_flood=0)
        return index

    def _make_device(self, spec: OverlaySpec, underlay: Underlay) -> None:
        where = {"vxlan_local": underlay.address, "vxlan_link": underlay.index} if underlay.interface else {}
        self._ip.link(
            "add",
            ifname=spec.device,
            kind="vxlan",
            vxlan_id=spec.vni,
            vxlan_port=spec.vxlan_port,
            vxlan_learning=False,
            vxlan_proxy=True,
            **where,
        )

    def _ensure_bridge(self, spec: OverlaySpec, bridge: Any) -> None:
        index = bridge["index"]
        if bridge.get_attr("IFLA_ADDRESS") != mac_of(spec.gateway):  # Docker chose one that no other node knows
            self._ip.link("set", index=index, address=mac_of(spec.gateway))
        present = self._virtual_ips(index)
        for address in spec.virtual_ips - present:
            self._ip.addr("replace", index=index, address=address, prefixlen=32)
        for port in self._ip.get_links(master=index):
            self._ensure_hairpin(port, spec)

    def _ensure_hairpin(self, port: Any, spec: OverlaySpec) -> None:
        """A container may be its own service's endpoint: then its packet leaves by the port it came in."""
        info = port.get_attr("IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_SLAVE_DATA") if info else None
        if port.get_attr("IFLA_IFNAME") == spec.device or data is None or data.get_attr("IFLA_BRPORT_MODE"):
            return
        with _unless_gone():  # the container may end meanwhile
            self._ip.brport("set", index=port["index"], mode=1)

    def _drop_addresses(self, spec: OverlaySpec) -> None:
        index = self._link(name=spec.bridge)["index"]
        for address in self._virtual_ips(index) - spec.virtual_ips:
            with _unless_gone():
                self._ip.addr("del", index=index, address=address, prefixlen=32)

    def _virtual_ips(self, bridge: int) -> set[str]:
        found = self._ip.get_addr(family=socket.AF_INET, index=bridge)
        return {entry.get_attr("IFA_LOCAL") for entry in found if entry["prefixlen"] == 32}

    # -- entries

    def _entries(self, spec: OverlaySpec, device: int) -> _Entries:
        if spec.network_id not in self._known:
            self._known[spec.network_id] = self._read_entries(device)
        return self._known[spec.network_id]

    def _read_entries(self, device: int) -> _Entries:
        entries = _Entries()
        for entry in self._ip.fdb("dump", ifindex=device):
            mac, node = entry.get_attr("NDA_LLADDR"), entry.get_attr("NDA_DST")
            if node:
                entries.nodes[mac] = node
            elif entry.get_attr("NDA_MASTER") and entry["state"] == _STATIC:
                entries.bridged.add(mac)
        for entry in self._ip.get_neighbours(ifindex=device, family=socket.AF_INET):
            if entry["state"] == _PERMANENT:
                entries.neighbours[entry.get_attr("NDA_DST")] = entry.get_attr("NDA_LLADDR")
        return entries

    def _additions(self, have: _Entries, want: _Entries, device: int) -> Iterator[Callable[[], None]]:
        """Each as a step that also notes what it did, so that a refusal in the middle leaves the notes true."""
        for mac, node in want.nodes.items():
            if have.nodes.get(mac) != node:
                yield lambda mac=mac, node=node: self._set_node(have, device, mac, node)  # type: ignore[misc]
        for mac in want.bridged - have.bridged:
            yield lambda mac=mac: self._set_bridged(have, device, mac)  # type: ignore[misc]
        for address, mac in want.neighbours.items():
            if have.neighbours.get(address) != mac:
                yield lambda address=address, mac=mac: self._set_neighbour(have, device, address, mac)  # type: ignore[misc]

    def _set_node(self, have: _Entries, device: int, mac: str, node: str) -> None:
        # Flags are given because pyroute2's "replace" has none by itself: that would make a local entry, a black hole.
        state = _STATIC | _PERMANENT
        self._ip.fdb("replace", ifindex=device, lladdr=mac, dst=node, flags=_ON_DEVICE, state=state)
        have.nodes[mac] = node

    def _set_bridged(self, have: _Entries, device: int, mac: str) -> None:
        self._ip.fdb("replace", ifindex=device, lladdr=mac, flags=_ON_BRIDGE, state=_STATIC)
        have.bridged.add(mac)

    def _set_neighbour(self, have: _Entries, device: int, address: str, mac: str) -> None:
        self._ip.neigh("replace", ifindex=device, dst=address, lladdr=mac, state=_PERMANENT)
        have.neighbours[address] = mac

    def _removals(self, have: _Entries, want: _Entries, device: int) -> Iterator[Callable[[], None]]:
        for address in set(have.neighbours) - set(want.neighbours):
            yield lambda address=address: self._drop_neighbour(have, device, address)  # type: ignore[misc]
        for mac in set(have.nodes) - set(want.nodes):
            yield lambda mac=mac: self._drop_node(have, device, mac)  # type: ignore[misc]
        for mac in have.bridged - want.bridged:
            yield lambda mac=mac: self._drop_bridged(have, device, mac)  # type: ignore[misc]

    def _drop_neighbour(self, have: _Entries, device: int, address: str) -> None:
        with _unless_gone():
            self._ip.neigh("del", ifindex=device, dst=address, lladdr=have.neighbours[address])
        del have.neighbours[address]

    def _drop_node(self, have: _Entries, device: int, mac: str) -> None:
        with _unless_gone():
            self._ip.fdb("del", ifindex=device, lladdr=mac, dst=have.nodes[mac], flags=_ON_DEVICE)
        del have.nodes[mac]

    def _drop_bridged(self, have: _Entries, device: int, mac: str) -> None:
        with _unless_gone():
            self._ip.fdb("del", ifindex=device, lladdr=mac, flags=_ON_BRIDGE)
        have.bridged.discard(mac)

    # -- links and refusals

    def _link(self, *, name: str = "", index: int = 0) -> Any:
        found = self._ip.link("get", ifname=name) if name else self._ip.link("get", index=index)
        return found[0]

    @contextlib.contextmanager
    def _watched(self, spec: OverlaySpec, verb: str) -> Iterator[None]:
        """After a refusal we no longer trust our notes of this network."""
        try:
            with _refusals(f"{verb} the overlay network on the bridge {spec.bridge}"):
                yield
        except KernelError:
            self.forget(spec.network_id)
            raise


def _is_as_wanted(link: Any, spec: OverlaySpec, underlay: Underlay) -> bool:
    info = link.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info and info.get_attr("IFLA_INFO_KIND") == "vxlan" else None
    if data is None:
        return False
    have = (
        data.get_attr("IFLA_VXLAN_ID"),
        data.get_attr("IFLA_VXLAN_PORT"),
        data.get_attr("IFLA_VXLAN_LOCAL") or "",
        data.get_attr("IFLA_VXLAN_LINK") or 0,
        data.get_attr("IFLA_VXLAN_LEARNING"),
        data.get_attr("IFLA_VXLAN_PROXY"),
    )
    return have == (spec.vni, spec.vxlan_port, underlay.address, underlay.index, 0, 1)


@contextlib.contextmanager
def _refusals(purpose: str) -> Iterator[None]:
    """Say the kernel's refusals in one sentence."""
    try:
        yield
    except NetlinkError as error:
        raise KernelError(
            f"The kernel refused to {purpose}: {error.args[1] if len(error.args) > 1 else error}."
        ) from error
    except OSError as error:
        raise KernelError(f"Could not {purpose}: {error}.") from error


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in _GONE:
            raise
