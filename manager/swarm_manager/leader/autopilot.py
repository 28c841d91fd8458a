"""Takes managers out that stay dead, where the cluster's settings ask for it and it is safe (core/quorum.py).

The node is demoted, as a person would do it: `ManagerKeeper` then takes it out of Raft, and when the machine comes back
it goes on as a worker.  How long a manager was unreachable is what this leader has seen itself: a new leader begins to
count with the start of its own process, so it never acts on hearsay.
"""

import asyncio

import structlog
from swarm_api.objects_pb2 import Node
from swarm_api.types_pb2 import NodeRole

from swarm_manager.api.lookup import shown_name
from swarm_manager.api.managers import health
from swarm_manager.api.proposing import change_set
from swarm_manager.api.writes import Edit, copy_of
from swarm_manager.core.quorum import dead_to_remove
from swarm_manager.core.warnings import duration, remove_dead_after_s
from swarm_manager.ports import Store

_log = structlog.get_logger("autopilot")
_PERIOD_S = 1.0


class Autopilot:
    """Looks for dead managers now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self, term: int) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            after_s = remove_dead_after_s(self._store.snapshot.cluster)
            if after_s:
                await self._look(after_s, term)

    async def _look(self, after_s: float, term: int) -> None:
        members = health(self._store.raft)
        node = self._store.snapshot.nodes.get(dead_to_remove(members, after_s).remove)
        if node is None or node.spec.role == NodeRole.WORKER:
            return  # nobody, or it is being taken out already
        silence_s = next(member.unreachable_s for member in members if member.node_id == node.id)
        _log.warning("a dead manager is demoted", node=shown_name(node), unreachable_for=duration(silence_s))
        edit = Edit()
        changed: Node = copy_of(node)
        changed.spec.role = NodeRole.WORKER
        edit.update(changed)
        # A conflict means that somebody changed the node meanwhile; the next look decides anew.
        await self._store.propose(change_set(edit.change_set.changes), term)
