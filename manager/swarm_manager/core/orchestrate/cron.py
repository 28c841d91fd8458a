"""Jobs with a schedule: begins the next run when its time has come, or says why not.

Theory of operation
    `Service.schedule_status` keeps the next time, worked out once, and the last runs.  When the time has come, of all
    times that have passed only the last one counts: what was missed while nobody led is made up for by one run, unless
    it is later than the starting deadline.  A run is begun by counting up `job_iteration` (see jobs.py), in the same
    change of the service that moves the next time on, so that two leaders cannot begin the same one.

    A changed schedule, and one that is taken up again after a suspension, counts from now.
"""

from swarm_api.crontab import CrontabError, last_until, next_after, parse_crontab
from swarm_api.defaults import SCHEDULE_HISTORY_LIMIT
from swarm_api.objects_pb2 import SERVICE, ScheduledRun, Service
from swarm_api.specs_pb2 import CronSchedule

from swarm_manager.core.orchestrate.jobs import may_overlap, standing
from swarm_manager.core.scratch import Scratch, copy_of
from swarm_manager.core.times import SECOND_NS, duration_ns, ns, timestamp

BY_HAND = "begun by hand"


def follow_schedule(scratch: Scratch, service: Service) -> Service:
    """The service with its ended runs noted and the next one begun if it is due; stores it where that changed it."""
    new = copy_of(service)
    if service.spec.HasField("schedule"):
        _note_runs(scratch, new)
        _keep_time(scratch, new)
        _forget_old_runs(new)
    else:
        new.ClearField("schedule_status")
    if new == service:
        return service
    scratch.put(SERVICE, new)
    return new


def _note_runs(scratch: Scratch, service: Service) -> None:
    """Runs that ended, or that somebody forced."""
    runs, present = service.schedule_status.runs, service.job_iteration.index
    if present and not any(run.iteration == present for run in runs):
        forced = ScheduledRun(iteration=present, started_at=scratch.now, message=BY_HAND)
        service.schedule_status.runs.insert(0, forced)
    for run in service.schedule_status.runs:
        if run.outcome != ScheduledRun.UNDER_WAY:
            continue
        at = standing(scratch, service, int(run.iteration))
        if at.is_over and at.failed:
            _end(scratch, run, ScheduledRun.FAILED_RUN, f"{at.failed} of {at.wanted} tasks failed")
        elif at.is_over:
            _end(scratch, run, ScheduledRun.COMPLETED, "")
        elif run.iteration != present and not may_overlap(service.spec):
            _end(scratch, run, ScheduledRun.REPLACED, "stopped for the next run")


def _end(scratch: Scratch, run: ScheduledRun, outcome: ScheduledRun.Outcome.ValueType, message: str) -> None:
    run.outcome = outcome
    run.message = message or run.message
    run.ended_at.CopyFrom(scratch.now)


def _keep_time(scratch: Scratch, service: Service) -> None:
    """Begins what is due, and works out the next time where it is not known."""
    schedule, status = service.spec.schedule, service.schedule_status
    if status.schedule != schedule:
        status.schedule.CopyFrom(schedule)
        status.ClearField("next_run_at")
    status.message = ""
    if schedule.suspended:
        status.ClearField("next_run_at")
        return
    known_ns = ns(status.next_run_at)
    if known_ns > scratch.now_ns:
        scratch.wake(service.id, known_ns)
        return
    _move_on(scratch, service, known_ns)


def _move_on(scratch: Scratch, service: Service, due_ns: int) -> None:
    schedule, status = service.spec.schedule, service.schedule_status
    status.ClearField("next_run_at")
    zone = scratch.zone_of(schedule.time_zone)
    if zone is None:
        status.message = f"The time zone {schedule.time_zone} is not known to the manager that leads."
        return
    try:
        table = parse_crontab(schedule.expression)
    except CrontabError as error:
        status.message = str(error)
        return
    now_s = scratch.now_ns // SECOND_NS
    if due_ns:
        last_s = last_until(table, now_s, due_ns // SECOND_NS - 1, zone)
        _due(scratch, service, due_ns if last_s is None else last_s * SECOND_NS)
    _set_next(scratch, service, next_after(table, now_s, zone))


def _set_next(scratch: Scratch, service: Service, next_s: int | None) -> None:
    if next_s is None:
        service.schedule_status.message = f"The schedule never comes: {service.spec.schedule.expression}"
        return
    service.schedule_status.next_run_at.CopyFrom(timestamp(next_s * SECOND_NS))
    scratch.wake(service.id, next_s * SECOND_NS)


def _due(scratch: Scratch, service: Service, due_ns: int) -> None:
    schedule = service.spec.schedule
    late_ns = scratch.now_ns - due_ns
    if schedule.HasField("starting_deadline") and late_ns > duration_ns(schedule.starting_deadline):
        _skip(scratch, service, due_ns, f"it could be begun {late_ns // SECOND_NS} s late only, after its deadline")
    elif schedule.concurrency == CronSchedule.FORBID and _is_under_way(service):
        _skip(scratch, service, due_ns, "the run before is still under way")
    else:
        _begin(scratch, service, due_ns)


def _is_under_way(service: Service) -> bool:
    return any(run.outcome == ScheduledRun.UNDER_WAY for run in service.schedule_status.runs)


def _skip(scratch: Scratch, service: Service, due_ns: int, why: str) -> None:
    run = ScheduledRun(scheduled_at=timestamp(due_ns), ended_at=scratch.now, outcome=ScheduledRun.SKIPPED, message=why)
    service.schedule_status.runs.insert(0, run)


def _begin(scratch: Scratch, service: Service, due_ns: int) -> None:
    service.job_iteration.index += 1
    run = ScheduledRun(iteration=service.job_iteration.index, scheduled_at=timestamp(due_ns), started_at=scratch.now)
    if not may_overlap(service.spec):
        for before in service.schedule_status.runs:
            if before.outcome == ScheduledRun.UNDER_WAY:
                _end(scratch, before, ScheduledRun.REPLACED, "stopped for the next run")
    service.schedule_status.runs.insert(0, run)


def _forget_old_runs(service: Service) -> None:
    """Keeps what is under way, and so many of the others; skipped ones have a share of their own."""
    limit = service.spec.schedule.history_limit or SCHEDULE_HISTORY_LIMIT
    room = {True: limit, False: limit}
    kept = []
    for run in service.schedule_status.runs:
        is_skipped = run.outcome == ScheduledRun.SKIPPED
        if run.outcome == ScheduledRun.UNDER_WAY or room[is_skipped] > 0:
            kept.append(run)
        room[is_skipped] -= run.outcome != ScheduledRun.UNDER_WAY
    del service.schedule_status.runs[:]
    service.schedule_status.runs.extend(kept)


def kept_iterations(service: Service) -> set[int]:
    """The runs whose tasks are kept: those that `schedule_status` tells of, and the present one."""
    return {int(run.iteration) for run in service.schedule_status.runs} | {int(service.job_iteration.index)}
