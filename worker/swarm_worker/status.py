"""What the daemon says of itself when it is asked."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.node_pb2 import StatusResponse
from swarm_api.types_pb2 import NodeRole

from swarm_worker.addresses import split
from swarm_worker.identity import NodeIdentity
from swarm_worker.member import Member
from swarm_worker.storage import NodeFile


def status_of(member: Member) -> StatusResponse:
    """What this machine is and does, as a node at work."""
    node = member.identity.node
    return StatusResponse(
        node_id=node.node_id,
        cluster_id=node.cluster_id,
        role=_role(node),
        connected=member.session.connected.is_set(),
        leader_address=member.session.leader,
        manager_state=member.manager_state,
        locked=member.manager_is_locked,
        engine_error=member.agent.description.engine_error,
        managers=node.managers,
        tasks=member.agent.task_count,
        last_error=member.identity.expiry_error() or member.session.last_error,
        certificate_ends=_timestamp(member.identity.certificate_ends),
    )


def status_of_waiting(identity: NodeIdentity) -> StatusResponse:
    """What this machine is, as a node that is not at work until its machine has an address."""
    node = identity.node
    here = split(node.advertise_address)[0]
    return StatusResponse(
        node_id=node.node_id,
        cluster_id=node.cluster_id,
        role=_role(node),
        managers=node.managers,
        last_error=f"This machine does not have its address {here}: the node waits for it a little, then looks for its "
        "managers from the address that there is.",
        certificate_ends=_timestamp(identity.certificate_ends),
    )


def _role(node: NodeFile) -> NodeRole.ValueType:
    return NodeRole.MANAGER if node.is_manager else NodeRole.WORKER


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
