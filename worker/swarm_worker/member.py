"""This machine as a node: everything that runs while it is one.

    agent         runs the tasks                     session       keeps in touch with the leader
    certificates  keeps the certificate valid        supervisor    keeps the manager running, on a manager node

A role changes by its certificate: the leader says which role it wants, a certificate with that role is fetched, and
then the manager is started, or stopped and its data removed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import structlog
from swarm_api.control_pb2 import UnlockRequest
from swarm_api.control_pb2_grpc import ControlStub
from swarm_api.raft_pb2 import RaftLeaveRequest
from swarm_api.raft_pb2_grpc import RaftMembershipStub
from swarm_api.specs_pb2 import NodeSpec

from swarm_worker.addresses import split
from swarm_worker.agent import Agent
from swarm_worker.certificates import Certificates
from swarm_worker.channels import ChannelPool, open_channel
from swarm_worker.config import Config
from swarm_worker.errors import ManagerError
from swarm_worker.files import TaskFiles
from swarm_worker.identity import NodeIdentity
from swarm_worker.networking import Network
from swarm_worker.runtime import Runtime
from swarm_worker.session import CONNECT_S, Session
from swarm_worker.storage import NodeFile, NodeStore
from swarm_worker.supervisor import Supervisor, manager_command

LEAVE_RAFT_S = 10.0
UNLOCK_S = 20.0
GOODBYE_S = 2.0  # for the last reports
_AT_ONCE = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100))  # it is starting

#: Makes what runs containers and joins them, for a node.
EngineFactory = Callable[[Config, NodeFile], tuple[Runtime, Network]]

log = structlog.get_logger(__name__)


class Member:
    """A node at work. Belongs to the loop that calls `run`."""

    def __init__(self, config: Config, store: NodeStore, identity: NodeIdentity, engine: EngineFactory) -> None:
        self.identity = identity
        self._config = config
        self._store = store
        node = identity.node
        runtime, network = engine(config, node)
        self.agent = Agent(
            runtime, network, store, TaskFiles(config.run_dir), node_id=node.node_id, cluster_id=node.cluster_id
        )
        self.session = Session(
            self.agent,
            ChannelPool(lambda address: open_channel(address, identity.credentials, CONNECT_S)),
            tuple(identity.manager_addresses()),
            node_address=split(node.advertise_address)[0],
            on_managers=self._on_managers,
            on_node=self._on_node,
        )
        self.supervisor: Supervisor | None = None
        self._certificates = Certificates(identity, self._on_renewed)
        self._group = asyncio.TaskGroup()
        self._session_task: asyncio.Task[None] | None = None
        self._supervising: asyncio.Task[None] | None = None
        self._ending = False  # the manager is being stopped, and its data removed

    @property
    def manager_state(self) -> str:
        """Of the manager on this node, for people; empty when there is none."""
        if self.manager_is_locked:
            return "locked since it was started: run 'swarm-cli unlock' on this machine"
        return self.supervisor.state if self.supervisor else ""

    @property
    def manager_is_locked(self) -> bool:
        """Whether the manager on this node waits for the unlock key."""
        return self.supervisor is not None and self._config.locked_mark.exists()

    async def run(self) -> None:
        """Work until cancelled. Containers and the manager run on."""
        async with self._group:
            self._match_role()
            self._group.create_task(self.agent.run(), name="agent")
            self._group.create_task(self._certificates.run(), name="certificates")
            self._session_task = self._group.create_task(self.session.run(), name="session")

    # --------------------------------------------------------------------------------------------- role

    def _on_managers(self, addresses: tuple[str, ...]) -> None:
        self._spawn(asyncio.to_thread(self.identity.learn_managers, addresses))

    def _on_node(self, spec: NodeSpec) -> None:
        self._certificates.want_role(spec.role)

    def _on_renewed(self) -> None:
        self._match_role()
        self.session.renew()

    def _match_role(self) -> None:
        """Have a manager running exactly if the certificate is a manager's."""
        if self._ending:
            return  # the role is looked at again when that is done
        if self.identity.node.is_manager and self.supervisor is None:
            self.supervisor = self._new_supervisor()
            self._supervising = self._group.create_task(self.supervisor.run(), name="manager")
        elif not self.identity.node.is_manager and self.supervisor is not None:
            log.info("this node is no manager any more")
            self._ending = True
            self._spawn(self._end_manager())

    def _new_supervisor(self) -> Supervisor:
        config = self._config
        command = [*manager_command(), "run", "--state-dir", str(config.state_dir), "--run-dir", str(config.run_dir)]
        if config.config_file:
            command += ["--config", str(config.config_file)]
        return Supervisor(command, self._store.log_dir / "manager.log", config.run_dir / "manager.pid")

    async def _end_manager(self) -> None:
        """Promoted again meanwhile, the node gets a new manager only after the data of the old one are gone."""
        await self.stop_manager()
        await asyncio.to_thread(self._store.forget_manager)
        self._ending = False
        self._match_role()

    def renew_certificate(self) -> None:
        """Have a manager make a new certificate, and note it in the cluster's state."""
        self._certificates.renew_now()

    async def stop_manager(self) -> None:
        """End this node's manager, if it has one."""
        supervisor, task = self.supervisor, self._supervising
        self.supervisor = self._supervising = None
        if task:
            task.cancel()
        if supervisor:
            await supervisor.stop()

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        self._group.create_task(work)

    # -------------------------------------------------------------------------------------------- leaving

    async def leave_raft(self) -> None:
        """Take this node's manager out of Raft. ManagerError: it cannot be, and why."""
        if not self.identity.node.is_manager:
            return
        async with grpc.aio.insecure_channel(f"unix:{self._config.manager_socket}") as channel:
            request = RaftLeaveRequest(node_id=self.identity.node.node_id)
            try:
                await RaftMembershipStub(channel).Leave(request, timeout=LEAVE_RAFT_S)
            except grpc.aio.AioRpcError as error:
                raise ManagerError(error.details() or error.code().name) from error

    async def unlock_manager(self, unlock_key: str) -> None:
        """Unlock this node's manager as soon as it can be asked; nothing to do where it turns out not to be locked.

        That this node has a session says nothing of its own manager: another one may lead.
        ManagerError: it does not start, or the key is another one.
        """
        channel = grpc.aio.insecure_channel(f"unix:{self._config.manager_socket}", _AT_ONCE)
        try:
            async with asyncio.timeout(UNLOCK_S), channel:
                await ControlStub(channel).Unlock(UnlockRequest(unlock_key=unlock_key), wait_for_ready=True)
        except TimeoutError:
            raise ManagerError(f"The manager does not start within {UNLOCK_S:.0f} s ({self.manager_state}).") from None
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION or self.manager_is_locked:
                raise ManagerError(error.details() or error.code().name) from error

    async def leave_tasks(self, timeout_s: float) -> bool:
        """Stop and remove all tasks, tell the leader, and take the networks down; whether all were gone in time."""
        drained = await self.agent.drain(timeout_s)
        await self.session.take_leave(GOODBYE_S)
        if self._session_task:
            self._session_task.cancel()
        await self.agent.leave_networks()
        return drained
