"""Our side: Raftswarm on the hosts of a testbed.

It is asked through the public Python client, over the managers' local sockets: every host's /run is reached from
outside through its init's root. The command line is used where a person would use it, to form the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from swarm_api.access import Access, Endpoint
from swarm_api.client import Client, replicated
from swarm_api.defaults import API_PORT, RUN_DIR
from swarm_api.errors import AlreadyExistsError, ClientError, NotFoundError
from swarm_api.naming import SERVICE_NAME_LABEL
from swarm_api.objects_pb2 import REACHABLE, Node
from swarm_api.specs_pb2 import NetworkSpec
from swarm_api.types_pb2 import READY_STATE, TaskState

from bench.side import COMMAND, STOP_SIGNAL, BenchError, Joined, NotAcceptedError, SeenTask, wait_healthy
from tests.testbed.host import Host

MANAGERS = 3
DAEMON = "swarm-worker"
MANAGER = "swarm-manager"

T = TypeVar("T")


class Raftswarm:
    """See bench.side.Side."""

    name = "Raftswarm"
    service_label = SERVICE_NAME_LABEL

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts

    def form(self) -> None:
        first = self.hosts[0]
        first.run(["swarm-cli", "init", "--advertise-addr", first.address])
        with self.client() as client:
            tokens = client.join_tokens().tokens
        for number, host in enumerate(self.hosts[1:], 2):
            token = tokens.manager if number <= MANAGERS else tokens.worker
            host.run(["swarm-cli", "join", "--token", token, f"{first.address}:{API_PORT}"])
        wait_healthy(self)

    def client(self, asked: Sequence[Host] = ()) -> Client:
        """A client that knows the local sockets of these hosts' managers, or of all, and asks the first first."""
        running = [host for host in asked or self.hosts[:MANAGERS] if host.powered()]
        if not running:
            raise BenchError("no host with a manager is powered on")
        return Client(Access(tuple(Endpoint(f"unix:{manager_socket(host)}") for host in running)))

    def healthy(self) -> bool:
        try:
            nodes = self._nodes()
        except NotAcceptedError:
            return False
        ready = sum(node.status.state == READY_STATE for node in nodes)
        reachable = sum(node.manager_status.reachability == REACHABLE for node in nodes)
        leads = any(node.manager_status.leader for node in nodes)
        return ready == len(self.hosts) and reachable == MANAGERS and leads

    def leader(self) -> Host:
        for node in self._nodes():
            if node.manager_status.leader:
                return self._host(node)
        raise NotAcceptedError(f"{self.name} has no leader")

    def create_overlay(self, name: str) -> None:
        spec = NetworkSpec(driver="overlay")
        spec.annotations.name = name
        with self.client() as client:
            try:
                client.networks.create(spec)
            except ClientError as error:
                raise NotAcceptedError(str(error)) from error

    def create(self, name: str, image: str, replicas: int, asked: Sequence[Host], joined: Joined | None = None) -> None:
        with self.client(asked) as client:
            self.create_with(client, name, image, replicas, joined)

    def create_with(self, client: Client, name: str, image: str, replicas: int, joined: Joined | None = None) -> None:
        """`create`, by a client that is connected already."""
        spec = replicated(name, image, replicas=replicas)
        spec.task.container.command.extend(COMMAND)
        spec.task.container.stop_signal = STOP_SIGNAL
        if joined:
            spec.task.networks.add(target=joined.overlay)
            spec.endpoint.ports.add(target_port=joined.target_port, published_port=joined.published_port)
        try:
            client.services.create(spec)
        except AlreadyExistsError:
            return  # the answer to an earlier try was lost, but it was accepted
        except ClientError as error:
            raise NotAcceptedError(str(error)) from error

    def remove(self, name: str) -> None:
        with self.client() as client:
            try:
                client.services.remove(name)
            except NotFoundError:
                return
            except ClientError as error:
                raise NotAcceptedError(str(error)) from error

    def tasks(self, name: str) -> list[SeenTask]:
        hosts = {node.id: node.description.hostname for node in self._nodes()}
        with self.client() as client:
            try:
                found = client.tasks.list(service=name, desired_states=[TaskState.RUNNING])
            except ClientError as error:
                raise NotAcceptedError(str(error)) from error
        return [
            SeenTask(task.id, hosts.get(task.node_id, "-"), task.status.state == TaskState.RUNNING) for task in found
        ]

    def processes_of_manager(self, host: Host) -> list[int]:
        return pids(host, MANAGER)

    def start_daemon(self, host: Host) -> None:
        """Start a node's daemon again, as the machine's init system would."""
        host.spawn([DAEMON], host.folder / "daemon.log")

    def start_daemon_at_boot(self) -> None:
        """From now on every host starts its daemon when it boots."""
        for host in self.hosts:
            host.at_boot([DAEMON])

    def _nodes(self) -> list[Node]:
        with self.client() as client:
            try:
                return client.nodes.list()
            except ClientError as error:
                raise NotAcceptedError(str(error)) from error

    def _host(self, node: Node) -> Host:
        return next(host for host in self.hosts if host.name == node.description.hostname)


def manager_socket(host: Host) -> Path:
    """A manager's local socket as reached from outside its host."""
    init = host.init()
    if init is None:
        raise NotAcceptedError(f"{host.name} is not powered on")
    return Path(f"/proc/{init.pid}/root{RUN_DIR}/manager.sock")


def pids(host: Host, program: str) -> list[int]:
    """The pids of a program's processes on a host."""
    return [process.pid for process in host.processes() if process.name == program]
