"""The session with the leader: assignments come in, heartbeats and reports go out.

A session ends when its stream breaks, when a heartbeat is not answered in time, when its leader steps down, or when
something of it was missed; then the next is looked for, at once and with growing pauses while there is no leader.
Reports wait meanwhile and lose nothing; containers never notice.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc
import structlog
from swarm_api.defaults import HEARTBEAT_PERIOD_S
from swarm_api.dispatcher_pb2 import (
    HeartbeatRequest,
    HeartbeatResponse,
    SessionMessage,
    SessionRequest,
    UpdateTaskStatusRequest,
)
from swarm_api.dispatcher_pb2_grpc import DispatcherStub
from swarm_api.objects_pb2 import NodeDescription
from swarm_api.specs_pb2 import NodeSpec

from swarm_worker.channels import ChannelPool, reason_of
from swarm_worker.core.assignments import AssignmentSet, Verdict
from swarm_worker.core.reports import PendingReports
from swarm_worker.errors import SessionError
from swarm_worker.search import NotLeaderError, Search

if TYPE_CHECKING:
    from swarm_api.dispatcher_pb2_grpc import DispatcherAsyncStub

    Heartbeats = grpc.aio.StreamStreamCall[HeartbeatRequest, HeartbeatResponse]

OPEN_S = 2.0  # for a manager to connect and to send the first message
LONGEST_OPEN_S = 16.0  # when it did not in time: a leader that a thousand nodes turn to at once needs longer for each
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
YOUNG_PAUSE_S = 0.15  # the longest before the first session: a new node's manager is just coming up
STEADY_S = 1.0  # a session that lasted this long was a good one: the next is looked for without delay
LEADER_KEY = "leader-address"
BATCH_S = 0.01  # what is reported together within this goes in one request
BATCH_SIZE = 256
REPORT_S = 5.0
ANSWER_PERIODS = 1.4  # so many periods may a heartbeat go unanswered
SHORTEST_ANSWER_S = 1.0

_STALE = "the manager's term is over: another one has led since"

log = structlog.get_logger(__name__)


class Charge(Protocol):
    """Who carries out what the leader orders (`agent.Agent`), as far as a session deals with it."""

    assignments: AssignmentSet
    reports: PendingReports
    news: asyncio.Event  # there are reports, or a new description
    description: NodeDescription
    described: asyncio.Event

    def apply(self, message: SessionMessage) -> Verdict:
        """Take a message of the session."""


@dataclass(slots=True)
class Link:
    """An open session."""

    address: str
    stub: "DispatcherAsyncStub"
    call: "grpc.aio.UnaryStreamCall[SessionRequest, SessionMessage]"
    first: SessionMessage

    @property
    def session_id(self) -> str:
        """The leader's name for it."""
        return self.first.session_id


