"""The parts of a running manager, wired together: from start to an orderly end.

certificate file ─┬─ Raft (own thread, own port) ── store ─┬─ leader's loops (while leading)
                  └─ gRPC on TCP (mTLS) ──┐                │
                     gRPC on the socket ──┴─ gate ─ nouns ─┘
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc
import structlog
from swarm_api.ca_pb2_grpc import add_CaServicer_to_server
from swarm_api.control_pb2_grpc import add_ControlServicer_to_server
from swarm_api.dispatcher_pb2_grpc import add_DispatcherServicer_to_server
from swarm_api.identity import ROLE_MANAGER, CertificateError, NodeCredentials
from swarm_api.objects_pb2 import Cluster, Node
from swarm_api.raft_pb2_grpc import add_RaftMembershipServicer_to_server

from swarm_manager import garbage, raft_folder
from swarm_manager.api.auth import Authenticate, Authenticator, local_admin
from swarm_manager.api.ca import CaRpcs
from swarm_manager.api.control import ControlRpcs
from swarm_manager.api.dispatcher import DispatcherRpcs
from swarm_manager.api.forward import Forwarder
from swarm_manager.api.gate import Gate
from swarm_manager.api.leadership import StoreLeadership
from swarm_manager.api.listener import Listener, bind
from swarm_manager.api.membership import MembershipRpcs
from swarm_manager.api.peers import PeerChannels
from swarm_manager.api.reports import Reports
from swarm_manager.api.rules import read_rules
from swarm_manager.api.sessions import Sessions
from swarm_manager.api.trust import TrustSource
from swarm_manager.config import NodeFile, Settings, raft_address, split_address
from swarm_manager.credentials import ChangeNotice, CredentialsFile
from swarm_manager.errors import ManagerError, NotLeaderError, StartError
from swarm_manager.joining import join, seeds
from swarm_manager.leader.autopilot import Autopilot
from swarm_manager.leader.founding import Founding
from swarm_manager.leader.managers import ManagerKeeper
from swarm_manager.leader.nodes import NodeMonitor
from swarm_manager.leader.planning import Planning
from swarm_manager.leader.reign import Reign
from swarm_manager.leader.telling import Telling
from swarm_manager.locking import KeyKeeper, unlock_key_from_people
from swarm_manager.members_file import forget, load_members
from swarm_manager.raft.config import Member, RaftConfig
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.errors import RaftError
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.replica import Replica
from swarm_manager.raft.sealed_disk import open_folder
from swarm_manager.raft.store import ReplicatedStore
from swarm_manager.raft.tls_identity import TlsIdentity
from swarm_manager.seed_file import SeedFile

_log = structlog.get_logger("manager")
_SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second manager on the port would silently share it
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # Only against connections that are dead for good: whether a node lives its heartbeats tell. A busy machine that
    # answers a ping too late would have all its connections cut, and be busier still when they are made again.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.bdp_probe", 0),  # a ping to measure the line with each heartbeat; a fixed window is enough
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
)
_LOOK_S = 1.0
_HAND_OVER_S = 3.0
_GRACE_S = 0.3
_SOCKET_PATH_LIMIT = 107  # Linux's, in bytes


class StateReader:
    """`auth.State` over the store."""

    def __init__(self, store: ReplicatedStore) -> None:
        self._store = store

    def cluster(self) -> Cluster | None:
        """The cluster, once this manager has it."""
        return self._store.snapshot.cluster

    def node(self, node_id: str) -> Node | None:
        """A node by id."""
        return self._store.snapshot.nodes.get(node_id)


class Manager:
    """One manager process."""

    def __init__(self, settings: Settings) -> None:
        """Read identity and addresses; StartError when they are no good."""
        self._settings = settings
        self._node = NodeFile.load(settings.node_dir)
        self._credentials = _load_credentials(settings)
        self._listen = _listen_address(settings, self._node)
        self._peers = PeerChannels(self._credentials.current)
        self._stopping = asyncio.Event()
        self._store = ReplicatedStore()
        self._leadership = StoreLeadership(self._store)
        self._sessions = Sessions(asyncio.get_running_loop().time)
        self._reports = Reports(self._store)
        self._listener = self._make_listener()
        self._inside: grpc.aio.Server | None = None  # on the local socket
        self._replica: Replica | None = None
        self._key_file: KeyFile | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; StartError when that is impossible."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            if await self._until_stopped(self._start()):
                _log.info("serving", address=self._listen, node=self._node.node_id)
                await self._until_stopped(self._keep_going())
        finally:
            await self._stop()

    async def _until_stopped(self, work: Any) -> bool:
        """Whether the work ended before a signal to stop did it."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return False
        task.result()
        return True

    # ------------------------------------------------------------------------------------------ start

    async def _start(self) -> None:
        self._settle_raft_folder()
        self._key_file = self._open_key_file()
        unlock_key = await self._unlock_key(self._key_file)
        members, joining = load_members(self._settings) or (None, True)
        if members is None:
            members = await join(self._settings, self._node, self._peers)
        await self._start_raft(members, self._key_file, unlock_key, joining=joining)
        await self._start_servers()

    def _settle_raft_folder(self) -> None:
        try:
            raft_folder.settle(self._settings)
        except OSError as error:
            raise StartError(f"{self._settings.raft_dir} cannot be put in place: {error.strerror or error}") from error

    def _open_key_file(self) -> KeyFile:
        try:
            return KeyFile(LocalDisk(self._settings.key_dir))
        except (RaftError, OSError) as error:
            raise StartError(f"the manager's keys cannot be read: {error}") from error

    async def _unlock_key(self, key_file: KeyFile) -> bytes | None:
        """What people unlock this manager with; None: it is not locked."""
        mark = self._settings.locked_mark
        try:
            mark.unlink(missing_ok=True)  # of a manager that was killed
            if key_file.is_locked:
                return await unlock_key_from_people(key_file, mark, self._bind_socket)
        except (RaftError, OSError) as error:
            raise StartError(f"the manager's keys cannot be used: {error}") from error
        return None

    async def _start_raft(
        self, members: tuple[Member, ...], key_file: KeyFile, unlock_key: bytes | None, *, joining: bool
    ) -> None:
        own = raft_address(self._node.advertise_address)
        try:
            config = RaftConfig(
                node_id=self._node.node_id,
                listen=raft_address(self._listen),
                advertise=own,
                cluster_id=self._node.cluster_id,
                members=members,
                joining=joining,
                seeds=await asyncio.to_thread(seeds, self._node),
            )
            identity = TlsIdentity(self._credentials.current())
            disk = await asyncio.to_thread(open_folder, self._settings.raft_dir, key_file, unlock_key)
            make = partial(
                Replica,
                config,
                self._store.machine,
                identity,
                disk=disk,
                is_revoked=self._store.is_revoked,
                is_demoted=self._store.is_demoted,
            )
            replica = await asyncio.to_thread(make)
        except (RaftError, OSError, ValueError) as error:
            raise StartError(f"Raft cannot start: {error}") from error
        self._store.attach(replica)
        self._replica = replica
        self._seed = SeedFile(self._settings.seed_file, disk.ring)
        self._keeper = KeyKeeper(disk, lambda: self._store.snapshot.cluster)
        garbage.settle()
        self._renewal = ChangeNotice(self._credentials, lambda fresh: _replace(identity, fresh))
        replica.start()

    async def _start_servers(self) -> None:
        await self._listener.open()
        self._inside = self._server(local_admin)
        await self._bind_socket(self._inside)

    def _make_listener(self) -> Listener:
        trust = TrustSource(lambda: self._store.snapshot.cluster, self._credentials.current().ca_pem)
        authenticate = Authenticator(trust, StateReader(self._store))
        return Listener(self._listen, partial(self._server, authenticate), self._credentials, trust)

    def _server(self, authenticate: Authenticate, options: Sequence[tuple[str, int]] = ()) -> grpc.aio.Server:
        gate = Gate(authenticate, read_rules(), Forwarder(self._leadership, self._peers))
        server = grpc.aio.server(interceptors=[gate], options=(*_SERVER_OPTIONS, *options))
        add_ControlServicer_to_server(ControlRpcs(self._store), server)
        dispatcher = DispatcherRpcs(self._store, self._leadership, self._sessions, self._reports)
        add_DispatcherServicer_to_server(dispatcher, server)
        add_CaServicer_to_server(CaRpcs(self._store), server)
        add_RaftMembershipServicer_to_server(MembershipRpcs(self._store, self._store), server)
        return server

    async def _bind_socket(self, server: grpc.aio.Server) -> None:
        path = self._settings.socket_path
        if len(str(path)) > _SOCKET_PATH_LIMIT:
            raise StartError(f"the path {path} is too long for a socket; choose a shorter --run-dir")
        address = f"unix:{path}"
        with contextlib.suppress(OSError):  # what is wrong with it shows below
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        before = os.umask(0o177)  # nobody but root, from the first moment on
        try:
            path.unlink(missing_ok=True)
            bind(lambda: server.add_insecure_port(address), address)
            await server.start()
            path.chmod(0o600)
        except OSError as error:
            raise StartError(f"{path} cannot be made: {error.strerror or error}") from error
        finally:
            os.umask(before)

    # ---------------------------------------------------------------------------------------- running

    async def _keep_going(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reign().run())
            group.create_task(self._look_around())
            if self._settings.metrics_address:
                from swarm_manager.metrics import serve

                group.create_task(serve(self._settings.metrics_address, self._store))

    def _reign(self) -> Reign:
        store, sessions = self._store, self._sessions
        return Reign(
            {
                "founding": Founding(store, self._seed).run,
                "planning": Planning(store).run,
                "telling": Telling(store, sessions).run,
                "nodes": NodeMonitor(store, sessions).run,
                "reports": self._reports.run,
                "autopilot": Autopilot(store).run,
                "managers": ManagerKeeper(store, store, sessions).run,
            },
            reign=lambda: store.reign,
            changed=store.reign_changed,
            begin=sessions.begin,
            end=self._abdicate,
        )

    def _abdicate(self) -> None:
        reason = NotLeaderError("This manager does not lead any more.")
        self._sessions.end(reason)
        self._reports.abandon(reason)

    async def _look_around(self) -> None:
        """What nobody tells us: a new certificate or unlock key, and that the cluster goes on without this manager."""
        while not (self._store.raft.removed or self._store.raft.superseded):
            await asyncio.sleep(_LOOK_S)
            self._renewal.look()
            await self._listener.look()
            await self._keeper.look()
        if self._store.raft.removed:
            _log.warning("this manager was taken out of the cluster; its Raft data is removed")
        else:
            _log.warning("this manager's Raft data are of an earlier era of the cluster; they are moved aside")
        self._stopping.set()

    # ------------------------------------------------------------------------------------------- stop

    async def _stop(self) -> None:
        await self._hand_over()
        inside = [] if self._inside is None else [self._inside.stop(_GRACE_S)]
        await asyncio.gather(self._listener.close(_GRACE_S), *inside)
        await self._peers.close()
        self._settings.socket_path.unlink(missing_ok=True)
        removed = superseded = False
        if self._replica is not None:
            status = self._replica.status()
            removed, superseded = status.removed, status.superseded
            await asyncio.to_thread(self._replica.stop)
        if self._key_file is not None:
            self._key_file.close()
        if removed:
            forget(self._settings)
        elif superseded:
            raft_folder.give_up(self._settings)

    async def _hand_over(self) -> None:
        raft = self._store.raft
        if not raft.leads or sum(member.voter for member in raft.members.values()) < 2:
            return
        try:
            async with asyncio.timeout(_HAND_OVER_S):
                await self._store.transfer_leadership()
        except (ManagerError, TimeoutError) as error:
            _log.warning("stopping without having handed over", why=str(error))


def _replace(identity: TlsIdentity, fresh: NodeCredentials) -> None:
    try:
        identity.replace(fresh)
    except (RaftError, ValueError) as error:
        _log.warning("Raft links keep their old certificate", why=str(error))


def _load_credentials(settings: Settings) -> CredentialsFile:
    try:
        found = CredentialsFile(settings.node_dir)
        role = found.current().identity().role
    except (OSError, CertificateError) as error:
        raise StartError(
            f"the node's certificate in {settings.node_dir} cannot be used ({error}): leave the cluster and join again"
        ) from error
    if role != ROLE_MANAGER:
        raise StartError("this node is a worker: promote it with 'swarm-cli node promote' on a manager")
    return found


def _listen_address(settings: Settings, node: NodeFile) -> str:
    _, port = split_address(node.advertise_address, "advertise_address in node.json")
    listen = settings.listen_address or node.listen_address or f"0.0.0.0:{port}"
    split_address(listen, "--listen-address")
    return listen
