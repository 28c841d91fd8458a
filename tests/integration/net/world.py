"""A small cluster whose manager is the test: it says what networks, services and tasks there are, and where.

`World` makes each node's assignments from that, as the dispatcher would; `Node` is a testbed host with a NodeNetwork
in a process of its own (agent.py) and containers started as the worker's Docker adapter starts them.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from swarm_api import naming
from swarm_api.dispatcher_pb2 import (
    Assignment,
    EndpointAssignment,
    GatewayAssignment,
    NetworkAssignment,
    PortAssignment,
    ServiceAssignment,
    SessionMessage,
)
from swarm_api.objects_pb2 import NetworkAttachment, Task
from swarm_api.types_pb2 import PortConfig
from swarm_worker.net.plan import mac_of

from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.process import wait_until


@dataclass(frozen=True)
class Net:
    """A network of the world. Addresses .4 and up are given out, first to the nodes' gateways."""

    id: str
    subnet: str  # first three numbers: a /24
    vni: int
    ingress: bool = False
    internal: bool = False

    def address(self, last: int) -> str:
        return f"{self.subnet}.{last}"

    def gateway(self, node: int) -> str:
        return self.address(3 + node)


@dataclass(frozen=True)
class Endpoint:
    task_id: str
    net: Net
    address: str
    node: int
    service: str
    slot: int = 1
    serving: bool = True


@dataclass
class World:
    """What the manager would know."""

    nodes: dict[int, str]  # number -> underlay address
    nets: list[Net] = field(default_factory=list)
    services: list[tuple[Net, ServiceAssignment]] = field(default_factory=list)
    endpoints: dict[tuple[str, str], Endpoint] = field(default_factory=dict)  # by task and network
    ports: list[PortAssignment] = field(default_factory=list)

    def net(self, net: Net) -> Net:
        self.nets.append(net)
        return net

    def service(self, net: Net, name: str, vip: str = "", aliases: tuple[str, ...] = ()) -> None:
        item = ServiceAssignment(service_id=name, network_id=net.id, name=name, virtual_ip=vip, aliases=aliases)
        self.services.append((net, item))

    def publish(self, net: Net, service: str, published: int, target: int, protocol: str = "TCP") -> None:
        port = PortConfig(published_port=published, target_port=target, protocol=PortConfig.Protocol.Value(protocol))
        self.ports.append(PortAssignment(service_id=service, network_id=net.id, port=port))

    def put(self, endpoint: Endpoint) -> Endpoint:
        self.endpoints[endpoint.task_id, endpoint.net.id] = endpoint
        return endpoint

    def remove(self, endpoint: Endpoint) -> None:
        del self.endpoints[endpoint.task_id, endpoint.net.id]

    def serving(self, endpoint: Endpoint, *, serving: bool) -> Endpoint:
        return self.put(replace(endpoint, serving=serving))

    def assignments(self, node: int) -> list[Assignment]:
        items = [Assignment(key=f"network/{net.id}", network=self._network(net, node)) for net in self.nets]
        for net in self.nets:
            for other, address in self.nodes.items():
                if other != node:
                    gateway = self._gateway(net, other, address)
                    items.append(Assignment(key=f"gateway/{net.id}/{other}", gateway=gateway))
        items += [
            Assignment(key=f"service/{net.id}/{service.service_id}", service=service) for net, service in self.services
        ]
        items += [
            Assignment(key=f"endpoint/{e.net.id}/{e.task_id}", endpoint=self._endpoint(e))
            for e in self.endpoints.values()
        ]
        return items + [Assignment(key=f"port/{p.port.published_port}", port=p) for p in self.ports]

    def _network(self, net: Net, node: int) -> NetworkAssignment:
        return NetworkAssignment(
            network_id=net.id,
            name=net.id[:6],
            vni=net.vni,
            subnet=f"{net.subnet}.0/24",
            gateway=net.gateway(node),
            ingress=net.ingress,
            internal=net.internal,
            vxlan_port=4790,
        )

    def _gateway(self, net: Net, node: int, address: str) -> GatewayAssignment:
        return GatewayAssignment(
            network_id=net.id, node_id=f"node{node}", address=net.gateway(node), node_address=address
        )

    def _endpoint(self, e: Endpoint) -> EndpointAssignment:
        return EndpointAssignment(
            task_id=e.task_id,
            network_id=e.net.id,
            address=e.address,
            node_id=f"node{e.node}",
            node_address=self.nodes[e.node],
            service_id=e.service,
            serving=e.serving,
            slot=e.slot,
        )