class Session:
    """Keeps a session with whoever leads, for as long as `run` runs."""

    def __init__(
        self,
        agent: Charge,
        pool: ChannelPool,
        managers: tuple[str, ...],
        *,
        node_address: str,
        on_managers: Callable[[tuple[str, ...]], None],
        on_node: Callable[[NodeSpec], None],
    ) -> None:
        """`managers` are API addresses to begin with; `node_address` is where overlay traffic reaches this node."""
        self._agent = agent
        self._pool = pool
        self._managers = managers
        self._node_address = node_address
        self._on_managers, self._on_node = on_managers, on_node
        self._boot_id = random.getrandbits(63)
        self._described = NodeDescription()  # what the leader knows
        self._open_s = OPEN_S
        self._renew = asyncio.Event()
        self.connected = asyncio.Event()
        self.reported = asyncio.Event()  # nothing waits to be reported
        self._is_leaving = False
        self.leader = ""
        self.last_error = ""

    async def run(self) -> None:
        """Work until cancelled."""
        await self._agent.described.wait()
        clock, pause_s, longest_s = asyncio.get_running_loop().time, FIRST_PAUSE_S, YOUNG_PAUSE_S
        while True:
            began = clock()
            try:
                found = await Search(self._open, _discard).run(self._candidates())
                longest_s = LONGEST_PAUSE_S
                await self._serve(found)
                pause_s = FIRST_PAUSE_S if clock() - began > STEADY_S else pause_s
            except SessionError as error:
                self.last_error = str(error)
                log.debug("no session", reason=self.last_error, pause_s=pause_s)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the nodes, hides nothing
            pause_s = min(pause_s * 1.6, longest_s)

    def renew(self) -> None:
        """Open a new session (the certificate changed); tasks are not touched."""
        self._renew.set()

    async def take_leave(self, timeout_s: float) -> None:
        """Report what there is, and that this node is gone, so that nobody waits for it; in vain without a leader."""
        self._is_leaving = True
        self.reported.clear()
        self._agent.news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.reported.wait()

    def _candidates(self) -> list[str]:
        return [address for address in (self.leader, *self._managers) if address]

    # ------------------------------------------------------------------------------------------- opening

    async def _open(self, address: str) -> Link:
        stub = DispatcherStub(self._pool.to(address))
        description = self._agent.description
        request = SessionRequest(description=description, address=self._node_address, boot_id=self._boot_id)
        call, patience_s = stub.Session(request), self._open_s
        try:
            with _ended_by_us(address):
                async with asyncio.timeout(patience_s):
                    first = await call.read()
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, address) from error
        except TimeoutError:
            call.cancel()
            self._open_s = min(2 * patience_s, LONGEST_OPEN_S)
            await self._pool.drop(address)  # it may be a connection to a machine that is gone
            raise SessionError(f"the manager at {address} does not answer") from None
        except asyncio.CancelledError:
            call.cancel()
            raise
        if not isinstance(first, SessionMessage):
            raise SessionError(f"the manager at {address} closed the session at once")
        if first.term < self._agent.assignments.term:
            call.cancel()  # it must not win the search: a leader that counts may be a moment behind
            raise SessionError(f"{address}: {_STALE}")
        self._described, self._open_s = description, OPEN_S
        return Link(address, stub, call, first)

    # ------------------------------------------------------------------------------------------- serving

    async def _serve(self, link: Link) -> None:
        self._renew.clear()
        try:
            self._take(link.first)
            self.leader, self.last_error = link.address, ""
            self.connected.set()
            self._agent.news.set()
            log.info("session opened", manager=link.address, term=link.first.term)
            # In a task of its own: before Python 3.13 a group that fails leaves its task looking cancelled.
            await asyncio.create_task(self._work(link), name="session")
        except* SessionError as ended:
            self.last_error = str(ended.exceptions[0])
            log.info("session ended", manager=link.address, reason=self.last_error)
        finally:
            self.connected.clear()
            link.call.cancel()
        _heed_cancellation()

    async def _work(self, link: Link) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(link), name="assignments")
            group.create_task(self._beat(link), name="heartbeats")
            group.create_task(self._report(link), name="reports")
            group.create_task(self._until_renewed(), name="renewal")

    async def _read(self, link: Link) -> None:
        try:
            with _ended_by_us(link.address):
                while isinstance(message := await link.call.read(), SessionMessage):
                    self._take(message)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                await self._pool.drop(link.address)
            raise _refusal(error, link.address) from error
        raise SessionError(f"the manager at {link.address} closed the session")

    def _take(self, message: SessionMessage) -> None:
        verdict = self._agent.apply(message)
        if verdict is Verdict.STALE:
            raise SessionError(_STALE)
        if verdict is Verdict.GAP:
            raise SessionError("an assignment was missed")
        if message.managers:
            self._managers = tuple(peer.address for peer in message.managers)
            self._on_managers(self._managers)
        if message.HasField("node"):
            self._on_node(message.node)

    async def _until_renewed(self) -> None:
        await self._renew.wait()
        await self._pool.close()
        raise SessionError("the certificate was renewed")

    async def _beat(self, link: Link) -> None:
        period_s = link.first.heartbeat_period.ToTimedelta().total_seconds() or HEARTBEAT_PERIOD_S
        request, call = HeartbeatRequest(session_id=link.session_id), link.stub.Heartbeat()  # type: ignore[call-arg]  # see write
        try:
            while True:
                await asyncio.sleep(period_s)
                answer = await self._answered(link, call, request, max(ANSWER_PERIODS * period_s, SHORTEST_ANSWER_S))
                period_s = answer.period.ToTimedelta().total_seconds() or period_s
        finally:
            call.cancel()

    async def _answered(
        self, link: Link, call: "Heartbeats", request: HeartbeatRequest, limit_s: float
    ) -> HeartbeatResponse:
        """The answer to a heartbeat; SessionError when the session is over or none comes in time."""
        try:
            with _ended_by_us(link.address):
                async with asyncio.timeout(limit_s):
                    await call.write(request)
                    answer = await call.read()
        except TimeoutError:
            reason = f"the manager at {link.address} does not answer heartbeats"
        except grpc.aio.AioRpcError as error:
            await self._pool.drop(link.address)
            raise _refusal(error, link.address) from error
        else:
            if isinstance(answer, HeartbeatResponse):
                return answer
            reason = f"the manager at {link.address} takes no more heartbeats"
        await self._pool.drop(link.address)
        raise SessionError(reason)

    # ----------------------------------------------------------------------------------------- reporting

    async def _report(self, link: Link) -> None:
        while True:
            await self._agent.news.wait()
            await asyncio.sleep(BATCH_S)
            self._agent.news.clear()
            self.reported.clear()
            await self._send_reports(link)
            self.reported.set()

    async def _send_reports(self, link: Link) -> None:
        """Send all there is; what is not acknowledged is sent again, in this session or the next."""
        agent = self._agent
        while True:
            reports, description = agent.reports.batch(BATCH_SIZE), agent.description
            news = description if description != self._described else None
            is_last = self._is_leaving and not reports
            if not reports and news is None and not is_last:
                return
            request = UpdateTaskStatusRequest(
                session_id=link.session_id, reports=reports, description=news, leaving=is_last
            )
            try:
                with _ended_by_us(link.address):
                    await link.stub.UpdateTaskStatus(request, timeout=REPORT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    continue  # slow to commit, and no reason to open a new session: heartbeats tell whether it lives
                raise _refusal(error, link.address) from error
            agent.reports.acknowledge(reports)
            self._described = description
            self._is_leaving = self._is_leaving and not is_last


@contextlib.contextmanager
def _ended_by_us(address: str) -> Iterator[None]:
    """Makes a SessionError of what a call meets when the channel was closed beside it.

    The task that first sees a manager gone closes the channel. Calls on it are then cancelled, which is no cancellation
    of their task, and new ones meet a UsageError. Either would end the session's task for good, without a word.
    """
    try:
        yield
    except grpc.aio.UsageError as error:
        raise SessionError(f"{address}: {error}") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise SessionError(f"{address}: the call was cancelled") from None


def _heed_cancellation() -> None:
    """A task group that fails at the moment it is cancelled tells of its failure alone; we are to stop all the same."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


async def _discard(link: Link) -> None:
    link.call.cancel()


def _refusal(error: grpc.aio.AioRpcError, address: str) -> SessionError:
    text = reason_of(error)
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        trailers = grpc.aio.Metadata(*(error.trailing_metadata() or ()))  # type: ignore[arg-type]  # of pairs, indeed
        leader = trailers.get(LEADER_KEY) or ""
        return NotLeaderError(f"{address}: {text}", leader if isinstance(leader, str) else leader.decode())
    return SessionError(f"{address}: {text}")
