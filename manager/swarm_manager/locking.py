"""Autolock: a manager that starts waits for the cluster's unlock key, and one that runs follows the setting.

While it is locked a manager knows nothing but how its keys are wrapped.  It answers on its own machine's socket alone:
to Unlock, and to everything else that it is locked.  The worker beside it, and its containers, run on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import structlog
from swarm_api.control_pb2 import UnlockRequest, UnlockResponse
from swarm_api.objects_pb2 import Cluster

from swarm_manager.errors import BadRequestError, sentence
from swarm_manager.raft.errors import RaftError
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.sealed_disk import SealedDisk
from swarm_manager.unlock_key import unlock_key_bytes

_UNLOCK = "/swarm.v1.Control/Unlock"
_REFUSAL = (
    "This manager is locked since it was started: run 'swarm-cli unlock' on its machine and give the key that "
    "'swarm-cli unlock-key' shows on a manager that is not."
)
_GRACE_S = 1.0  # for the answer that ends the waiting
_log = structlog.get_logger("locking")


async def unlock_key_from_people(
    key_file: KeyFile, mark: Path, bind: Callable[[grpc.aio.Server], Awaitable[None]]
) -> bytes:
    """Serve on the socket that `bind` binds until somebody gives the key that opens the file; then that key.

    `mark` is a file that is there meanwhile: it tells the node's daemon.
    """
    face = _LockedFace(key_file)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((face,))
    try:
        await asyncio.to_thread(_make, mark)
        await bind(server)
        _log.warning("locked: waiting for 'swarm-cli unlock'")
        return await face.key
    finally:
        await asyncio.to_thread(mark.unlink, missing_ok=True)
        await server.stop(_GRACE_S)


def _make(mark: Path) -> None:
    mark.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    mark.touch()


class _LockedFace(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not subscriptable at run time
    def __init__(self, key_file: KeyFile) -> None:
        self.key: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._key_file = key_file

    def service(self, handler_call_details: Any) -> Any:
        """The handler of any method (gRPC's interface)."""
        if handler_call_details.method != _UNLOCK:
            return grpc.unary_unary_rpc_method_handler(_refuse)
        return grpc.unary_unary_rpc_method_handler(
            self._unlock, UnlockRequest.FromString, UnlockResponse.SerializeToString
        )

    async def _unlock(self, request: UnlockRequest, context: Any) -> UnlockResponse:
        try:
            key = unlock_key_bytes(request.unlock_key)
            await asyncio.to_thread(self._key_file.open, key)
        except BadRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, sentence(str(error)))
        except (RaftError, OSError) as error:
            _log.warning("not unlocked", why=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, sentence(str(error)))
        if not self.key.done():
            self.key.set_result(key)
        return UnlockResponse()


async def _refuse(_: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, _REFUSAL)
    return b""


class KeyKeeper:
    """Keeps a manager's key file as the cluster's settings want it: wrapped with the unlock key, or open."""

    def __init__(self, disk: SealedDisk, cluster: Callable[[], Cluster | None]) -> None:
        self._disk = disk
        self._cluster = cluster
        self._problem = ""

    async def look(self) -> None:
        """Compare, and change what differs.  What the disk refuses is tried again at the next look."""
        try:
            await self._follow()
            self._problem = ""
        except (OSError, RaftError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("the manager's keys stay wrapped as they were", why=self._problem)

    async def _follow(self) -> None:
        ring, cluster = self._disk.ring, self._cluster()
        if cluster is not None and cluster.meta.version.index > ring.as_of:
            wanted = unlock_key_bytes(cluster.unlock_key) if cluster.unlock_key else None
            if wanted != ring.unlock_key:
                await asyncio.to_thread(ring.wrap, wanted, cluster.meta.version.index)
                _log.info("the manager's keys are wrapped" if wanted else "the manager's keys lie open")
        if len(ring.by_id) > 1:
            await asyncio.to_thread(lambda: ring.keep(self._disk.keys_in_use()))
