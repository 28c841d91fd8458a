"""From taking the lead to losing it: starts the leader's loops, watches over them, and ends them.

No loop dies silently.  One that fails is logged and started again at once: all of them are level-triggered, so
they take up where the state is.  One that keeps failing makes this manager useless as a leader while it looks like
one, so `run` raises and the process ends; another manager takes over.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import structlog

from swarm_manager.errors import JournalFullError, ManagerError, UnavailableError

_log = structlog.get_logger("leader")
Loop = Callable[[int], Awaitable[None]]  # given the term; runs until it is cancelled

_MAX_FAILURES = 20
_WITHIN_S = 60.0
_PAUSE_S = 0.2


class LoopBrokenError(ManagerError):
    """A control loop keeps failing."""


class Reign:
    """Runs the loops while this manager leads."""

    def __init__(
        self,
        loops: Mapping[str, Loop],
        *,
        reign: Callable[[], tuple[bool, int]],
        changed: Callable[[], Awaitable[None]],
        begin: Callable[[int], None],
        end: Callable[[], None],
    ) -> None:
        self._loops = loops
        self._reign = reign
        self._changed = changed
        self._begin = begin
        self._end = end

    async def run(self) -> None:
        """Until cancelled; LoopBrokenError when a loop cannot be kept alive."""
        while True:
            change = asyncio.ensure_future(self._changed())
            ready, term = self._reign()
            try:
                if ready:
                    await self._lead(term, change)
                else:
                    await change
            finally:
                change.cancel()

    async def _lead(self, term: int, change: "asyncio.Future[None]") -> None:
        _log.info("control loops start", term=term)
        self._begin(term)
        tasks = [asyncio.create_task(_kept_alive(name, loop, term), name=name) for name, loop in self._loops.items()]
        try:
            done, _ = await asyncio.wait([change, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {change}:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end()
            _log.info("control loops stopped", term=term)


async def _kept_alive(name: str, loop: Loop, term: int) -> None:
    failures: deque[float] = deque(maxlen=_MAX_FAILURES)
    while True:
        try:
            # In a task of its own: before Python 3.13 a TaskGroup that fails leaves its task looking cancelled.
            await asyncio.ensure_future(loop(term))
        except Exception as error:
            if _is_called_off():
                raise asyncio.CancelledError from error
            if _is_for_want_of_quorum(error):
                _log.info("a control loop waits", loop=name, why=str(error))
            else:
                _log.exception("a control loop failed and starts again", loop=name)
                failures.append(time.monotonic())
            if len(failures) == _MAX_FAILURES and failures[-1] - failures[0] < _WITHIN_S:
                raise LoopBrokenError(f"The control loop {name} keeps failing ({error!r}).") from error
        await asyncio.sleep(_PAUSE_S)


def _is_called_off() -> bool:
    """Whether this task was cancelled: a TaskGroup whose child fails in the same moment tells only of the child."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_for_want_of_quorum(error: Exception) -> bool:
    """Leadership, quorum or the disk is lost for now: no fault of the loop."""
    if isinstance(error, ExceptionGroup):
        return all(_is_for_want_of_quorum(inner) for inner in error.exceptions)
    return isinstance(error, UnavailableError | JournalFullError)
