"""The runs of a job with a schedule, for people."""

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.objects_pb2 import ScheduledRun, Service

from swarm_cli.render.text import Cell, Column, Table

_COLUMNS = (
    Column("RUN"),
    Column("SCHEDULED"),
    Column("STARTED"),
    Column("ENDED", rank=1),
    Column("OUTCOME"),
    Column("WHY", may_wrap=True),
)
_OUTCOMES = {
    ScheduledRun.UNDER_WAY: Cell("under way", "yellow"),
    ScheduledRun.COMPLETED: Cell("completed", "green"),
    ScheduledRun.FAILED_RUN: Cell("failed", "red"),
    ScheduledRun.REPLACED: Cell("replaced", "dim"),
    ScheduledRun.SKIPPED: Cell("skipped", "dim"),
}


def run_table(service: Service) -> Table:
    """A line a run, newest first; before them the next one. Times are UTC."""
    table = Table(_COLUMNS)
    status = service.schedule_status
    if status.HasField("next_run_at"):
        table.add("", moment(status.next_run_at), "", "", Cell("to come", "dim"), "")
    for run in status.runs:
        table.add(
            str(run.iteration or ""),
            moment(run.scheduled_at),
            moment(run.started_at),
            moment(run.ended_at),
            _OUTCOMES.get(run.outcome, Cell("?")),
            run.message,
        )
    return table


def moment(when: Timestamp) -> str:
    """`2026-11-23 08:30:00`; empty for a time that was never set."""
    return when.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if when.seconds else ""


def next_run(service: Service) -> str:
    """What a list says of a schedule: when it comes next, or why it does not."""
    if not service.spec.HasField("schedule"):
        return ""
    status = service.schedule_status
    if service.spec.schedule.suspended:
        return "suspended"
    return f"next run {moment(status.next_run_at)} UTC" if status.HasField("next_run_at") else status.message
