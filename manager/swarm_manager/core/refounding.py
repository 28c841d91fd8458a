"""The state of a cluster that goes on, with one manager, from the state another one had: restored, or recovered.

Everything stays as it was but who the managers are.  Those of before become workers: they are no members of Raft any
more, and whoever of them comes back is told so by the role its node has, gives up its Raft data, and can be promoted
again.  (Removing their nodes instead would revoke their certificates and stop what runs on them.)
"""

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.objects_pb2 import CLUSTER, NODE, Cluster, Node, Restoration
from swarm_api.types_pb2 import NodeRole, NodeState

from swarm_manager.core.draft import Draft
from swarm_manager.core.kinds import Stored
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import Snapshot, View
from swarm_manager.core.times import ns

NOT_BACK_YET = "Not heard of since the cluster was restored: point it here with 'swarm-cli rejoin' on it."


@dataclass(frozen=True, slots=True)
class Refounding:
    """How a state begins anew: who manages it alone, in which era, from which index on."""

    founder: Node  # as it is to be: a new node, or the one that survived
    index: int
    restoration: Restoration


def refounded(before: Snapshot, plan: Refounding) -> Snapshot:
    """The state at `plan.index` of the cluster with that one manager."""
    draft = Draft(before)
    for node in list(before.nodes.values()):
        changed = _as_former(node, plan)
        if node.id != plan.founder.id and changed != node:
            draft.put(NODE, _stamped(changed, plan))
    draft.put(NODE, _stamped(_founder(plan), plan))
    if before.cluster is not None:
        draft.put(CLUSTER, _stamped(_cluster(before.cluster, plan), plan))
    return draft.snapshot(plan.index)


def former_managers(before: View, founder_id: str) -> list[Node]:
    """The nodes that cease to be managers, by id."""
    return sorted(
        (n for n in before.nodes.values() if n.spec.role == NodeRole.MANAGER and n.id != founder_id),
        key=lambda node: node.id,
    )


def is_due_back(view: View, now_ns: int) -> bool:
    """Whether the time is over that nodes of before have to come back after a restoration."""
    return view.cluster is None or ns(view.cluster.restoration.nodes_due) <= now_ns


def _as_former(node: Node, plan: Refounding) -> Node:
    changed = copy_of(node)
    changed.spec.role = NodeRole.WORKER  # `role` is its certificate's: that follows when it comes back
    changed.manager_address = ""
    is_restored = plan.restoration.HasField("nodes_due")
    if is_restored and node.status.state == NodeState.READY_STATE:
        changed.status.state = NodeState.DISCONNECTED
        changed.status.message = NOT_BACK_YET
        changed.status.since.CopyFrom(plan.restoration.restored_at)
    return changed


def _founder(plan: Refounding) -> Node:
    node = copy_of(plan.founder)
    node.spec.role = node.role = NodeRole.MANAGER
    return node


def _cluster(cluster: Cluster, plan: Refounding) -> Cluster:
    changed = copy_of(cluster)
    changed.restoration.CopyFrom(plan.restoration)
    return changed


def _stamped(obj: Stored, plan: Refounding) -> Stored:
    at: Timestamp = plan.restoration.restored_at
    obj.meta.version.index = plan.index
    obj.meta.updated_at.CopyFrom(at)
    if not obj.meta.HasField("created_at"):
        obj.meta.created_at.CopyFrom(at)
    return obj
