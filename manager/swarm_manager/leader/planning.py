"""Runs the pure planner whenever something changed that it may have to answer, and commits what it decides.

Theory of operation
    `_listen` collects what became dirty, from the stream of commits; `_plan_all` plans for it on the latest snapshot
    and proposes the plan in entries of bounded size.  A conflict means that somebody was faster: what was planned for
    stays dirty and is planned anew.  The plan's own commits come back as events and are planned for once more, which
    decides nothing unless something is left to do.

    A plan is one piece of work that the loop does nothing beside: no heartbeat is answered meanwhile. So many dirty
    services are planned for in several plans, and the loop gets as much time for all else as a plan took.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator

import structlog
from swarm_api.ids import new_id

from swarm_manager.api.proposing import change_set, now_timestamp
from swarm_manager.core.dirty import dirty_ids
from swarm_manager.core.machine import Committed
from swarm_manager.core.planner import ALL, Agenda, All, Dirty, Plan, plan, portion
from swarm_manager.core.times import ns
from swarm_manager.errors import OutcomeUnknownError, TooOldError
from swarm_manager.ports import Store
from swarm_manager.time_zones import zone_of

_log = structlog.get_logger("planner")
ENTRY_SIZE_BYTES = 256 * 1024
TASKS_AT_ONCE = 5_000  # of dirty services in one plan, about 50 ms
_RETRY_S = 0.5  # after a plan that the state machine refuses: a fault, not a race


class Planning:
    """The planner's loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty: set[str] | All = ALL
        self._agenda = Agenda()
        self._woken = asyncio.Event()
        self._ids: Iterator[str] = iter(new_id, "")

    async def run(self, term: int) -> None:
        """Plan until cancelled."""
        self._dirty, self._agenda = ALL, Agenda()
        self._woken.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._plan_all(term))

    async def _listen(self) -> None:
        while True:
            start = self._store.snapshot.index
            self._mark(ALL)
            with contextlib.suppress(TooOldError):  # we fell behind: everything is dirty, follow from now on
                async for fresh in self._store.follow(start):
                    for batch in fresh:
                        self._mark(dirty_ids(batch.events, batch.snapshot))

    def _mark(self, dirty: Dirty) -> None:
        if isinstance(dirty, All) or isinstance(self._dirty, All):
            self._dirty = ALL
        elif dirty:
            self._dirty |= set(dirty)
        else:
            return
        self._woken.set()

    async def _plan_all(self, term: int) -> None:
        while True:
            await self._wait()
            dirty = self._take()
            if isinstance(dirty, All) or dirty:
                await self._plan(dirty, term)

    async def _wait(self) -> None:
        due = self._agenda.next_at()
        timeout_s = None if due is None else max(0.0, (ns(due) - time.time_ns()) / 1e9)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), timeout_s)
        self._woken.clear()

    def _take(self) -> Dirty:
        """What to plan for now; what is too much for one plan stays dirty."""
        dirty: Dirty = self._dirty
        self._dirty = set()
        if isinstance(dirty, All):
            return ALL
        now, later = portion(self._store.snapshot, set(dirty) | self._agenda.due(now_timestamp()), TASKS_AT_ONCE)
        self._mark(later)
        return now

    async def _plan(self, dirty: Dirty, term: int) -> None:
        began = time.monotonic()
        decided = plan(self._store.snapshot, now_timestamp(), dirty, self._ids, zone_of)
        took_s = time.monotonic() - began
        if await self._commit(decided, term):
            self._agenda.note(decided)
        else:
            self._mark(dirty)
        await asyncio.sleep(took_s)

    async def _commit(self, decided: Plan, term: int) -> bool:
        """Whether all of it is in the state; what is not was decided on a state that is no longer."""
        for changes in decided.batches(ENTRY_SIZE_BYTES):
            try:
                outcome = await self._store.propose(change_set(changes), term)
            except OutcomeUnknownError:
                return False
            if not isinstance(outcome, Committed):
                if not outcome.stale:
                    _log.error("the plan was refused", reason=outcome.reason)
                    await asyncio.sleep(_RETRY_S)
                return False
        return True
