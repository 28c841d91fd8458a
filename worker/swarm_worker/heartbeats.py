"""Heartbeats of one session: they tell the leader that the node lives, and the answers that the leader does.

One that stays unanswered means that the leader is gone, or that it is busy.  If a thousand nodes left a leader whenever
it is late by a second, it would have a thousand sessions to open, be late by more, and never catch up.  So a node asks
another manager before it leaves: the others know from Raft whether the leader lives.  Unless they say
otherwise the session is kept, for a while: it may be just our way to it that is broken.
"""

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
from swarm_api.defaults import HEARTBEAT_PERIOD_S
from swarm_api.dispatcher_pb2 import HeartbeatRequest, HeartbeatResponse
from swarm_api.dispatcher_pb2_grpc import DispatcherStub

from swarm_worker.calls import ended_by_us, refusal
from swarm_worker.channels import ChannelPool
from swarm_worker.errors import SessionError
from swarm_worker.search import NotLeaderError, Search

if TYPE_CHECKING:
    from swarm_api.dispatcher_pb2_grpc import DispatcherAsyncStub

    Call = grpc.aio.StreamStreamCall[HeartbeatRequest, HeartbeatResponse]

ANSWER_PERIODS = 1.4  # so many periods may a heartbeat go unanswered before others are asked
SHORTEST_ANSWER_S = 1.0
PATIENCE = 4  # so many times that long, while others name the same leader
ASK_S = 0.5  # for another manager to say who leads


class Heartbeats:
    """Those of one session, with the manager at `address`; `managers` are all that are known at the moment."""

    def __init__(
        self, pool: ChannelPool, address: str, session_id: str, managers: Callable[[], tuple[str, ...]]
    ) -> None:
        self._pool = pool
        self._address = address
        self._session_id = session_id
        self._managers = managers

    async def run(self, stub: "DispatcherAsyncStub", period_s: float) -> None:
        """Beat until the session is over (SessionError): refused, unanswered, or somebody else leads."""
        period_s = period_s or HEARTBEAT_PERIOD_S
        with ended_by_us(self._address):
            call = stub.Heartbeat()  # type: ignore[call-arg]  # requests are written one by one
        try:
            while True:
                await asyncio.sleep(period_s)
                answer = await self._answer(call, max(ANSWER_PERIODS * period_s, SHORTEST_ANSWER_S))
                period_s = answer.period.ToTimedelta().total_seconds() or period_s
        finally:
            call.cancel()

    async def _answer(self, call: "Call", limit_s: float) -> HeartbeatResponse:
        beating = asyncio.create_task(self._beat(call), name="heartbeat")
        try:
            for _ in range(PATIENCE):
                await asyncio.wait({beating}, timeout=limit_s)
                if beating.done():
                    return beating.result()
                await self._make_sure_of_leader()
        except SessionError:
            await self._pool.drop(self._address)
            raise
        finally:
            beating.cancel()
        await self._pool.drop(self._address)
        raise self._unanswered()

    async def _beat(self, call: "Call") -> HeartbeatResponse:
        try:
            with ended_by_us(self._address):
                await call.write(HeartbeatRequest(session_id=self._session_id))
                answer = await call.read()
        except grpc.aio.AioRpcError as error:
            raise refusal(error, self._address) from error
        if not isinstance(answer, HeartbeatResponse):
            raise SessionError(f"the manager at {self._address} takes no more heartbeats")
        return answer

    async def _make_sure_of_leader(self) -> None:
        """Raise SessionError when another manager answers, and does not say that this one still leads."""
        others = [address for address in self._managers() if address != self._address]
        random.shuffle(others)  # a thousand nodes do not all ask the same one
        try:
            leader = await Search(self._leader_by, _nothing_to_discard).run(others)
        except SessionError:
            return  # there is none, or none answers: nobody knows better
        if leader != self._address:
            raise NotLeaderError(f"{self._unanswered()}, and {leader or 'no manager'} leads now", leader)

    async def _leader_by(self, address: str) -> str:
        """The leader's address as another manager knows it, empty for none; SessionError when it does not answer."""
        call = DispatcherStub(self._pool.to(address)).Heartbeat()  # type: ignore[call-arg]  # as above
        try:
            with ended_by_us(address):
                async with asyncio.timeout(ASK_S):
                    await call.write(HeartbeatRequest())
                    await call.read()
        except TimeoutError:
            raise SessionError(f"the manager at {address} does not answer") from None
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return address  # it leads, and knows no such session
            if isinstance(refused := refusal(error, address), NotLeaderError):
                return refused.leader
            raise refused from error
        finally:
            call.cancel()
        raise SessionError(f"the manager at {address} does not say who leads")

    def _unanswered(self) -> SessionError:
        return SessionError(f"the manager at {self._address} does not answer heartbeats")


async def _nothing_to_discard(_leader: str) -> None:
    """An answer one does not wait for any more holds nothing open."""
