"""Calls that belong to the leader: run here when this manager leads, else passed on to whoever does.

Theory of operation
    A call is tried until it has an answer, or no leader was found for `no_leader_after_s`.  A try ends early when
    leadership changes, because then its answer may never come (a leader that froze, or was powered off, resets no
    connection).  Trying again is safe: reads change nothing, and each write carries a request id that the replicated
    state remembers (`Gate` gives one to those that came without).

    A try whose answer was lost may have been done.  Whatever a later try says then, "the disk is full", or "no manager
    leads", "and nothing was written" must not be the answer: the first one's entry may be in the log, and take effect
    when the disk recovers, or a leader is elected.

    The caller's role travels in the metadata.  A call that was passed on once is not passed on again: it fails with
    UNAVAILABLE, and the manager that sent it looks for the leader anew.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message
from swarm_api.channel import may_be_done

from swarm_manager.api.auth import FORWARDED_NODE, FORWARDED_ROLE, Caller
from swarm_manager.api.peers import PeerChannels
from swarm_manager.api.rules import Rule
from swarm_manager.errors import (
    JournalFullError,
    ManagerError,
    NotLeaderError,
    OutcomeUnknownError,
    UnavailableError,
    sentence,
)

NO_LEADER_AFTER_S = 2.5  # a client that gives up after 4 s must learn why
_LOOK_S = 0.03  # how often it is looked who leads, while nobody does or an answer is awaited
_FORWARD_TIMEOUT_S = 30.0  # of a caller who named no deadline
_HASTY_MARGIN_S = 0.2  # answer this long before the caller's own deadline, so that it learns why

Handler = Callable[[Any, Any], Awaitable[Message]]
StreamHandler = Callable[[Any, Any], AsyncIterator[Message | bytes]]


class RelayedError(ManagerError):
    """The leader's own refusal, to be answered as it is."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details() or error.code().name)
        self.code = error.code()
        self.trailing = tuple(error.trailing_metadata() or ())


class Leadership(Protocol):
    """Who leads, as far as this manager knows."""

    def leads(self) -> bool:
        """Whether this manager leads and has applied an entry of its own term."""

    def leader_address(self) -> str | None:
        """The API address of another manager that leads; None: nobody known, or this one."""

    def no_leader(self) -> NotLeaderError | JournalFullError:
        """Why nobody leads: how many managers are reachable and what a quorum is, or this one's full disk."""


class Forwarder:
    """Runs a leader's call on the leader."""

    def __init__(
        self, leadership: Leadership, peers: PeerChannels, no_leader_after_s: float = NO_LEADER_AFTER_S
    ) -> None:
        self._leadership = leadership
        self._peers = peers
        self._no_leader_after_s = no_leader_after_s

    async def run(self, rule: Rule, request: Message, who: Caller, local: Handler, context: Any) -> bytes:
        """The leader's answer, serialized.  Raises UnavailableError, RelayedError, or what the local handler raises."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._patience_s(context)
        in_doubt = False
        while True:
            try:
                return await self._try(rule, request, who, local, context)
            except UnavailableError as error:
                in_doubt = in_doubt or (rule.has_request_id and not isinstance(error, NotLeaderError))
                if who.forwarded or clock() >= give_up_at:
                    raise self._final(error, in_doubt=in_doubt) from error
            except (JournalFullError, RelayedError) as error:
                if in_doubt and _says_full(error):
                    raise _doubtful(error) from error
                raise
            await asyncio.sleep(min(_LOOK_S, max(0.0, give_up_at - clock())))

    def _patience_s(self, context: Any) -> float:
        remaining: float | None = context.time_remaining()
        if remaining is None:
            return self._no_leader_after_s
        return max(0.0, min(self._no_leader_after_s, remaining - _HASTY_MARGIN_S))

    async def _try(self, rule: Rule, request: Message, who: Caller, local: Handler, context: Any) -> bytes:
        if self._leadership.leads():
            return (await local(request, context)).SerializeToString()
        address = self._leadership.leader_address()
        if address is None or who.forwarded:
            raise NotLeaderError(str(self._leadership.no_leader()))
        return await self._pass_on(address, rule, request, who, context)

    def stream(self, rule: Rule, who: Caller, local: StreamHandler) -> StreamHandler:
        """What answers a streaming call: the local handler while this manager leads, else the leader's.

        A stream is never begun twice: one that breaks ends with UnavailableError, and the caller begins anew.
        """

        def answer(request: Any, context: Any) -> AsyncIterator[Message | bytes]:
            if self._leadership.leads():
                return local(request, context)
            return self._relayed(rule, request, who, context)

        return answer

    async def _relayed(self, rule: Rule, request: Message, who: Caller, context: Any) -> AsyncIterator[bytes]:
        address = self._leadership.leader_address()
        if address is None or who.forwarded:
            raise NotLeaderError(str(self._leadership.no_leader()))
        call = self._peers.channel(address).unary_stream(rule.path, None, None)(
            request.SerializeToString(),
            timeout=context.time_remaining(),
            metadata=((FORWARDED_ROLE, who.role), (FORWARDED_NODE, who.node_id)),
        )
        try:
            with _heard_from_the_leader():
                async for message in call:
                    yield message
        finally:
            call.cancel()

    async def _pass_on(self, address: str, rule: Rule, request: Message, who: Caller, context: Any) -> bytes:
        call = self._peers.channel(address).unary_unary(rule.path, None, None)(
            request.SerializeToString(),
            timeout=context.time_remaining() or _FORWARD_TIMEOUT_S,
            metadata=((FORWARDED_ROLE, who.role), (FORWARDED_NODE, who.node_id)),
        )
        answer = asyncio.ensure_future(_outcome(call))
        try:
            while not answer.done():
                await asyncio.wait({answer}, timeout=_LOOK_S)
                if not answer.done() and self._leadership.leader_address() != address:
                    raise UnavailableError("Leadership changed while the leader was being asked.")
            return answer.result()
        finally:
            if answer.cancel():
                call.cancel()

    def _final(self, error: UnavailableError, *, in_doubt: bool) -> UnavailableError | JournalFullError:
        reason = error if self._leadership.leads() else self._leadership.no_leader()
        return _doubtful(reason) if in_doubt and not isinstance(reason, OutcomeUnknownError) else reason


def _says_full(error: JournalFullError | RelayedError) -> bool:
    return isinstance(error, JournalFullError) or error.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def _doubtful(reason: ManagerError) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"{sentence(str(reason))} Whether this request was done before, a repetition will tell.")


async def _outcome(call: Any) -> bytes:
    with _heard_from_the_leader():
        return bytes(await call)


@contextlib.contextmanager
def _heard_from_the_leader() -> Iterator[None]:
    """What ends a call to the leader, in our own errors."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            kind = UnavailableError if may_be_done(error) else NotLeaderError
            raise kind(error.details() or "the leader does not answer") from error
        raise RelayedError(error) from error
    except asyncio.CancelledError:
        # Not always ours: grpc.aio raises it also when a leader that stops cancels the call.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise UnavailableError("the leader stopped while it was asked") from None
