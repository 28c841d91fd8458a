"""What workers observe, written to the state: all nodes' reports of a moment in one commit.

A report is acknowledged when it is committed.  Reports are merged with the state when they are proposed, so one that
is late, repeated or out of order changes nothing, and a batch may be decided anew after a conflict.
"""

import asyncio
from dataclasses import dataclass, field

import structlog
from swarm_api.dispatcher_pb2 import TaskReport
from swarm_api.objects_pb2 import NodeDescription
from swarm_api.store_pb2 import Change
from swarm_api.types_pb2 import NodeState

from swarm_manager.api.proposing import change_set, now_timestamp
from swarm_manager.core import status
from swarm_manager.core.entries import entries
from swarm_manager.core.machine import Committed
from swarm_manager.core.snapshot import View
from swarm_manager.errors import ManagerError, NotLeaderError, OutcomeUnknownError, RefusedError
from swarm_manager.ports import Store

_log = structlog.get_logger("reports")
GATHER_S = 0.012
GATHER_S_A_NODE = 0.001  # more where many report: a call and a commit for each few states would cost them all more time
_BATCH_SIZE_BYTES = 32 * 1024  # of reports that are committed and acknowledged together
_ENTRY_SIZE_BYTES = 256 * 1024  # of the tasks that they change, which are larger than the reports
_ATTEMPTS = 20


@dataclass(slots=True)
class _FromNode:
    reports: list[TaskReport] = field(default_factory=list)
    description: NodeDescription | None = None
    address: str = ""
    leaves: bool = False
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)


class Reports:
    """Gathers reports for a moment and commits them together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gathered: dict[str, _FromNode] = {}
        self._arrived = asyncio.Event()

    async def submit(
        self,
        node_id: str,
        reports: list[TaskReport],
        description: NodeDescription | None = None,
        address: str = "",
        *,
        leaves: bool = False,
    ) -> None:
        """Return when it is committed; with a description, the node is READY from then on; DOWN, when it `leaves`."""
        node = self._gathered.setdefault(node_id, _FromNode())
        node.reports.extend(reports)
        if description is not None:
            node.description, node.address = description, address
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        node.leaves = node.leaves or leaves
        node.waiting.append(done)
        self._arrived.set()
        await done

    async def run(self, term: int) -> None:
        """Commit what arrives, for as long as this manager leads in `term`: the first at once, more after a moment."""
        clock = asyncio.get_running_loop().time
        not_before = clock()
        while True:
            await self._arrived.wait()
            await asyncio.sleep(max(0.0, not_before - clock()))
            self._arrived.clear()
            gathered, self._gathered = self._gathered, {}
            not_before = clock() + GATHER_S + len(gathered) * GATHER_S_A_NODE
            try:
                for batch in _batches(gathered):
                    await self._settle(batch, term)
            finally:  # whatever happened, nobody waits for ever
                _fail(gathered, NotLeaderError("The report was not committed; report again."))

    def abandon(self, reason: ManagerError) -> None:
        """This manager does not lead any more: whoever waits reports again to the new leader."""
        gathered, self._gathered = self._gathered, {}
        _fail(gathered, reason)

    async def _settle(self, batch: dict[str, _FromNode], term: int) -> None:
        try:
            await self._commit(batch, term)
        except ManagerError as error:
            if len(batch) > 1 and isinstance(error, RefusedError):
                for node_id, node in batch.items():  # one node's nonsense must not stop the others
                    await self._settle({node_id: node}, term)
                return
            _fail(batch, error)
        except asyncio.CancelledError:
            _fail(batch, NotLeaderError("This manager does not lead any more."))
            raise
        else:
            _succeed(batch)

    async def _commit(self, batch: dict[str, _FromNode], term: int) -> None:
        for _ in range(_ATTEMPTS):
            changes = _merged(self._store.snapshot, batch)
            if await self._propose(changes, term):
                return
        raise OutcomeUnknownError("The report could not be committed; report again.")

    async def _propose(self, changes: list[Change], term: int) -> bool:
        """Whether all is committed; else merging again is safe: what was committed makes no change."""
        for entry in entries(changes, _ENTRY_SIZE_BYTES):
            try:
                outcome = await self._store.propose(change_set(entry), term)
            except OutcomeUnknownError:
                return False
            if isinstance(outcome, Committed):
                continue
            if outcome.stale:
                return False
            _log.error("a report was refused", reason=outcome.reason)
            raise RefusedError(outcome.reason)
        return True


def _batches(gathered: dict[str, _FromNode]) -> list[dict[str, _FromNode]]:
    batches: list[dict[str, _FromNode]] = []
    size_bytes = 0
    for node_id, node in gathered.items():
        own_bytes = sum(report.ByteSize() for report in node.reports)
        if not batches or size_bytes + own_bytes > _BATCH_SIZE_BYTES:
            batches.append({})
            size_bytes = 0
        batches[-1][node_id] = node
        size_bytes += own_bytes
    return batches


def _merged(view: View, batch: dict[str, _FromNode]) -> list[Change]:
    now = now_timestamp()
    changes: list[Change] = []
    for node_id, node in batch.items():
        if node.description is not None:
            changes += status.node_seen(view, node_id, node.description, node.address, now)
        if node.reports:
            changes += status.merge_reports(view, node_id, node.reports, now)
        if node.leaves:
            changes += status.node_lost(view, node_id, NodeState.DOWN, "It left the cluster.", now)
    return changes


def _succeed(batch: dict[str, _FromNode]) -> None:
    for node in batch.values():
        for waiting in node.waiting:
            if not waiting.done():
                waiting.set_result(None)


def _fail(batch: dict[str, _FromNode], error: ManagerError) -> None:
    for node in batch.values():
        for waiting in node.waiting:
            if not waiting.done():
                waiting.set_exception(error)
