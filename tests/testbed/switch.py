"""The switch that joins the hosts of a testbed: a bridge in a network namespace of its own.

The bridge has no address and no uplink, so nothing that happens on the testbed can leave it. Each host has one
port, named like the host. Link faults are made here, outside the hosts, where a real network makes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.testbed.layout import Layout, host_index
from tests.testbed.process import run


class Switch:
    """The switch of one testbed."""

    def __init__(self, layout: Layout) -> None:
        self.namespace = layout.switch_namespace

    def exists(self) -> bool:
        return Path("/run/netns", self.namespace).exists()

    def up(self) -> None:
        """Make the namespace and its bridge; nothing happens when they are there."""
        if not self.exists():
            run(["ip", "netns", "add", self.namespace])
        if self._ip("link", "show", "br0", check=False):
            return
        self._ip("link", "set", "lo", "up")
        self._ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        self._ip("link", "set", "br0", "up")

    def down(self) -> None:
        """Remove the switch with all its ports; nothing happens when there is none."""
        if self.exists():
            run(["ip", "netns", "del", self.namespace])

    def plug(self, port: str, init_pid: int) -> None:
        """Run a cable from a new port to `eth0` in the network namespace of the process `init_pid`."""
        self.unplug(port)
        # A machine keeps its MAC address through a power cycle; with a new one its neighbours, who remember the old,
        # would not reach it for half a minute.
        mac = f"02:7b:00:00:00:{host_index(port):02x}"
        peer = ["peer", "name", "eth0", "address", mac, "netns", str(init_pid)]
        self._ip("link", "add", port, "type", "veth", *peer)
        self._ip("link", "set", port, "master", "br0", "up")

    def unplug(self, port: str) -> None:
        """Remove a port with its cable; nothing happens when there is none."""
        self._ip("link", "del", port, check=False)

    def set_port(self, port: str, *, up: bool) -> None:
        """Pull (`up=False`) or put back a host's cable: the host sees its carrier go and come."""
        self._ip("link", "set", port, "up" if up else "down")

    def ports(self) -> dict[str, bool]:
        """Every port's name, and whether its cable is in."""
        if not self.exists():
            return {}
        links = json.loads(self._ip("-j", "link", "show", "type", "veth") or "[]")
        return {link["ifname"]: "UP" in link["flags"] for link in links}

    def nft(self, script: str) -> None:
        """Apply an nftables script on the switch, all of it or nothing."""
        run(["ip", "netns", "exec", self.namespace, "nft", "-f", "-"], stdin=script)

    def _ip(self, *words: str, check: bool = True) -> str:
        argv: Sequence[str] = ["ip", "-n", self.namespace, *words]
        return run(argv, check=check).stdout
