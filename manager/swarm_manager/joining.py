"""Becoming a member of Raft: asking the others to take this manager in."""

import asyncio
import socket

import grpc
import structlog
from swarm_api.raft_pb2 import RaftJoinRequest, RaftJoinResponse

from swarm_manager.api.peers import PeerChannels
from swarm_manager.config import NodeFile, Settings, raft_address, split_address
from swarm_manager.errors import StartError
from swarm_manager.members_file import save_members
from swarm_manager.raft.config import Member

_log = structlog.get_logger("joining")
_JOIN = "/swarm.v1.RaftMembership/Join"
_ATTEMPT_S = 12.0
_PAUSE_S = (0.2, 5.0)  # between rounds over all managers: first and longest


def seeds(node: NodeFile) -> tuple[str, ...]:
    """Where node.json says that managers are, as Raft addresses; when they moved, it may know better than the log."""
    return tuple(
        found for address in node.managers if address != node.advertise_address if (found := _resolved(address))
    )


def _resolved(address: str) -> str:
    host, port = split_address(address, "a manager's address in node.json")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        _log.warning("a manager's name is not known", manager=address, why=str(error))
        return ""
    shown = f"[{place[0]}]" if family == socket.AF_INET6 else place[0]
    return raft_address(f"{shown}:{port}")


async def join(settings: Settings, node: NodeFile, peers: PeerChannels) -> tuple[Member, ...]:
    """Ask the managers in turn until one takes us in; StartError when they refuse for good."""
    others = [address for address in node.managers if address != node.advertise_address]
    if not others:
        raise StartError("node.json names no other manager to join: leave the cluster and join it again")
    pause_s = _PAUSE_S[0]
    while True:
        for address in others:
            answer = await _ask(address, node, peers)
            if answer is not None:
                members = tuple(Member(m.node_id, m.raft_address) for m in answer.members if m.node_id != node.node_id)
                save_members(settings, members, joining=True)
                return members
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _PAUSE_S[1])


async def _ask(address: str, node: NodeFile, peers: PeerChannels) -> RaftJoinResponse | None:
    request = RaftJoinRequest(
        node_id=node.node_id, raft_address=raft_address(node.advertise_address), api_address=node.advertise_address
    )
    call = peers.channel(address).unary_unary(_JOIN, RaftJoinRequest.SerializeToString, RaftJoinResponse.FromString)
    try:
        answer: RaftJoinResponse = await call(request, timeout=_ATTEMPT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND):
            raise StartError(f"the managers do not take this one in: {error.details()}") from error
        _log.warning("not taken in yet", manager=address, why=error.details())
        return None
    return answer
