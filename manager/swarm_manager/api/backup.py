"""The whole state as one stream, while everything goes on.

A snapshot never changes, so it is turned into bytes piece by piece, on a thread and no faster than the caller takes
them: neither this manager's loop nor Raft waits for it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from swarm_api.backup_pb2 import BackupHead
from swarm_api.control_pb2 import BackupMessage, BackupRequest

from swarm_manager.api.cluster import cluster_of
from swarm_manager.api.desk import Desk
from swarm_manager.api.info import VERSION
from swarm_manager.api.proposing import now_timestamp
from swarm_manager.core import codec
from swarm_manager.core.kinds import KINDS
from swarm_manager.core.snapshot import Snapshot


class BackupRpcs(Desk):
    """Backup."""

    async def Backup(self, request: BackupRequest, context: Any) -> AsyncIterator[BackupMessage]:  # noqa: N802, ARG002 - gRPC's
        """First the head, then the state, with every write that was acknowledged before the call."""
        snapshot, term = await self._store.read(), self._store.raft.term
        yield BackupMessage(head=_head(snapshot, term))
        pieces = codec.dump(snapshot)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield BackupMessage(state=piece)


def _head(snapshot: Snapshot, term: int) -> BackupHead:
    cluster = cluster_of(snapshot)
    return BackupHead(
        schema_version=codec.SCHEMA_VERSION,
        raftswarm_version=VERSION,
        cluster_id=cluster.id,
        cluster_name=cluster.spec.annotations.name,
        taken_at=now_timestamp(),
        term=term,
        index=snapshot.index,
        objects={kind.noun: sum(1 for _ in snapshot.all_of(kind.number)) for kind in KINDS.values()},
        requests=len(snapshot.requests),
    )
