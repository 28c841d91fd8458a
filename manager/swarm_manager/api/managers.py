"""The managers, seen through Raft and the state together: addresses, reachability, and what a quorum needs."""

from swarm_api.defaults import RAFT_PORT_OFFSET
from swarm_api.dispatcher_pb2 import ManagerPeer
from swarm_api.objects_pb2 import ManagerStatus, Node, Reachability

from swarm_manager.core.quorum import Health, quorum_of
from swarm_manager.core.snapshot import View
from swarm_manager.errors import RefusedError
from swarm_manager.ports import MemberStatus, RaftView


def api_address(member: MemberStatus) -> str:
    """Where a manager's API is, going by its Raft address: that follows a machine whose address changes."""
    host, _, port = member.raft_address.rpartition(":")
    return f"{host}:{int(port) - RAFT_PORT_OFFSET}"


def peers(raft: RaftView) -> list[ManagerPeer]:
    """All managers, by id.

    The state has their addresses too, but learns of a move a moment later: who was told the old one in between, and
    goes by it, may not find the manager again.
    """
    return [
        ManagerPeer(node_id=node_id, address=api_address(raft.members[node_id])) for node_id in sorted(raft.members)
    ]


def reachability(raft: RaftView, node_id: str) -> Reachability.ValueType:
    """Whether this manager has a link to a member."""
    if node_id == raft.node_id:
        return Reachability.REACHABLE
    member = raft.members.get(node_id)
    if member is None or member.reachable is None:
        return Reachability.REACHABILITY_UNKNOWN
    return Reachability.REACHABLE if member.reachable else Reachability.UNREACHABLE


def health(raft: RaftView) -> list[Health]:
    """The members, as this manager sees them."""
    return [
        Health(member.node_id, member.voter, 0.0 if member.node_id == raft.node_id else _silence_s(member))
        for member in raft.members.values()
    ]


def _silence_s(member: MemberStatus) -> float:
    return 0.0 if member.reachable is not False else max(member.unreachable_s, 0.001)


def with_manager_status(node: Node, raft: RaftView) -> Node:
    """The node as users see it: with what is known of its manager, when it runs one."""
    member = raft.members.get(node.id)
    if member is None:
        return node
    shown = Node()
    shown.CopyFrom(node)
    shown.manager_status.CopyFrom(
        ManagerStatus(
            address=api_address(member),
            leader=node.id == raft.leader_id,
            reachability=reachability(raft, node.id),
        )
    )
    return shown


def refuse_losing_quorum(view: View, raft: RaftView, node_id: str, verb: str) -> None:
    """Raise RefusedError when the cluster could not work without this manager."""
    member = raft.members.get(node_id)
    if member is None or not member.voter:
        return
    others = [m for m in raft.members.values() if m.voter and m.node_id != node_id]
    if not others:
        raise RefusedError(
            f"Node {_name(view, node_id)} is the last manager and cannot be {verb}; promote another node first."
        )
    reachable = sum(1 for m in others if m.node_id == raft.node_id or m.reachable)
    quorum = quorum_of(len(others))
    if reachable < quorum:
        raise RefusedError(
            f"Node {_name(view, node_id)} cannot be {verb} now: only {reachable} of the other {len(others)} managers "
            f"are reachable, and they need {quorum} to work; bring one back, or remove the one that is dead first."
        )


def _name(view: View, node_id: str) -> str:
    node = view.nodes.get(node_id)
    return (node.spec.annotations.name or node.description.hostname or node_id) if node else node_id
