"""What this machine is - nothing yet, or a node - and how it becomes the one or the other."""

import asyncio
import contextlib
import json
import socket

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.identity import CertificateError
from swarm_api.node_pb2 import (
    InitRequest,
    InitResponse,
    JoinRequest,
    JoinResponse,
    RecoverRequest,
    RecoverResponse,
    RejoinRequest,
    RejoinResponse,
    RestoreRequest,
    RestoreResponse,
    StatusResponse,
)
from swarm_api.types_pb2 import NodeAvailability

from swarm_worker import joining, quorum, rejoining
from swarm_worker.address_watch import AddressWatch, Place, address_towards, is_here, other_managers
from swarm_worker.addresses import check_local, is_on_this_machine, local_address_towards, split, with_port
from swarm_worker.config import Config
from swarm_worker.errors import ManagerError, NodeStateError, StateError, WorkerError
from swarm_worker.files import TaskFiles
from swarm_worker.identity import NodeIdentity
from swarm_worker.member import EngineFactory, Member
from swarm_worker.status import status_of, status_of_waiting
from swarm_worker.storage import NodeFile, NodeStore
from swarm_worker.supervisor import manager_command
from swarm_worker.verbs import output_of

LEAD_S = 20.0  # for the first manager to lead
CONNECT_S = 5.0  # after joining: that long the answer waits for the node to be ready
DRAIN_S = 60.0  # for all containers of a node that leaves
RESTART_S = 1.0
LOOK_S = 1.0  # at this machine's address
_DOCUMENTATION_NET = "192.0.2.1"  # reached by nobody: asks for the way out only

log = structlog.get_logger(__name__)


