"""What is wrong with a job, or with its schedule."""

import re
from collections.abc import Iterator

from swarm_api.crontab import CrontabError, parse_crontab
from swarm_api.defaults import MAX_REPLICAS
from swarm_api.specs_pb2 import CronSchedule, ServiceSpec
from swarm_api.validation_words import duration_problems

_MAX_HISTORY = 100
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def job_problems(spec: ServiceSpec) -> Iterator[str]:
    """One sentence for each problem; none for a service that is no job and has no schedule."""
    is_job = spec.WhichOneof("mode") in ("replicated_job", "global_job")
    if is_job:
        yield from _runs(spec)
        parts = (("update", spec.HasField("update")), ("rollback", spec.HasField("rollback")))
        for name in (name for name, is_there in parts if is_there):
            yield f"{name} has no meaning for a job, whose tasks run to their end and are not replaced; leave it out."
    if spec.HasField("schedule"):
        if not is_job:
            yield "schedule goes with the modes replicated_job and global_job only."
        yield from _schedule(spec.schedule, spec.HasField("global_job"))


def _runs(spec: ServiceSpec) -> Iterator[str]:
    if not spec.HasField("replicated_job"):
        return
    job = spec.replicated_job
    total, at_once = job.total_completions, job.max_concurrent
    if not 1 <= total <= MAX_REPLICAS:
        yield f"replicated_job.total_completions is {total}; a job completes from 1 to {MAX_REPLICAS} times."
    if at_once > MAX_REPLICAS:
        yield f"replicated_job.max_concurrent is {at_once}; at most {MAX_REPLICAS} are allowed, and 0 means all."


def _schedule(schedule: CronSchedule, is_global: bool) -> Iterator[str]:
    try:
        parse_crontab(schedule.expression)
    except CrontabError as error:
        yield f"schedule.expression: {error}"
    if schedule.time_zone and not _ZONE.fullmatch(schedule.time_zone):
        yield f"schedule.time_zone is {schedule.time_zone!r}; it is a name such as Europe/Berlin, or empty for UTC."
    yield from duration_problems("schedule", starting_deadline=schedule.starting_deadline)
    if schedule.history_limit > _MAX_HISTORY:
        yield f"schedule.history_limit is {schedule.history_limit}; at most {_MAX_HISTORY} runs are kept."
    if is_global and schedule.concurrency == CronSchedule.ALLOW:
        yield "schedule.concurrency cannot be allow for a global job, which has one task a node; use forbid or replace."
