"""The engine's part of an overlay network: one bridge network per node, made through the worker's Docker adapter."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from swarm_api import naming

from swarm_worker.net.plan import NetworkView, reserved_range


class BridgeDriver(Protocol):
    """The engine's bridge networks. Methods block; they raise errors.BridgeError, one sentence for people."""

    def ensure_bridge_network(
        self,
        network_id: str,
        name: str,
        subnet: str,
        gateway: str,
        ip_range: str,
        bridge_name: str,
        mtu: int,
        internal: bool,
        labels: Mapping[str, str],
    ) -> str:
        """Have this network and its bridge; return the engine's id of it.

        One with other parameters is made anew when no container is attached, else BridgeError is raised.
        """

    def remove_bridge_network(self, network_id: str) -> None:
        """Remove it with its bridge; nothing happens when there is none. BridgeError when it is in use."""

    def list_bridge_networks(self) -> Collection[str]:
        """The ids (the cluster's) of all bridge networks of ours, known by their naming.NETWORK_ID_LABEL."""


@dataclass(frozen=True)
class _Bridge:
    """A bridge network as the engine should have it."""

    network_id: str
    name: str
    subnet: str
    gateway: str
    ip_range: str
    bridge_name: str
    mtu: int
    internal: bool


class Bridges:
    """The bridge networks of this node, each asked of the engine once until forget()."""

    def __init__(self, driver: BridgeDriver) -> None:
        self._driver = driver
        self._made: dict[str, _Bridge] = {}

    def forget(self) -> None:
        """Ask the engine again for each."""
        self._made.clear()

    def ensure(self, network: NetworkView, mtu: int) -> None:
        """Have the bridge of a network. Raises BridgeError."""
        want = _bridge_of(network, mtu)
        if self._made.get(want.network_id) != want:
            self._made.pop(want.network_id, None)
            self._driver.ensure_bridge_network(**asdict(want), labels={naming.NETWORK_ID_LABEL: want.network_id})
            self._made[want.network_id] = want

    def listed(self) -> list[str]:
        """The ids of all networks that the engine has a bridge of. Raises BridgeError."""
        return sorted(self._driver.list_bridge_networks())

    def remove(self, network_id: str) -> None:
        """Raises BridgeError, also when a container is attached."""
        self._driver.remove_bridge_network(network_id)
        self._made.pop(network_id, None)


def _bridge_of(network: NetworkView, mtu: int) -> _Bridge:
    return _Bridge(
        network_id=network.network_id,
        name=network.name,
        subnet=network.subnet,
        gateway=network.gateway,
        ip_range=reserved_range(network.subnet),
        bridge_name=network.bridge,
        mtu=mtu,
        internal=network.internal,
    )
