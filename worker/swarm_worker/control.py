"""The daemon's local face: the NodeControl service on a unix socket that only root may open."""

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import structlog
from swarm_api.node_pb2 import (
    InitRequest,
    InitResponse,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    LeaveResponse,
    RecoverRequest,
    RecoverResponse,
    RejoinRequest,
    RejoinResponse,
    RestoreRequest,
    RestoreResponse,
    StatusRequest,
    StatusResponse,
)
from swarm_api.node_pb2_grpc import NodeControlServicer, add_NodeControlServicer_to_server

from swarm_worker.errors import JoinError, NodeStateError, StateError, WorkerError
from swarm_worker.node import Node

_CODES: tuple[tuple[type[WorkerError], grpc.StatusCode], ...] = (
    (JoinError, grpc.StatusCode.INVALID_ARGUMENT),
    (NodeStateError, grpc.StatusCode.FAILED_PRECONDITION),
    (StateError, grpc.StatusCode.FAILED_PRECONDITION),
    (WorkerError, grpc.StatusCode.FAILED_PRECONDITION),
)

log = structlog.get_logger(__name__)


class NodeControl(NodeControlServicer):
    """Init, Join, Leave, Rejoin, Restore, Recover, Status."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def Init(self, request: InitRequest, context: Any) -> InitResponse:  # noqa: N802 - gRPC's
        """See node.proto."""
        try:
            return await self._node.init(request)
        except (WorkerError, OSError) as error:
            await _refuse(context, error)
            raise

    async def Join(self, request: JoinRequest, context: Any) -> JoinResponse:  # noqa: N802 - gRPC's
        """See node.proto."""
        try:
            return await self._node.join(request)
        except (WorkerError, OSError) as error:
            await _refuse(context, error)
            raise

    async def Leave(self, request: LeaveRequest, context: Any) -> LeaveResponse:  # noqa: N802 - gRPC's
        """See node.proto."""
        try:
            await self._node.leave(force=request.force)
        except (WorkerError, OSError) as error:
            await _refuse(context, error)
            raise
        return LeaveResponse()

    async def Rejoin(self, request: RejoinRequest, context: Any) -> RejoinResponse:  # noqa: N802 - gRPC's
        """See node.proto."""
        try:
            return await self._node.rejoin(request)
        except (WorkerError, OSError) as error:
            await _refuse(context, error)
            raise

    async def Restore(self, request: RestoreRequest, context: Any) -> RestoreResponse:  # noqa: N802 - gRPC's
        """See node.proto."""
        try:
            return await self._node.restore(request)
        except (WorkerError, OSError) as error:
            await _refuse(context, error)
            raise

    async def Recover(self, request: RecoverRequest, context: Any) -> RecoverResponse:  # noqa: N802 - gRPC's
        """See node.proto."""
        try:
            return await self._node.recover(request)
        except (WorkerError, OSError) as error:
            await _refuse(context, error)
            raise

    async def Status(self, request: StatusRequest, context: Any) -> StatusResponse:  # noqa: N802, ARG002 - gRPC's
        """See node.proto."""
        return self._node.status()


async def serve(node: Node, socket_path: Path) -> grpc.aio.Server:
    """Listen on the socket, which nobody but the daemon's own user can open at any moment."""
    server = grpc.aio.server()
    add_NodeControlServicer_to_server(NodeControl(node), server)
    await asyncio.to_thread(socket_path.unlink, missing_ok=True)  # of a killed daemon: the pid file says none runs
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{socket_path}")
        await server.start()
    finally:
        os.umask(before)
    return server


async def _refuse(context: Any, error: WorkerError | OSError) -> None:
    log.warning("request refused", reason=str(error))
    code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    await context.abort(code, str(error))
