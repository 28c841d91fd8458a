"""The leader's side of the workers: sessions, heartbeats and reports.

Only the leader answers; another manager names it in the trailing metadata `leader-address`.
"""

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.duration_pb2 import Duration
from swarm_api.defaults import HEARTBEAT_PERIOD_S
from swarm_api.dispatcher_pb2 import (
    Assignment,
    HeartbeatRequest,
    HeartbeatResponse,
    SessionMessage,
    SessionRequest,
    UpdateTaskStatusRequest,
    UpdateTaskStatusResponse,
)
from swarm_api.dispatcher_pb2_grpc import DispatcherServicer
from swarm_api.objects_pb2 import Node
from swarm_api.specs_pb2 import NodeSpec

from swarm_manager.api.auth import caller
from swarm_manager.api.ca import effective_role
from swarm_manager.api.forward import Leadership
from swarm_manager.api.managers import peers
from swarm_manager.api.reports import Reports
from swarm_manager.api.sessions import NodeSession, Sessions
from swarm_manager.core.dispatch import Assignments, difference
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import seconds_ns
from swarm_manager.errors import DeniedError, NotFoundError, RefusedError
from swarm_manager.ports import Store

LEADER_ADDRESS = "leader-address"


class NotTheLeaderError(RefusedError):
    """This manager does not lead; the trailing metadata says who does."""

    def __init__(self, leader_address: str | None) -> None:
        super().__init__("This manager does not lead; ask the leader.")
        self.trailing = ((LEADER_ADDRESS, leader_address),) if leader_address else ()


class DispatcherRpcs(DispatcherServicer):
    """Session, Heartbeat, UpdateTaskStatus."""

    def __init__(self, store: Store, leadership: Leadership, sessions: Sessions, reports: Reports) -> None:
        self._store = store
        self._leadership = leadership
        self._sessions = sessions
        self._reports = reports
        self._computed: tuple[Snapshot, Assignments] | None = None

    async def Session(self, request: SessionRequest, context: Any) -> AsyncIterator[SessionMessage]:  # noqa: N802, ARG002 - gRPC's
        """Register the caller's node, then stream what it must know until either side ends it."""
        self._refuse_unless_leading()
        node_id = caller().node_id
        if node_id not in (await self._store.read()).nodes:
            raise DeniedError(f"Node {node_id} was removed from the cluster; leave, then join again.")
        session = self._sessions.open(node_id, request.boot_id)
        try:
            await self._reports.submit(node_id, [], request.description, request.address)
            async for message in self._messages(session):
                yield message
        finally:
            self._sessions.close(session)

    async def _messages(self, session: NodeSession) -> AsyncIterator[SessionMessage]:
        while True:
            session.wake.clear()
            if session.ended is not None:
                raise self._reason(session)
            message = self._next(session, self._store.snapshot)
            if message is not None:
                yield message
            await session.wake.wait()

    def _reason(self, session: NodeSession) -> Exception:
        assert session.ended is not None
        if self._sessions.term is None:
            return NotTheLeaderError(self._leadership.leader_address())
        return session.ended

    def _next(self, session: NodeSession, snapshot: Snapshot) -> SessionMessage | None:
        """What the node does not know yet; None when it knows all."""
        node = snapshot.nodes.get(session.node_id)
        if node is None:
            raise NotFoundError(f"Node {session.node_id} was removed from the cluster.")
        message = SessionMessage(session_id=session.id, term=self._sessions.term or 0)
        first = session.sent is None
        changed = _fill_assignments(message, session, self._assignments(snapshot).for_node(session.node_id))
        changed |= self._fill_node(message, session, node)
        changed |= _fill_managers(message, session, snapshot)
        if not first and not changed:
            return None
        session.sequence += 1
        message.sequence = session.sequence
        message.heartbeat_period.CopyFrom(heartbeat_period(snapshot))
        return message

    def _assignments(self, snapshot: Snapshot) -> Assignments:
        """Those of one snapshot share what all nodes are told alike, so they are kept while sessions ask for them."""
        if self._computed is None or self._computed[0] is not snapshot:
            self._computed = (snapshot, Assignments(snapshot))
        return self._computed[1]

    def _fill_node(self, message: SessionMessage, session: NodeSession, node: Node) -> bool:
        wanted = NodeSpec()
        wanted.CopyFrom(node.spec)
        wanted.role = effective_role(node, is_member=node.id in self._store.raft.members)
        if session.sent_node == wanted:
            return False
        session.sent_node = wanted
        message.node.CopyFrom(wanted)
        return True

    async def Heartbeat(self, request: HeartbeatRequest, context: Any) -> HeartbeatResponse:  # noqa: N802, ARG002 - gRPC's
        """Note that the node lives."""
        self._refuse_unless_leading()
        self._sessions.heard(caller().node_id, request.session_id)
        return HeartbeatResponse(period=heartbeat_period(self._store.snapshot))

    async def UpdateTaskStatus(  # noqa: N802 - gRPC's
        self,
        request: UpdateTaskStatusRequest,
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> UpdateTaskStatusResponse:
        """Commit what the node observed."""
        self._refuse_unless_leading()
        node_id = caller().node_id
        self._sessions.heard(node_id, request.session_id)
        node = self._store.snapshot.nodes.get(node_id)
        description = request.description if request.HasField("description") else None
        address = node.status.address if node is not None else ""
        await self._reports.submit(node_id, list(request.reports), description, address)
        return UpdateTaskStatusResponse()

    def _refuse_unless_leading(self) -> None:
        if not self._leadership.leads() or self._sessions.term is None:
            raise NotTheLeaderError(self._leadership.leader_address())


def heartbeat_period(snapshot: Snapshot) -> Duration:
    """How often nodes are to say that they live."""
    cluster = snapshot.cluster
    if cluster is not None and cluster.spec.HasField("heartbeat_period"):
        return cluster.spec.heartbeat_period
    period = Duration()
    period.FromNanoseconds(seconds_ns(HEARTBEAT_PERIOD_S))
    return period


def _fill_assignments(message: SessionMessage, session: NodeSession, wanted: dict[str, Assignment]) -> bool:
    changed, removed = difference(session.sent or {}, wanted)
    message.full = session.sent is None
    message.set.extend(changed)
    message.removed.extend(removed)
    session.sent = wanted
    return bool(changed or removed)


def _fill_managers(message: SessionMessage, session: NodeSession, snapshot: Snapshot) -> bool:
    managers = peers(snapshot)
    if session.sent_managers == managers:
        return False
    session.sent_managers = managers
    message.managers.extend(managers)
    return True
