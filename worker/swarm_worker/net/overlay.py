"""Overlay networks in the kernel, by netlink (the only module that knows pyroute2).

Each overlay network is one Docker bridge network per node, all with the same subnet, and one VXLAN device enslaved to
the bridge. Nothing is learned and nothing is flooded: for every address that lives on another node we write

    NEIGHBOUR   on the VXLAN device, address -> MAC: it answers the containers' ARP questions itself (proxy)
    REMOTE      FDB entry of the VXLAN device, MAC -> the other node's underlay address
    PORT        static FDB entry of the bridge, MAC -> the VXLAN port; without it an address that moved here and away
                again stays where the bridge last saw it, for 300 s

MACs follow from addresses (plan.mac_of), so that nobody has to tell them. Virtual addresses of services are /32 on the
bridge of every node: the bridge answers ARP for them, balance.py sends on what arrives.

A network that is settled is not looked at until its spec changes or forget() is called: at start, now and then, and
after any refusal everything is read back from the kernel, because a power loss, an engine or an operator may have
taken any of it away. Dumps are expensive in Python, so one of each kind serves all networks.
"""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from swarm_api import naming

from swarm_worker.net.errors import KernelError
from swarm_worker.net.plan import NetworkView, WantedNetwork, mac_of

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
    local: frozenset[str] = frozenset()  # serving endpoints on this node
    peers: Mapping[str, str] = field(default_factory=dict)  # overlay address -> underlay address of its node

    @staticmethod
    def of(network: NetworkView, plan: WantedNetwork, underlay: "Underlay") -> "OverlaySpec":
        """The part of a plan that the kernel carries out."""
        return OverlaySpec(
            network_id=network.network_id,
            bridge=network.bridge,
            device=network.device,
            vni=network.vni,
            vxlan_port=network.vxlan_port,
            gateway=network.gateway,
            mtu=min(network.mtu or underlay.overlay_mtu, underlay.overlay_mtu),
            virtual_ips=network.virtual_ips(),
            local=frozenset(e.address for e in network.endpoints if e.node_id == plan.node_id and e.serving),
            peers=network.peers(plan.node_id),
        )


@dataclass(frozen=True)
class Underlay:
    """The interface that carries the overlays. No address: this node's is on none of its own (one-to-one NAT)."""

    address: str
    index: int
    mtu: int

    @property
    def overlay_mtu(self) -> int:
        return self.mtu - _VXLAN_OVERHEAD_BYTES


class Kind(Enum):
    NEIGHBOUR = auto()
    REMOTE = auto()
    PORT = auto()


class Entry(NamedTuple):
    """One entry of a VXLAN device. `target`: the address it answers for, or the node it leads to."""

    kind: Kind
    mac: str
    target: str = ""


def entries_of(peers: Mapping[str, str]) -> set[Entry]:
    """The entries that lead to these peers."""
    entries = set()
    for address, node in peers.items():
        mac = mac_of(address)
        entries |= {Entry(Kind.NEIGHBOUR, mac, address), Entry(Kind.REMOTE, mac, node), Entry(Kind.PORT, mac)}
    return entries


