"""Finding the manager that leads.

Every known manager is asked for a session; only the leader gives one, and the others name it if they know it. A
manager that is dead must not hold the search up: the next is asked 0.15 s after the one before, whether that has
answered or not, and one that is named as the leader is asked at once. The first session wins.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from swarm_worker.errors import SessionError

STAGGER_S = 0.15

T = TypeVar("T")


class NotLeaderError(SessionError):
    """A manager that does not lead; it may know who does."""

    def __init__(self, message: str, leader: str = "") -> None:
        super().__init__(message)
        self.leader = leader


class Search(Generic[T]):
    """One round over the managers."""

    def __init__(self, ask: Callable[[str], Awaitable[T]], discard: Callable[[T], Awaitable[None]]) -> None:
        """`ask` a manager by its address: a session, or a SessionError. `discard` one session too many."""
        self._ask = ask
        self._discard = discard
        self._waiting: deque[str] = deque()
        self._asked: set[str] = set()
        self._pending: dict[asyncio.Task[T], str] = {}

    async def run(self, addresses: Iterable[str]) -> T:
        """The session of the first that gives one; SessionError says what each said when none does."""
        self._waiting.extend(dict.fromkeys(addresses))
        refusals: dict[str, str] = {}
        try:
            while self._waiting or self._pending:
                self._ask_next()
                for task in await self._answers():
                    address = self._pending.pop(task)
                    error = task.exception()
                    if error is None:
                        return task.result()
                    self._note(error, address, refusals)
        finally:
            await self._call_off()
        raise SessionError("; ".join(refusals.values()) or "no manager's address is known")

    def _ask_next(self) -> None:
        while self._waiting:
            address = self._waiting.popleft()
            if address not in self._asked:
                self._asked.add(address)
                self._pending[asyncio.ensure_future(self._asking(address))] = address
                return

    async def _asking(self, address: str) -> T:
        return await self._ask(address)

    async def _answers(self) -> Iterable["asyncio.Task[T]"]:
        if not self._pending:
            return ()
        patience_s = STAGGER_S if self._waiting else None
        done, _ = await asyncio.wait(self._pending, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        return done

    def _note(self, error: BaseException, address: str, refusals: dict[str, str]) -> None:
        if not isinstance(error, SessionError):
            raise error
        refusals[address] = str(error)
        if isinstance(error, NotLeaderError) and error.leader and error.leader not in self._asked:
            self._waiting.appendleft(error.leader)

    async def _call_off(self) -> None:
        for task in self._pending:
            task.cancel()
        for outcome in await asyncio.gather(*self._pending, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await self._discard(outcome)
