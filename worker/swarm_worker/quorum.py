"""Whether the managers this node knows still have a leader among them."""

import asyncio

import grpc
from swarm_api.control_pb2 import GetInfoRequest, GetInfoResponse
from swarm_api.control_pb2_grpc import ControlStub

from swarm_worker.channels import open_channel
from swarm_worker.errors import NodeStateError
from swarm_worker.identity import NodeIdentity

ASK_S = 2.0


async def refuse_if_it_lives(identity: NodeIdentity) -> None:
    """NodeStateError when any known manager, this node's own one included, knows a leader."""
    addresses = identity.manager_addresses()
    answers = await asyncio.gather(*(_ask(address, identity) for address in addresses))
    for address, answer in zip(addresses, answers, strict=True):
        if answer is not None and answer.leader_id:
            raise NodeStateError(
                f"The cluster has a quorum: the manager at {address} knows a leader ({answer.leader_id}); nothing is "
                "lost, so look at it with 'swarm-cli info'. --even-with-quorum gives that leader and its managers up."
            )


async def _ask(address: str, identity: NodeIdentity) -> GetInfoResponse | None:
    """What the manager there knows; None when none answers."""
    channel = open_channel(address, identity.credentials)
    try:
        return await ControlStub(channel).GetInfo(GetInfoRequest(stale=True), timeout=ASK_S)
    except grpc.aio.AioRpcError:
        return None
    finally:
        await channel.close(None)