class Overlays:
    """The overlay networks of this node. For one thread at a time, between open() and its end."""

    def __init__(self, node_address: str) -> None:
        self._node_address = node_address
        self._underlay: Underlay | None = None
        self._settled: dict[str, tuple[OverlaySpec, Underlay]] = {}
        self._entries: dict[str, set[Entry]] = {}  # network id -> what the kernel has, as far as we know
        self._ip: Any = None
        self._dumped_entries: dict[int, set[Entry]] | None = None  # by interface; of this open()
        self._dumped_addresses: dict[int, set[str]] | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator["Overlays"]:
        """Hold a netlink socket. (pyroute2's sockets belong to the thread that opened them; ours come from a pool.)"""
        self._dumped_entries = self._dumped_addresses = None
        with IPRoute() as self._ip:
            yield self

    def forget(self, network_id: str | None = None) -> None:
        """Believe nothing any more of one network, or of all."""
        if network_id is None:
            self._settled.clear()
            self._entries.clear()
            self._underlay = None
        else:
            self._settled.pop(network_id, None)
            self._entries.pop(network_id, None)

    def underlay(self) -> Underlay:
        """The interface with the node's address, else the one of the default route. Raises KernelError."""
        if self._underlay is None:
            with _refusals("find the network interface that carries overlay traffic"):
                self._underlay = self._find_underlay()
        return self._underlay

    def _find_underlay(self) -> Underlay:
        for entry in self._ip.get_addr(family=socket.AF_INET):
            if entry.get_attr("IFA_LOCAL") == self._node_address:
                mtu = self._link(index=entry["index"]).get_attr("IFLA_MTU")
                return Underlay(self._node_address, entry["index"], mtu)
        for route in self._ip.get_default_routes(family=socket.AF_INET):
            return Underlay("", 0, self._link(index=route.get_attr("RTA_OIF")).get_attr("IFLA_MTU"))
        raise KernelError(
            f"No network interface has this node's address {self._node_address}, and there is no default route: "
            "give an address of this machine as the advertised address."
        )

    # -- having a network

    def ensure(self, spec: OverlaySpec, underlay: Underlay) -> None:
        """Have the devices, the addresses on the bridge and an entry for every peer; drop nothing yet.

        Raises KernelError.
        """
        if self._settled.get(spec.network_id) == (spec, underlay):
            return
        with self._watched(spec, "make"):
            bridge = self._link(name=spec.bridge)
            device = self._ensure_device(spec, underlay, bridge["index"])
            self._ensure_bridge(spec, bridge)
            have = self._entries_now(spec, device)
            for entry in entries_of(spec.peers) - have:
                self._add(device, entry)
                have.add(entry)

    def prune(self, spec: OverlaySpec, underlay: Underlay) -> None:
        """Drop the entries and virtual addresses that are wanted no more, once nothing points to them.

        Raises KernelError.
        """
        if self._settled.get(spec.network_id) == (spec, underlay):
            return
        with self._watched(spec, "clean"):
            device = self._link(name=spec.device)["index"]
            have = self._entries_now(spec, device)
            for entry in have - entries_of(spec.peers):
                self._drop(device, entry)
                have.discard(entry)
            self._drop_virtual_ips(spec)
        self._settled[spec.network_id] = (spec, underlay)

    def remove(self, device: str) -> None:
        """Remove a VXLAN device; its entries go with it. Raises KernelError."""
        with _refusals(f"remove the VXLAN device {device}"):
            for index in self._ip.link_lookup(ifname=device):
                self._ip.link("del", index=index)

    def exists(self, interface: str) -> bool:
        return bool(self._ip.link_lookup(ifname=interface))

    def devices(self) -> set[str]:
        """The names of all VXLAN devices of ours, whoever wants them. Raises KernelError."""
        with _refusals("list the VXLAN devices"):
            names = {link.get_attr("IFLA_IFNAME") for link in self._ip.get_links(kind="vxlan")}
        return {name for name in names if name.startswith(naming.VXLAN_PREFIX)}

    # -- devices

    def _ensure_device(self, spec: OverlaySpec, underlay: Underlay, bridge: int) -> int:
        found = self._ip.link_lookup(ifname=spec.device)
        if found and not _is_as_wanted(self._link(index=found[0]), spec, underlay):
            self._ip.link("del", index=found[0])
            found = []
        if not found:
            self._make_device(spec, underlay)
            found = self._ip.link_lookup(ifname=spec.device)
            self._entries[spec.network_id] = set()
        index: int = found[0]
        link = self._link(index=index)
        if link.get_attr("IFLA_MASTER") != bridge:  # a port that joins a bridge has no entries on it
            self._ip.link("set", index=index, master=bridge)
            self._entries.pop(spec.network_id, None)
            self._dumped_entries = None
        if (link.get_attr("IFLA_MTU"), link["state"]) != (spec.mtu, "up"):
            self._ip.link("set", index=index, mtu=spec.mtu, state="up")
        self._ip.brport("set", index=index, learning=0, unicast_flood=0)
        return index

    def _make_device(self, spec: OverlaySpec, underlay: Underlay) -> None:
        where = {"vxlan_local": underlay.address, "vxlan_link": underlay.index} if underlay.address else {}
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
            present.add(address)
        if spec.local:
            for port in self._ip.get_links(master=index):
                self._ensure_hairpin(port, spec.device)

    def _ensure_hairpin(self, port: Any, device: str) -> None:
        """A container may be its own service's endpoint: then its packet leaves by the port it came in."""
        info = port.get_attr("IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_SLAVE_DATA") if info else None
        if port.get_attr("IFLA_IFNAME") == device or data is None or data.get_attr("IFLA_BRPORT_MODE"):
            return
        with _unless_gone():  # the container may end meanwhile
            self._ip.brport("set", index=port["index"], mode=1)

    def _drop_virtual_ips(self, spec: OverlaySpec) -> None:
        index = self._link(name=spec.bridge)["index"]
        present = self._virtual_ips(index)
        for address in present - spec.virtual_ips:
            with _unless_gone():
                self._ip.addr("del", index=index, address=address, prefixlen=32)
            present.discard(address)

    def _virtual_ips(self, bridge: int) -> set[str]:
        if self._dumped_addresses is None:
            self._dumped_addresses = {}
            for entry in self._ip.get_addr(family=socket.AF_INET):
                if entry["prefixlen"] == 32:
                    self._dumped_addresses.setdefault(entry["index"], set()).add(entry.get_attr("IFA_LOCAL"))
        return self._dumped_addresses.setdefault(bridge, set())

    def _link(self, *, name: str = "", index: int = 0) -> Any:
        found = self._ip.link("get", ifname=name) if name else self._ip.link("get", index=index)
        return found[0]

    # -- entries

    def _entries_now(self, spec: OverlaySpec, device: int) -> set[Entry]:
        """What the device has. The caller notes in it what it changes, so that it stays true."""
        if spec.network_id not in self._entries:
            if self._dumped_entries is None:
                self._dumped_entries = self._dump_entries()
            self._entries[spec.network_id] = self._dumped_entries.get(device, set())
        return self._entries[spec.network_id]

    def _dump_entries(self) -> dict[int, set[Entry]]:
        found: dict[int, set[Entry]] = {}
        for item in self._ip.fdb("dump"):
            mac, node = item.get_attr("NDA_LLADDR"), item.get_attr("NDA_DST")
            if node:
                found.setdefault(item["ifindex"], set()).add(Entry(Kind.REMOTE, mac, node))
            elif item["state"] == _STATIC and item.get_attr("NDA_MASTER"):
                found.setdefault(item["ifindex"], set()).add(Entry(Kind.PORT, mac))
        for item in self._ip.get_neighbours(family=socket.AF_INET):
            if item["state"] == _PERMANENT:
                entry = Entry(Kind.NEIGHBOUR, item.get_attr("NDA_LLADDR"), item.get_attr("NDA_DST"))
                found.setdefault(item["ifindex"], set()).add(entry)
        return found

    def _add(self, device: int, entry: Entry) -> None:
        """Also moves an entry that leads elsewhere."""
        if entry.kind is Kind.NEIGHBOUR:
            self._ip.neigh("replace", ifindex=device, dst=entry.target, lladdr=entry.mac, state=_PERMANENT)
        elif entry.kind is Kind.REMOTE:
            # Flags are given because pyroute2's "replace" has none by itself: that would make a local entry, a hole.
            state = _STATIC | _PERMANENT
            self._ip.fdb("replace", ifindex=device, lladdr=entry.mac, dst=entry.target, flags=_ON_DEVICE, state=state)
        else:
            self._ip.fdb("replace", ifindex=device, lladdr=entry.mac, flags=_ON_BRIDGE, state=_STATIC)

    def _drop(self, device: int, entry: Entry) -> None:
        """One that was moved by _add is not found any more, which is right."""
        with _unless_gone():
            if entry.kind is Kind.NEIGHBOUR:
                self._ip.neigh("del", ifindex=device, dst=entry.target, lladdr=entry.mac)
            elif entry.kind is Kind.REMOTE:
                self._ip.fdb("del", ifindex=device, lladdr=entry.mac, dst=entry.target, flags=_ON_DEVICE)
            else:
                self._ip.fdb("del", ifindex=device, lladdr=entry.mac, flags=_ON_BRIDGE)

    @contextlib.contextmanager
    def _watched(self, spec: OverlaySpec, verb: str) -> Iterator[None]:
        """After a refusal we no longer trust our notes of this network."""
        try:
            with _refusals(f"{verb} the overlay network on the bridge {spec.bridge}"):
                yield
        except KernelError:
            self.forget(spec.network_id)
            self._dumped_entries = self._dumped_addresses = None
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
        reason = error.args[1] if len(error.args) > 1 else error
        raise KernelError(f"The kernel refused to {purpose}: {reason}.") from error
    except OSError as error:
        raise KernelError(f"Could not {purpose}: {error}.") from error


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in _GONE:
            raise
