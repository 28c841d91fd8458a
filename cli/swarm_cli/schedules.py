"""Schedules of jobs, as flags and as `deploy.x-schedule` of a compose file."""

from collections.abc import Callable, Mapping
from typing import Any

import click
from swarm_api.crontab import parse_crontab
from swarm_api.specs_pb2 import CronSchedule, ServiceSpec

from swarm_cli.compose.part import Part
from swarm_cli.quantities import parse_duration, parse_whole

CONCURRENCY = {
    "forbid": CronSchedule.FORBID,
    "allow": CronSchedule.ALLOW,
    "replace": CronSchedule.REPLACE_RUNNING,
}


def schedule_options(duration: Any) -> list[Callable[[Any], Any]]:
    """The flags of `service create` and `service update`; `duration` is the type of their durations."""
    option = click.option
    return [
        option("--schedule", metavar="CRONTAB", help="Of a job: when it runs, as '*/5 * * * *'; '' takes it away."),
        option("--time-zone", metavar="ZONE", help="Of the schedule: an IANA name (UTC)."),
        option("--concurrency", type=click.Choice(list(CONCURRENCY)), help="When the run before goes on (forbid)."),
        option("--starting-deadline", type=duration, help="A run missed for longer is skipped."),
        option("--keep-runs", type=click.IntRange(min=1), help="How many runs are remembered (5)."),
        option("--suspend/--no-suspend", default=None, help="Begin no runs for now, or begin them again."),
    ]


def apply_schedule(spec: ServiceSpec, flags: Mapping[str, Any]) -> None:
    """Change the spec's schedule by the flags that were given.  ValueError for one that cannot be read."""
    expression = flags.get("schedule")
    names = ("time_zone", "concurrency", "starting_deadline", "keep_runs", "suspend")
    given = {name: flags[name] for name in names if flags.get(name) is not None}
    if expression == "":
        spec.ClearField("schedule")
    elif expression is not None:
        parse_crontab(expression)
        spec.schedule.expression = expression
    if given and not spec.HasField("schedule"):
        flag = next(iter(given)).replace("_", "-")
        raise ValueError(f"--{flag} goes with --schedule, which says when the job runs.")
    if given:
        _fill(spec.schedule, given)


def _fill(schedule: CronSchedule, given: Mapping[str, Any]) -> None:
    if "time_zone" in given:
        schedule.time_zone = given["time_zone"]
    if "concurrency" in given:
        schedule.concurrency = CONCURRENCY[given["concurrency"]]
    if "starting_deadline" in given:
        schedule.starting_deadline.CopyFrom(given["starting_deadline"])
    if "keep_runs" in given:
        schedule.history_limit = given["keep_runs"]
    if "suspend" in given:
        schedule.suspended = given["suspend"]


def convert_schedule(spec: ServiceSpec, deploy: Part) -> None:
    """`x-schedule: "*/5 * * * *"`, or a mapping with expression, time_zone, concurrency, ..."""
    value = deploy.take("x-schedule")
    if value is None:
        return
    if not isinstance(value, dict):
        value = {"expression": str(value)}
    part = Part(value, (*deploy.position, "x-schedule"), deploy.notes)
    spec.schedule.expression = part.parse("expression", _checked) or ""
    given = {
        "time_zone": part.take("time_zone"),
        "concurrency": part.parse("concurrency", _concurrency),
        "starting_deadline": part.parse("starting_deadline", parse_duration),
        "keep_runs": part.parse("keep_runs", lambda number: parse_whole(str(number), "number of runs")),
        "suspend": part.take("suspend"),
    }
    _fill(spec.schedule, {name: one for name, one in given.items() if one is not None})
    part.finish()


def _checked(expression: Any) -> str:
    parse_crontab(str(expression))
    return str(expression)


def _concurrency(name: Any) -> str:
    if name not in CONCURRENCY:
        raise ValueError(f"{name!r} is no concurrency; use {', '.join(CONCURRENCY)}")
    return str(name)
