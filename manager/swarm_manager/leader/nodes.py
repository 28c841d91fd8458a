"""Notices nodes that fell silent."""

import asyncio
import time

import structlog
from swarm_api.objects_pb2 import Node
from swarm_api.types_pb2 import NodeState

from swarm_manager.api.lookup import shown_name
from swarm_manager.api.proposing import change_set, now_timestamp
from swarm_manager.api.sessions import Sessions
from swarm_manager.core import status
from swarm_manager.core.heartbeats import down_after_ns
from swarm_manager.core.refounding import is_due_back
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import SECOND_NS
from swarm_manager.errors import NotFoundError
from swarm_manager.ports import Store

_log = structlog.get_logger("nodes")
_PERIOD_S = 0.3


class NodeMonitor:
    """Declares a node DOWN when nothing was heard of it for `node_down_after`."""

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions

    async def run(self, term: int) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            self._sessions.tick(_PERIOD_S)
            snapshot = self._store.snapshot
            limit_s, may_be_away = down_after_ns(snapshot) / SECOND_NS, not is_due_back(snapshot, time.time_ns())
            silent = [n for n in snapshot.nodes.values() if self._is_silent(n, limit_s, may_be_away=may_be_away)]
            if silent:
                await self._declare_down(snapshot, silent, term)

    def _is_silent(self, node: Node, limit_s: float, *, may_be_away: bool) -> bool:
        """A node of before a restoration (DISCONNECTED) has its own, longer time to come back."""
        watched = (NodeState.READY_STATE,) if may_be_away else (NodeState.READY_STATE, NodeState.DISCONNECTED)
        return node.status.state in watched and self._sessions.silence_s(node.id) > limit_s

    async def _declare_down(self, snapshot: Snapshot, silent: list[Node], term: int) -> None:
        now = now_timestamp()
        changes = []
        for node in silent:
            silence_s = self._sessions.silence_s(node.id)
            _log.warning("node is down", node=shown_name(node), silence_s=round(silence_s, 1))
            self._sessions.drop(node.id, NotFoundError("Nothing was heard of the node for too long."))
            message = f"Nothing was heard of it for {silence_s:.0f} s."
            changes += status.node_lost(snapshot, node.id, NodeState.DOWN, message, now)
        # A conflict means that the node was changed meanwhile; if it is still silent, the next look sees it.
        await self._store.propose(change_set(changes), term)
