"""Reports on their way to the leader: kept until acknowledged, whatever happens to sessions in between.

A task's states only move forward, so its latest report says all the earlier ones said: one report a task is kept.
"""

from collections.abc import Iterable

from swarm_api.dispatcher_pb2 import TaskReport
from swarm_api.objects_pb2 import TaskStatus


class PendingReports:
    """The unacknowledged reports, oldest first."""

    def __init__(self) -> None:
        self._pending: dict[str, TaskReport] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, task_id: str, status: TaskStatus) -> None:
        """Keep a report; it replaces an earlier one of the same task."""
        self._pending[task_id] = TaskReport(task_id=task_id, status=status)

    def batch(self, limit: int) -> list[TaskReport]:
        """Up to `limit` reports to send now. They stay pending until `acknowledge`."""
        return list(self._pending.values())[:limit]

    def acknowledge(self, reports: Iterable[TaskReport]) -> None:
        """The leader committed these. A task that was reported anew meanwhile stays pending."""
        for report in reports:
            if self._pending.get(report.task_id) is report:
                del self._pending[report.task_id]

    def forget(self, task_id: str) -> None:
        """The task is not ours any more: nobody waits for its report."""
        self._pending.pop(task_id, None)