class Node:
    """A host, its worker's network and its containers."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.number = host.index
        self._agent: subprocess.Popen[str] | None = None
        self._beside: list[str] = []  # pids

    # -- the worker

    def start(self, **environment: str) -> None:
        """Start the worker, unless it runs."""
        if self._agent is None:
            command = [sys.executable, "-m", "tests.integration.net.agent", f"node{self.number}", self.host.address]
            self._agent = subprocess.Popen(
                self.host.exec_argv(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self.host.environment() | environment,
            )

    def stop(self) -> None:
        """End the worker, as at its upgrade."""
        if self._agent is not None:
            self._agent.communicate(timeout=20)
            self._agent = None

    def died(self) -> None:
        """The host lost power, and the worker with it."""
        if self._agent is not None:
            self._agent.kill()
            self._agent.communicate(timeout=20)
            self._agent = None

    def apply(self, world: World) -> dict[str, Any]:
        message = SessionMessage(set=world.assignments(self.number)).SerializeToString()
        result: dict[str, Any] = self._call(do="apply", message=base64.b64encode(message).decode())
        return result

    def invalidate(self) -> None:
        self._call(do="invalidate")

    def ready(self, net: Net) -> bool:
        return bool(self._call(do="ready", network=net.id))

    def _call(self, **call: object) -> Any:
        self.start()
        assert self._agent is not None
        assert self._agent.stdin is not None
        assert self._agent.stdout is not None
        self._agent.stdin.write(json.dumps(call) + "\n")
        self._agent.stdin.flush()
        answer = self._agent.stdout.readline()
        assert answer, f"the worker of {self.host.name} ended: {self._agent.poll()}"
        return json.loads(answer)

    def sh(self, command: str) -> str:
        """What a shell command on the host prints, with errors."""
        done = self.host.run(["sh", "-c", command], check=False)
        return (done.stdout + done.stderr).strip()

    # -- its containers

    def run(self, endpoint: Endpoint, command: str, *further: Endpoint) -> str:
        """Start a container of a task with its address in one network or more; return its name."""
        ends = [endpoint, *further]
        attachments = [NetworkAttachment(network_id=end.net.id, address=end.address) for end in ends]
        task = Task(networks=attachments).SerializeToString()
        name = f"task.{endpoint.task_id}"
        body = {
            "Image": "tools:local",
            "Cmd": ["sh", "-c", command],
            "Hostname": endpoint.task_id,
            "MacAddress": mac_of(endpoint.address),
            "HostConfig": {
                "NetworkMode": self._bridge(endpoint.net),
                "Dns": self._call(do="dns", task=base64.b64encode(task).decode()),
                "Init": True,
                "RestartPolicy": {"Name": "always"},
            },
            "NetworkingConfig": {"EndpointsConfig": {self._bridge(endpoint.net): _settings(endpoint)}},
        }
        engine = self.host.engine
        engine.request("POST", "/containers/create", query={"name": name}, body=body)
        for end in further:
            join = {"Container": name, "EndpointConfig": _settings(end)}
            engine.request("POST", f"/networks/{self._bridge(end.net)}/connect", body=join)
        engine.request("POST", f"/containers/{name}/start")
        return name

    def serve(self, endpoint: Endpoint, *further: Endpoint) -> str:
        """A container whose web server on port 80 says the task's id and the client's address."""
        name = self.run(endpoint, "exec nginx -g 'daemon off;'", *further)
        wait_until(lambda: endpoint.task_id in self.inside(name, "curl -s 127.0.0.1"), f"the start of {name}", 10)
        return name

    def idle(self, endpoint: Endpoint, *further: Endpoint) -> str:
        """A container that does nothing by itself."""
        return self.run(endpoint, "exec sleep infinity", *further)

    def remove(self, name: str) -> None:
        self.host.engine.request("DELETE", f"/containers/{name}", query={"force": 1})

    def run_beside(self, name: str, argv: list[str]) -> None:
        """Start a program of the host in a container's network, until remove_containers()."""
        pid = self.sh(f"docker inspect -f '{{{{.State.Pid}}}}' {name}")
        command = shlex.join(["nsenter", "-t", pid, "-n", *argv])
        self._beside.append(self.sh(f"{command} > /dev/null 2>&1 & echo $!"))

    def remove_containers(self) -> None:
        """All of them, and what runs beside them."""
        if self._beside:
            self.sh(f"kill {' '.join(self._beside)}")
        self._beside.clear()
        self.host.engine.remove_all_containers()

    def get(self, name: str, url: str, times: int = 1) -> list[str]:
        """What a client in a container gets, each time over a new connection."""
        command = f"for i in $(seq {times}); do curl -sS -m 3 {url} 2>&1; done"
        return self.inside(name, command).splitlines()

    def inside(self, name: str, command: str) -> str:
        """What a command in a container prints, with errors."""
        done = self.host.run(["docker", "exec", name, "sh", "-c", command], check=False)
        return (done.stdout + done.stderr).strip()

    def _bridge(self, net: Net) -> str:
        listed = self.host.engine.request("GET", "/networks")
        return next(str(n["Id"]) for n in listed if (n["Labels"] or {}).get(naming.NETWORK_ID_LABEL) == net.id)


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    return {"IPAMConfig": {"IPv4Address": endpoint.address}, "MacAddress": mac_of(endpoint.address)}


@dataclass
class Cluster:
    """The world and the nodes that follow it."""

    testbed: Testbed
    world: World
    nodes: list[Node]

    def apply(self, *, problems: bool = False) -> None:
        """Tell all nodes; none may have a problem with it, unless the test is about one."""
        for node in self.nodes:
            found = node.apply(self.world)["problems"]
            assert problems or found == [], f"{node.host.name}: {found}"
