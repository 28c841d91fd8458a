"""The peer: Docker's own swarm mode, with its defaults, on the hosts of a testbed.

Its managers listen on another port than its usual 2377, so that both orchestrators can stand on the same hosts.
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from typing import Any

from bench.side import COMMAND, STOP_SIGNAL, Joined, NotAcceptedError, SeenTask, wait_healthy
from tests.testbed.engine import EngineError
from tests.testbed.host import Host

PORT = 2477
MANAGERS = 3
_TIMEOUT_S = 60  # a manager without a leader holds a request for 20 s before it refuses


class DockerSwarm:
    """See bench.side.Side."""

    service_label = "com.docker.swarm.service.name"

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self.name = f"Docker Swarm {hosts[0].engine.request('GET', '/version')['Version'].partition('+')[0]}"

    def form(self) -> None:
        first = self.hosts[0]
        first.run(["docker", "swarm", "init", *_addresses(first)])
        tokens = {
            role: first.run(["docker", "swarm", "join-token", "-q", role]).stdout.strip()
            for role in ("manager", "worker")
        }
        for number, host in enumerate(self.hosts[1:], 2):
            token = tokens["manager" if number <= MANAGERS else "worker"]
            host.run(["docker", "swarm", "join", *_addresses(host), "--token", token, f"{first.address}:{PORT}"])
        wait_healthy(self)

    def healthy(self) -> bool:
        try:
            nodes = self._ask_any("GET", "/nodes")
        except NotAcceptedError:
            return False
        ready = sum(node["Status"]["State"] == "ready" for node in nodes)
        reachable = sum(node.get("ManagerStatus", {}).get("Reachability") == "reachable" for node in nodes)
        leads = any(node.get("ManagerStatus", {}).get("Leader") for node in nodes)
        return ready == len(self.hosts) and reachable == MANAGERS and leads

    def leader(self) -> Host:
        for node in self._ask_any("GET", "/nodes"):
            if node.get("ManagerStatus", {}).get("Leader"):
                return self._host(node)
        raise NotAcceptedError(f"{self.name} has no leader")

    def create_overlay(self, name: str) -> None:
        self._ask_any("POST", "/networks/create", body={"Name": name, "Driver": "overlay"})

    def create(self, name: str, image: str, replicas: int, asked: Sequence[Host], joined: Joined | None = None) -> None:
        task: dict[str, Any] = {"ContainerSpec": {"Image": image, "Command": list(COMMAND), "StopSignal": STOP_SIGNAL}}
        body = {"Name": name, "TaskTemplate": task, "Mode": {"Replicated": {"Replicas": replicas}}}
        if joined:
            task["Networks"] = [{"Target": joined.overlay}]
            ports = {"TargetPort": joined.target_port, "PublishedPort": joined.published_port}
            body["EndpointSpec"] = {"Ports": [ports]}
        self._ask(asked[0], "POST", "/services/create", body=body)

    def remove(self, name: str) -> None:
        self._ask_any("DELETE", f"/services/{name}")

    def tasks(self, name: str) -> list[SeenTask]:
        query = {"filters": {"service": [name], "desired-state": ["running"]}}
        hosts = {node["ID"]: self._host(node).name for node in self._ask_any("GET", "/nodes")}
        return [
            SeenTask(task["ID"], hosts.get(task.get("NodeID", ""), "-"), task["Status"]["State"] == "running")
            for task in self._ask_any("GET", "/tasks", query=query)
        ]

    def processes_of_manager(self, host: Host) -> list[int]:
        pid = host.engine.pid()
        return [] if pid is None else [pid]

    def _host(self, node: dict[str, Any]) -> Host:
        name = node["Description"]["Hostname"]
        return next(host for host in self.hosts if host.name == name)

    def _ask_any(self, method: str, path: str, **more: Any) -> Any:
        """Ask the managers in turn until one answers."""
        refusals = []
        for host in self.hosts[:MANAGERS]:
            try:
                return self._ask(host, method, path, **more)
            except NotAcceptedError as error:
                refusals.append(str(error))
        raise NotAcceptedError("; ".join(refusals))

    def _ask(self, host: Host, method: str, path: str, **more: Any) -> Any:
        try:
            return host.engine.request(method, path, timeout_s=_TIMEOUT_S, **more)
        except (EngineError, OSError, http.client.HTTPException) as error:
            raise NotAcceptedError(f"{host.name}: {error}") from error


def _addresses(host: Host) -> list[str]:
    address = f"{host.address}:{PORT}"
    return ["--advertise-addr", address, "--listen-addr", address]