class Node:
    """The life of this machine as far as the cluster is concerned."""

    def __init__(self, config: Config, engine: EngineFactory) -> None:
        self._config = config
        self._engine = engine
        self._store = NodeStore(config.state_dir)
        self._changing = asyncio.Lock()
        self.member: Member | None = None
        self._running: asyncio.Task[None] | None = None
        self._damage = ""  # why the identity on disk cannot be used
        self._waiting: NodeIdentity | None = None  # for this machine to have its address

    def start(self, *, may_wait: bool = False) -> None:
        """Go to work, if this machine is a node. What is wrong with its identity is told by `status`.

        With `may_wait` a node whose address this machine does not have (yet) is left to `watch_address`.
        """
        self._damage = ""
        try:
            identity = NodeIdentity.load(self._store)
        except StateError as error:
            self._damage = str(error)
            log.error("this node cannot work", reason=self._damage)  # noqa: TRY400 - no traceback for people
            return
        if identity is None:
            log.info("not part of a cluster: waiting for 'swarm-cli init' or 'swarm-cli join'")
        elif may_wait and not is_here(identity.node):
            self._waiting = identity
            log.warning("waiting for this machine to have its address", address=identity.node.advertise_address)
        else:
            self._begin(identity)

    async def stop(self) -> None:
        """Stop working, and the manager too. Containers run on."""
        self._waiting = None
        task, member, self._running, self.member = self._running, self.member, None, None
        if member:
            await member.stop_manager()
        if task:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def status(self) -> StatusResponse:
        """What this machine is and does at the moment."""
        if self.member is not None:
            return status_of(self.member)
        return status_of_waiting(self._waiting) if self._waiting else StatusResponse(last_error=self._damage)

    # ----------------------------------------------------------------------------------------- becoming

    async def init(self, request: InitRequest) -> InitResponse:
        """Make a new cluster with this machine as its first manager."""
        async with self._changing:
            self._refuse_if_node()
            made = await self._create_cluster(request)
            self.start()
            await self._until_leading()
            return InitResponse(**made)

    async def join(self, request: JoinRequest) -> JoinResponse:
        """Become a node of the cluster the token is for."""
        async with self._changing:
            self._refuse_if_node()
            addresses = [with_port(address, "manager address") for address in request.remote_addresses]
            advertise = self._advertised(request, addresses[0] if addresses else "")
            availability: NodeAvailability.ValueType = request.availability
            issued = await joining.join(request.token, addresses, socket.gethostname(), availability)
            await asyncio.to_thread(self._save, issued, advertise, request.listen_address)
            self.start()
            await self._until_connected(CONNECT_S)
            answer = issued.answer
            return JoinResponse(node_id=answer.node_id, cluster_id=answer.cluster_id, role=answer.role)

    async def rejoin(self, request: RejoinRequest) -> RejoinResponse:
        """Take this node back into its cluster; see rejoining.py. A refusal leaves the node as it was."""
        async with self._changing:
            await self._rejoin(request)
            await self._unlock(request.unlock_key)
            await self._until_connected(CONNECT_S)
            return self._rejoined()

    async def _rejoin(self, request: RejoinRequest) -> None:
        identity = NodeIdentity.load(self._store)
        if identity is None:
            raise NodeStateError("This machine is not part of a cluster: 'swarm-cli join' makes it a node.")
        prepared = await rejoining.prepare(identity, request)
        await self.stop()
        try:
            if request.from_own_data:
                await self._program("reissue", "No certificate could be made", request.unlock_key)
            await asyncio.to_thread(prepared.save, self._store)
        finally:
            self.start()
        if request.from_own_data and self.member:
            self.member.renew_certificate()

    async def restore(self, request: RestoreRequest) -> RestoreResponse:
        """Make a cluster of one manager, this machine as a new node, from a backup."""
        async with self._changing:
            self._refuse_if_node()
            failure = "The cluster could not be restored"
            made = json.loads(await output_of(self._restore_command(request), failure, request.passphrase))
            self.start()
            await self._until_leading()
            made["taken_at"] = _from_text(made["taken_at"])
            return RestoreResponse(**made)

    def _restore_command(self, request: RestoreRequest) -> list[str]:
        command = [*manager_command(), "restore", *self._manager_flags(), "--backup", request.path]
        command += ["--advertise-address", self._advertised(request, "")]
        command += ["--availability", NodeAvailability.Name(request.availability).lower()]
        command += ["--nodes-due-after-s", str(request.nodes_due_after.ToTimedelta().total_seconds())]
        if request.listen_address:
            command += ["--listen-address", with_port(request.listen_address, "listen address")]
        return command

    async def recover(self, request: RecoverRequest) -> RecoverResponse:
        """Make this node's manager the only one of the cluster, with all it holds. A refusal leaves it as it was."""
        async with self._changing:
            identity = NodeIdentity.load(self._store)
            if identity is None or not identity.node.is_manager:
                raise NodeStateError("This machine runs no manager: recover on one that does.")
            if ended := identity.expiry_error():  # then the others do not tell us whether they have a quorum, either
                raise NodeStateError(f"{ended} Recover after that.")
            if not request.even_with_quorum:
                await quorum.refuse_if_it_lives(identity)
            await self.stop()
            try:
                made = json.loads(
                    await self._program("recover", "The cluster could not be recovered", request.unlock_key)
                )
            finally:
                self.start()
            await self._unlock(request.unlock_key)
            await self._until_leading()
            return RecoverResponse(**made)

    async def _program(self, verb: str, failure: str, unlock_key: str) -> bytes:
        """What the manager's program says to a verb that works on the data of a manager that does not run."""
        command = [*manager_command(), verb, *self._manager_flags()]
        if unlock_key:
            command += ["--unlock-key-fd", "0"]
        return await output_of(command, failure, unlock_key.encode())

    async def _unlock(self, unlock_key: str) -> None:
        """Unlock the manager that was just started, where a key was given."""
        if self.member and unlock_key:
            await self.member.unlock_manager(unlock_key)

    def _manager_flags(self) -> list[str]:
        flags = ["--state-dir", str(self._config.state_dir)]
        return [*flags, "--config", str(self._config.config_file)] if self._config.config_file else flags

    def _rejoined(self) -> RejoinResponse:
        status = self.status()
        why = status.manager_state if status.locked else status.last_error
        waiting_for = "" if status.connected else why
        return RejoinResponse(
            node_id=status.node_id,
            role=status.role,
            connected=status.connected,
            waiting_for=waiting_for,
            certificate_ends=status.certificate_ends,
        )

    def _refuse_if_node(self) -> None:
        if self.member is not None or self._store.load_node() is not None:
            raise NodeStateError("This machine is a node already: 'swarm-cli leave' first, to make it one anew.")

    async def _create_cluster(self, request: InitRequest) -> dict[str, str]:
        advertise = self._advertised(request, "")
        command = [*manager_command(), "init", *self._manager_flags()]
        command += ["--advertise-address", advertise]
        command += ["--availability", NodeAvailability.Name(request.availability).lower()]
        optional = {
            "--listen-address": request.listen_address and with_port(request.listen_address, "listen address"),
            "--name": request.name,
            "--subnet-prefix-length": request.subnet_prefix_length,
            "--vxlan-port": request.vxlan_port,
        }
        for flag, value in optional.items():
            command += [flag, str(value)] if value else []
        if request.autolock:
            command += ["--autolock"]
        for pool in request.address_pools:
            command += ["--address-pool", pool]
        answer: dict[str, str] = json.loads(await output_of(command, "The cluster could not be made"))
        return answer

    def _advertised(self, request: InitRequest | JoinRequest | RestoreRequest, remote: str) -> str:
        if request.advertise_address:
            check_local(request.advertise_address, may_be_forwarded=bool(request.listen_address))
            return with_port(request.advertise_address, "advertise address")
        host, port = split(remote) if remote else (_DOCUMENTATION_NET, 9)
        return with_port(local_address_towards(host, port), "advertise address")

    def _save(self, issued: joining.Issued, advertise: str, listen: str) -> None:
        answer = issued.answer
        try:
            role = issued.credentials.identity().role
        except CertificateError as error:
            raise NodeStateError(
                f"The manager at {issued.manager} gave a certificate that is no good: {error}."
            ) from error
        managers = tuple(peer.address for peer in answer.managers) or (issued.manager,)
        node = NodeFile(
            answer.node_id, answer.cluster_id, role, advertise, listen and with_port(listen, "listen address")
        )
        issued.credentials.save(self._store.node_dir)
        self._store.save_node(node.with_managers(managers))

    async def _until_leading(self) -> None:
        await self._until_connected(LEAD_S)
        member = self.member
        if member and not member.session.connected.is_set():
            words = member.supervisor.last_words() if member.supervisor else member.session.last_error
            raise ManagerError(
                f"The cluster was made, but its manager does not lead after {LEAD_S:.0f} s ({words}); see "
                f"{self._store.log_dir / 'manager.log'}."
            )

    async def _until_connected(self, timeout_s: float) -> None:
        if self.member:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.member.session.connected.wait()

    # ------------------------------------------------------------------------------------------- leaving

    async def leave(self, *, force: bool) -> None:
        """Stop this node's containers and manager, remove its identity."""
        async with self._changing:
            self._wait_no_longer()
            member = self.member
            if member is None:
                await self._forget(force=force)
                return
            await self._leave_raft(member, force=force)
            drained = await member.leave_tasks(DRAIN_S if member.agent.engine_up else 0.0)
            if not drained:
                log.warning("left with containers that could not be removed")
            await self.stop()
            await asyncio.to_thread(TaskFiles(self._config.run_dir).close)
            await asyncio.to_thread(self._store.forget_everything)

    async def _forget(self, *, force: bool) -> None:
        """Remove an identity that cannot be used."""
        try:
            node = self._store.load_node()
        except StateError:
            if not force:
                raise
            node = None
        if node is None and not force:
            raise NodeStateError("This machine is not part of a cluster.")
        await asyncio.to_thread(self._store.forget_everything)
        self._damage = ""

    async def _leave_raft(self, member: Member, *, force: bool) -> None:
        try:
            await member.leave_raft()
        except ManagerError as error:
            if not force:
                raise ManagerError(f"{error} Use --force to leave all the same.") from error
            log.warning("leaving by force", reason=str(error))

    # ---------------------------------------------------------------------------------------- its address

    async def watch_address(self) -> None:
        """Keep this node where its machine is, until cancelled: see address_watch.py."""
        watch = AddressWatch(asyncio.get_running_loop().time)
        while True:
            async with self._changing:
                try:
                    await self._follow_address(watch)
                except (WorkerError, OSError) as error:
                    log.warning("this node cannot go on at another address", reason=str(error))
            await asyncio.sleep(LOOK_S)

    async def _follow_address(self, watch: AddressWatch) -> None:
        identity = self.member.identity if self.member else self._waiting
        if identity is None:
            return
        place = watch.look(identity.node)
        if place is Place.OTHER:
            watch.begin_anew()
            try:
                await self._move(identity.node)
            finally:
                self._wait_no_longer()
        elif place is Place.SAME:
            self._wait_no_longer()

    async def _move(self, node: NodeFile) -> None:
        """Go on at the address this machine has; a WorkerError leaves the node where it is known."""
        managers = other_managers(node)
        address = await asyncio.to_thread(address_towards, node, managers)
        if address is None:
            raise NodeStateError(
                f"This machine does not have the address {node.advertise_address} any more, and no way to another "
                "manager: run 'swarm-cli rejoin --advertise-address NEW' when it has one."
            )
        await self._rejoin(RejoinRequest(advertise_address=address, remote_addresses=managers))
        log.warning("this machine's address changed", old=node.advertise_address, new=address)

    def _wait_no_longer(self) -> None:
        identity, self._waiting = self._waiting, None
        if identity is not None:
            self._begin(identity)

    # ----------------------------------------------------------------------------------------- at work

    def _begin(self, identity: NodeIdentity) -> None:
        address = identity.node.advertise_address
        if not is_on_this_machine(address):
            log.warning(
                "this machine does not have the address that others know it by; unless something else forwards it, run "
                "'swarm-cli rejoin --advertise-address NEW'",
                address=address,
            )
        self.member = Member(self._config, self._store, identity, self._engine)
        self._running = asyncio.get_running_loop().create_task(self._keep_working(self.member))

    async def _keep_working(self, member: Member) -> None:
        """Run the member; should it ever fail, say so and begin again: containers are adopted."""
        while True:
            try:
                await member.run()
            except* Exception:
                log.exception("the node's work failed; it begins again")
            if member is not self.member:
                return  # stopped in the same moment: the failure hid the cancellation
            await asyncio.sleep(RESTART_S)
            member = self.member = Member(self._config, self._store, member.identity, self._engine)


def _from_text(moment: str) -> Timestamp:
    stamp = Timestamp()
    stamp.FromJsonString(moment)
    return stamp
