"""The cluster at a glance; with `stale` from this manager alone, so that it works without a quorum."""

import time
from importlib.metadata import version
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.control_pb2 import GetInfoRequest, GetInfoResponse, ManagerInfo
from swarm_api.types_pb2 import NodeState, TaskState

from swarm_manager.api.desk import Desk
from swarm_manager.api.managers import api_address, health, reachability
from swarm_manager.core.snapshot import View
from swarm_manager.core.times import timestamp
from swarm_manager.core.warnings import cluster_warnings
from swarm_manager.ports import RaftView

VERSION = version("raftswarm")


class InfoRpcs(Desk):
    """GetInfo."""

    async def GetInfo(self, request: GetInfoRequest, context: Any) -> GetInfoResponse:  # noqa: N802, ARG002 - gRPC's
        """Members, leader and counts, as the manager that answers knows them."""
        view, raft = await self._view(stale=request.stale), self._store.raft
        info = GetInfoResponse(
            node_id=raft.node_id,
            leader_id=raft.leader_id,
            term=raft.term,
            commit_index=raft.commit_index,
            applied_index=raft.applied_index,
            managers=_managers(raft),
            version=VERSION,
            journal_error=raft.journal_error,
            warnings=cluster_warnings(view, health(raft), time.time_ns()),
        )
        _count(info, view)
        return info


def _managers(raft: RaftView) -> list[ManagerInfo]:
    return [
        ManagerInfo(
            node_id=member.node_id,
            address=api_address(member),
            leader=member.node_id == raft.leader_id,
            reachability=reachability(raft, member.node_id),
            voter=member.voter,
            unreachable_since=_since(member.unreachable_s) if member.reachable is False else None,
        )
        for member in sorted(raft.members.values(), key=lambda member: member.node_id)
    ]


def _since(silence_s: float) -> Timestamp:
    return timestamp(time.time_ns() - int(silence_s * 1e9))


def _count(info: GetInfoResponse, view: View) -> None:
    if view.cluster is not None:
        info.cluster_id = view.cluster.id
        info.cluster_name = view.cluster.spec.annotations.name
    info.nodes = len(view.nodes)
    info.nodes_ready = sum(node.status.state == NodeState.READY_STATE for node in view.nodes.values())
    info.services = sum(not service.pending_delete for service in view.services.values())
    info.tasks = len(view.tasks)
    info.tasks_running = sum(task.status.state == TaskState.RUNNING for task in view.tasks.values())
