"""Managers come and go: the Raft side of joining, promoting, demoting and leaving."""

from typing import Any

from swarm_api.raft_pb2 import RaftJoinRequest, RaftJoinResponse, RaftLeaveRequest, RaftLeaveResponse, RaftMember
from swarm_api.raft_pb2_grpc import RaftMembershipServicer
from swarm_api.types_pb2 import NodeRole

from swarm_manager.api.auth import ADMIN, caller
from swarm_manager.api.desk import Desk
from swarm_manager.api.managers import api_address, refuse_losing_quorum
from swarm_manager.api.writes import Edit, copy_of, write
from swarm_manager.config import check_advertised, raft_address
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import BadRequestError, DeniedError, NotFoundError, RefusedError, StartError, sentence
from swarm_manager.ports import Membership, Store


class MembershipRpcs(Desk, RaftMembershipServicer):
    """Join, Leave."""

    def __init__(self, store: Store, membership: Membership) -> None:
        super().__init__(store)
        self._membership = membership

    async def Join(self, request: RaftJoinRequest, context: Any) -> RaftJoinResponse:  # noqa: N802, ARG002 - gRPC's
        """Take the caller's manager into Raft; answered when it may take part. Repeating it changes nothing."""
        if caller().node_id != request.node_id:
            raise DeniedError("A manager can only join by itself.")
        _refuse_addresses(request)
        await self._note_address(request)
        await self._membership.add_member(request.node_id, request.raft_address)
        return RaftJoinResponse(members=self._members())

    async def _note_address(self, request: RaftJoinRequest) -> None:
        def decide(snapshot: Snapshot, edit: Edit) -> RaftJoinResponse:
            node = snapshot.nodes.get(request.node_id)
            if node is None:
                raise NotFoundError(f"Node {request.node_id} is not part of the cluster; join it again.")
            if node.spec.role != NodeRole.MANAGER:
                raise RefusedError(f"Node {request.node_id} is to be a worker; promote it first.")
            changed = copy_of(node)
            changed.manager_address = request.api_address
            if changed != node:
                edit.update(changed)
            return RaftJoinResponse()

        await write(self._store, "", RaftJoinResponse, decide)

    def _members(self) -> list[RaftMember]:
        return [
            RaftMember(node_id=m.node_id, raft_address=m.raft_address, api_address=api_address(m))
            for m in self._store.raft.members.values()
        ]

    async def Leave(self, request: RaftLeaveRequest, context: Any) -> RaftLeaveResponse:  # noqa: N802, ARG002 - gRPC's
        """Take a manager out of Raft for good, unless that would cost the quorum."""
        who = caller()
        if who.role != ADMIN and who.node_id != request.node_id:
            raise DeniedError("A manager can only take out itself; 'swarm-cli node demote' takes out another.")
        view = await self._view()
        refuse_losing_quorum(view, self._store.raft, request.node_id, "taken out")
        await self._demote(request.node_id)
        if request.node_id == self._store.raft.node_id:
            await self._membership.transfer_leadership()
            return RaftLeaveResponse()  # its successor sees in the state that it is to go, and takes it out
        if request.node_id in self._store.raft.members:
            await self._membership.remove_member(request.node_id)
        return RaftLeaveResponse()

    async def _demote(self, node_id: str) -> None:
        def decide(snapshot: Snapshot, edit: Edit) -> RaftLeaveResponse:
            node = snapshot.nodes.get(node_id)
            if node is None:
                return RaftLeaveResponse()
            changed = copy_of(node)
            changed.spec.role = NodeRole.WORKER
            changed.manager_address = ""
            if changed != node:
                edit.update(changed)
            return RaftLeaveResponse()

        await write(self._store, "", RaftLeaveResponse, decide)


def _refuse_addresses(request: RaftJoinRequest) -> None:
    """Raise BadRequestError unless the others can come to these: all of them are told."""
    try:
        check_advertised(request.api_address)
    except StartError as error:
        raise BadRequestError(sentence(str(error))) from error
    wanted = raft_address(request.api_address)
    if request.raft_address != wanted:
        raise BadRequestError(f"The manager at {request.api_address} speaks Raft at {wanted}, one port further.")
