"""Keeps the members of Raft as the nodes' wanted roles say: a demoted or removed manager is taken out.

Members are added by RaftMembership.Join, when their process is there; here they only go.  The leader cannot remove
itself: it hands over, and its successor does it.
"""

import asyncio

import structlog
from swarm_api.objects_pb2 import Node
from swarm_api.types_pb2 import NodeRole

from swarm_manager.api.managers import api_address
from swarm_manager.api.proposing import change_set
from swarm_manager.api.sessions import Sessions
from swarm_manager.api.writes import Edit, copy_of
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import RefusedError
from swarm_manager.ports import Membership, Store

_log = structlog.get_logger("managers")
_PERIOD_S = 0.5


class ManagerKeeper:
    """Compares members and roles now and then; the work is rare and never urgent."""

    def __init__(self, store: Store, membership: Membership, sessions: Sessions) -> None:
        self._store = store
        self._membership = membership
        self._sessions = sessions

    async def run(self, term: int) -> None:
        """Look until cancelled."""
        while True:
            for node_id in self._superfluous():
                await self._take_out(node_id)
            await self._correct_addresses(term)
            await asyncio.sleep(_PERIOD_S)

    def _superfluous(self) -> list[str]:
        snapshot, raft = self._store.snapshot, self._store.raft
        if snapshot.cluster is None:
            return []  # it is being founded: nobody has a node yet
        found = [node_id for node_id in raft.members if not _is_to_be_manager(snapshot, node_id)]
        return sorted(found, key=lambda node_id: node_id == raft.node_id)  # ourselves last

    async def _take_out(self, node_id: str) -> None:
        try:
            if node_id == self._store.raft.node_id:
                _log.info("handing over: this manager was demoted")
                await self._membership.transfer_leadership()
            else:
                _log.info("taking a manager out", node=node_id)
                await self._membership.remove_member(node_id)
                self._sessions.wake([node_id])  # now it may become a worker
        except RefusedError as error:
            _log.warning("a manager cannot be taken out yet", node=node_id, why=str(error))

    async def _correct_addresses(self, term: int) -> None:
        """A machine's address may change, and who left has none: nodes say where each manager's API is now."""
        members = self._store.raft.members
        edit = Edit()
        for node in self._store.snapshot.nodes.values():
            right = api_address(members[node.id]) if node.id in members else ""
            if node.manager_address != right and (right or node.spec.role == NodeRole.WORKER):
                changed: Node = copy_of(node)
                changed.manager_address = right
                edit.update(changed)
        if not edit.is_empty:
            await self._store.propose(change_set(edit.change_set.changes), term)


def _is_to_be_manager(snapshot: Snapshot, node_id: str) -> bool:
    node = snapshot.nodes.get(node_id)
    return node is not None and node.spec.role == NodeRole.MANAGER
