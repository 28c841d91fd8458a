"""Bridge networks of the engine, one for each overlay network of this node: the driver of net/network.py."""

import threading
from collections.abc import Mapping
from typing import Any

import docker.types
from swarm_api import naming

from swarm_worker.engine.api import LONG_S, QUICK_S, DockerApi
from swarm_worker.net.errors import BridgeError
from swarm_worker.runtime import EngineError, NotThereError, RefusedError

Json = dict[str, Any]

_PREFIX = "com.docker.network"


class DockerBridges:
    """Makes, finds and removes them. Every problem is a BridgeError."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._known: dict[str, str] = {}  # network id -> the engine's own id
        self._lock = threading.Lock()

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
        """Have the network; the engine's id of it. One that differs in subnet or gateway is replaced."""
        options = {f"{_PREFIX}.bridge.name": bridge_name, f"{_PREFIX}.driver.mtu": str(mtu)}
        pool = docker.types.IPAMPool(subnet=subnet, gateway=gateway, iprange=ip_range or None)
        try:
            found = self._find(network_id)
            if found and not _same(found, pool):
                self._remove(str(found["Id"]))
                found = None
            docker_id = str(found["Id"]) if found else self._create(network_id, name, pool, options, internal, labels)
        except EngineError as problem:
            raise BridgeError(str(problem)) from problem
        with self._lock:
            self._known[network_id] = docker_id
        return docker_id

    def remove_bridge_network(self, network_id: str) -> None:
        """Remove it, if it is there."""
        try:
            found = self._find(network_id)
            if found:
                self._remove(str(found["Id"]))
        except EngineError as problem:
            raise BridgeError(str(problem)) from problem
        with self._lock:
            self._known.pop(network_id, None)

    def list_bridge_networks(self) -> list[str]:
        """Ids (of ours, not the engine's) of all that are there."""
        try:
            networks = self._list()
        except EngineError as problem:
            raise BridgeError(str(problem)) from problem
        found = {n["Labels"][naming.NETWORK_ID_LABEL]: str(n["Id"]) for n in networks}
        with self._lock:
            self._known = found
        return list(found)

    def docker_ids(self, network_ids: list[str]) -> dict[str, str]:
        """The engine's ids of these networks; RefusedError when one is not there."""
        with self._lock:
            known = dict(self._known)
        if any(network_id not in known for network_id in network_ids):
            self.list_bridge_networks()
            with self._lock:
                known = dict(self._known)
        missing = [network_id for network_id in network_ids if network_id not in known]
        if missing:
            raise RefusedError(f"The network {missing[0]} is not on this node.")
        return {network_id: known[network_id] for network_id in network_ids}

    def _find(self, network_id: str) -> Json | None:
        return next(iter(self._list(f"{naming.NETWORK_ID_LABEL}={network_id}")), None)

    def _list(self, label: str = naming.NETWORK_ID_LABEL) -> list[Json]:
        with self._api.call(QUICK_S) as client:
            return list(client.networks(filters={"driver": "bridge", "label": label}))

    def _create(
        self,
        network_id: str,
        name: str,
        pool: docker.types.IPAMPool,
        options: Mapping[str, str],
        internal: bool,
        labels: Mapping[str, str],
    ) -> str:
        with self._api.call(LONG_S) as client:
            made = client.create_network(
                f"{name}.{network_id}",  # a name of the user's own networks may be the same
                driver="bridge",
                options=dict(options),
                ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                internal=internal,
                labels={**labels, naming.NETWORK_ID_LABEL: network_id},
            )
        return str(made["Id"])

    def _remove(self, docker_id: str) -> None:
        try:
            with self._api.call(LONG_S) as client:
                client.remove_network(docker_id)
        except NotThereError:
            return  # somebody else removed it: that is what was wanted


def _same(found: Json, pool: docker.types.IPAMPool) -> bool:
    configs = (found.get("IPAM") or {}).get("Config") or [{}]
    return all(configs[0].get(key) == value for key, value in pool.items() if value)
