"""What a call to a manager may meet, as the one error that sessions deal with."""

import asyncio
import contextlib
from collections.abc import Iterator

import grpc
from swarm_api.errors import LEADER_ADDRESS

from swarm_worker.channels import reason_of
from swarm_worker.errors import SessionError
from swarm_worker.search import NotLeaderError


@contextlib.contextmanager
def ended_by_us(address: str) -> Iterator[None]:
    """Makes a SessionError of what a call meets when it or its channel is over, and that was noticed elsewhere.

    The task that first sees a manager gone closes the channel. Calls on it are then cancelled, which is no cancellation
    of their task, and new ones meet a UsageError; who writes to a call that has ended meets an InvalidStateError. Each
    would end the session's task for good, without a word.
    """
    try:
        yield
    except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
        raise SessionError(f"{address}: {error}") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise SessionError(f"{address}: the call was cancelled") from None


def refusal(error: grpc.aio.AioRpcError, address: str) -> SessionError:
    """Why the manager refused, and whom it named as the leader if it did for that."""
    text = reason_of(error)
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        trailers = grpc.aio.Metadata(*(error.trailing_metadata() or ()))  # type: ignore[arg-type]  # of pairs, indeed
        leader = trailers.get(LEADER_ADDRESS) or ""
        return NotLeaderError(f"{address}: {text}", leader if isinstance(leader, str) else leader.decode())
    return SessionError(f"{address}: {text}")
