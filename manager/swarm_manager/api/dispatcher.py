"""The leader's side of the workers: sessions, heartbeats and reports.

Only the leader answers; another manager names it in the trailing metadata `leader-address`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from swarm_api.dispatcher_pb2 import (
    HeartbeatRequest,
    HeartbeatResponse,
    ManagerPeer,
    SessionMessage,
    SessionRequest,
    UpdateTaskStatusRequest,
    UpdateTaskStatusResponse,
)
from swarm_api.dispatcher_pb2_grpc import DispatcherServicer
from swarm_api.errors import LEADER_ADDRESS
from swarm_api.objects_pb2 import Node
from swarm_api.specs_pb2 import NodeSpec

from swarm_manager.api.auth import caller
from swarm_manager.api.ca import effective_role
from swarm_manager.api.forward import Leadership
from swarm_manager.api.managers import peers
from swarm_manager.api.reports import Reports
from swarm_manager.api.sessions import NodeSession, Sessions
from swarm_manager.core.dispatch import NOTHING, Assignments
from swarm_manager.core.heartbeats import period_ns
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import DeniedError, NotFoundError, RefusedError
from swarm_manager.ports import Store


class NotTheLeaderError(RefusedError):
    """This manager does not lead; the trailing metadata says who does."""

    def __init__(self, leader_address: str | None) -> None:
        super().__init__("This manager does not lead; ask the leader.")
        self.trailing = ((LEADER_ADDRESS, leader_address),) if leader_address else ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What all nodes' messages are made from; kept while sessions ask for the same snapshot."""

    snapshot: Snapshot
    assignments: Assignments


class DispatcherRpcs(DispatcherServicer):
    """Session, Heartbeat, UpdateTaskStatus."""

    def __init__(self, store: Store, leadership: Leadership, sessions: Sessions, reports: Reports) -> None:
        self._store = store
        self._leadership = leadership
        self._sessions = sessions
        self._reports = reports
        self._picture: Picture | None = None

    async def Session(  # type: ignore[override]  # noqa: N802 - gRPC's; the gate passes bytes on as they are
        self,
        request: SessionRequest,
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> AsyncIterator[bytes]:
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

    async def _messages(self, session: NodeSession) -> AsyncIterator[bytes]:
        while True:
            session.wake.clear()
            session.urgent.clear()
            if session.ended is not None:
                raise self._reason(session)
            message = self._next(session, self._store.snapshot)
            if message is not None:
                yield message
                await session.rest(*self._sessions.pauses_s)
            await session.wake.wait()

    def _reason(self, session: NodeSession) -> Exception:
        assert session.ended is not None
        if self._sessions.term is None:
            return NotTheLeaderError(self._leadership.leader_address())
        return session.ended

    def _next(self, session: NodeSession, snapshot: Snapshot) -> bytes | None:
        """What the node does not know yet, as the bytes of a message; None when it knows all."""
        node = snapshot.nodes.get(session.node_id)
        if node is None:
            raise NotFoundError(f"Node {session.node_id} was removed from the cluster.")
        message = SessionMessage(session_id=session.id, term=self._sessions.term or 0)
        picture = self._picture_of(snapshot)
        message.full = session.sent is None
        changed = _changed_assignments(session, picture.assignments)
        news = [bool(changed), self._fill_node(message, session, node)]
        news.append(_fill_managers(message, session, peers(self._store.raft)))
        if not message.full and not any(news):
            return None
        session.sequence += 1
        message.sequence = session.sequence
        message.heartbeat_period.CopyFrom(heartbeat_period(snapshot))
        return message.SerializeToString() + changed

    def _picture_of(self, snapshot: Snapshot) -> Picture:
        if self._picture is None or self._picture.snapshot is not snapshot:
            before = self._picture.assignments if self._picture is not None else None
            self._picture = Picture(snapshot, Assignments(snapshot, before))
        return self._picture

    def _fill_node(self, message: SessionMessage, session: NodeSession, node: Node) -> bool:
        wanted = NodeSpec()
        wanted.CopyFrom(node.spec)
        wanted.role = effective_role(node, is_member=node.id in self._store.raft.members)
        if session.sent_node == wanted:
            return False
        session.sent_node = wanted
        message.node.CopyFrom(wanted)
        return True

    async def Heartbeat(  # noqa: N802 - gRPC's
        self,
        request: AsyncIterator[HeartbeatRequest],
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> AsyncIterator[HeartbeatResponse]:
        """Note each time that the node lives."""
        node_id = caller().node_id
        async for one in request:
            self._refuse_unless_leading()
            self._sessions.heard(node_id, one.session_id)
            yield HeartbeatResponse(period=heartbeat_period(self._store.snapshot))

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
        await self._reports.submit(node_id, list(request.reports), description, address, leaves=request.leaving)
        return UpdateTaskStatusResponse()

    def _refuse_unless_leading(self) -> None:
        if not self._leadership.leads() or self._sessions.term is None:
            raise NotTheLeaderError(self._leadership.leader_address())


def heartbeat_period(snapshot: Snapshot) -> Duration:
    """How often nodes are to say that they live."""
    period = Duration()
    period.FromNanoseconds(period_ns(snapshot))
    return period


def _changed_assignments(session: NodeSession, assignments: Assignments) -> bytes:
    before = NOTHING if session.sent is None else session.sent
    wanted = assignments.for_node(session.node_id, before)
    changed = assignments.differences.between(before, wanted)
    session.sent = wanted
    return changed


def _fill_managers(message: SessionMessage, session: NodeSession, managers: list[ManagerPeer]) -> bool:
    if session.sent_managers == managers:
        return False
    session.sent_managers = managers
    message.managers.extend(managers)
    return True
