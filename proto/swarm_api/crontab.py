"""Times as crontab(5) writes them: five fields, or a name such as @daily; which moments they mean in a time zone.

Pure arithmetic on what it is given: the zone is an argument, no clock is read.  Where clocks are put forward, a time
that does not exist is taken as much later; where they are put back, a time that comes twice counts once, unless the
hour field is `*`: then both count, so that "every five minutes" stays that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_HORIZON_DAYS = 366 * 9  # between two 29ths of February lie eight years at most


class CrontabError(ValueError):
    """The expression cannot be read, or never comes true; the text says why."""


@dataclass(frozen=True, slots=True)
class Crontab:
    """The minutes, hours, days and months that are meant. Weekdays: 0 is Sunday."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    every_hour: bool
    either_day: bool  # days and weekdays are both restricted: one of them is enough

    def is_on(self, day: date) -> bool:
        """Whether it means some time of the day."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week


def parse_crontab(expression: str) -> Crontab:
    """What an expression means; CrontabError when it means nothing."""
    text = _NAMED.get(expression.strip().lower(), expression)
    fields = text.lower().split()
    if len(fields) != 5:
        raise CrontabError(
            f"{expression!r} is no schedule: write five fields (minute hour day month weekday), such as '*/5 * * * *'."
        )
    minute, hour, day, month, weekday = fields
    parsed = Crontab(
        minutes=tuple(sorted(_values(minute, "minute", 0, 59))),
        hours=tuple(sorted(_values(hour, "hour", 0, 23))),
        days=frozenset(_values(day, "day", 1, 31)),
        months=frozenset(_values(month, "month", 1, 12, _MONTHS)),
        weekdays=frozenset(number % 7 for number in _values(weekday, "weekday", 0, 7, _WEEKDAYS)),
        every_hour=hour.startswith("*"),
        either_day=not day.startswith("*") and not weekday.startswith("*"),
    )
    if not parsed.either_day and all(min(parsed.days) > _LONGEST_MONTH[month - 1] for month in parsed.months):
        raise CrontabError(f"{expression!r} never comes: no such month has a day {min(parsed.days)}.")
    return parsed


def _values(text: str, field: str, low: int, high: int, names: dict[str, int] | None = None) -> Iterator[int]:
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        first, last = _span(span, field, low, high, names or {}, is_open=bool(slash))
        step = _number(step_text, field, 1, high, {}) if slash else 1
        yield from range(first, last + 1, step)


def _span(text: str, field: str, low: int, high: int, names: dict[str, int], *, is_open: bool) -> tuple[int, int]:
    if text == "*":
        return low, high if field != "weekday" else 6
    first_text, dash, last_text = text.partition("-")
    first = _number(first_text, field, low, high, names)
    if not dash:
        return first, high if is_open else first
    last = _number(last_text, field, low, high, names)
    if last < first:
        raise CrontabError(f"The {field} field has the range {text!r}, which ends before it begins.")
    return first, last


def _number(text: str, field: str, low: int, high: int, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and low <= int(text) <= high):
        raise CrontabError(f"The {field} field has {text!r}; it takes numbers from {low} to {high}.")
    return int(text)


def next_after(table: Crontab, after_s: int, zone: tzinfo) -> int | None:
    """The first moment later than `after_s`; both in seconds since the epoch. None: none within nine years."""
    first_day = datetime.fromtimestamp(after_s, zone).date() - timedelta(days=1)
    for offset in range(_HORIZON_DAYS):
        day = first_day + timedelta(days=offset)
        if table.is_on(day) and (later := [moment for moment in _moments(table, day, zone) if moment > after_s]):
            return later[0]
    return None


def last_until(table: Crontab, until_s: int, after_s: int, zone: tzinfo) -> int | None:
    """The last moment that is later than `after_s` and not later than `until_s`; None when there is none."""
    last_day = datetime.fromtimestamp(until_s, zone).date() + timedelta(days=1)
    days = (until_s - after_s) // 86400 + 4
    for offset in range(min(days, _HORIZON_DAYS)):
        day = last_day - timedelta(days=offset)
        if table.is_on(day) and (found := [m for m in _moments(table, day, zone) if after_s < m <= until_s]):
            return found[-1]
    return None


def _moments(table: Crontab, day: date, zone: tzinfo) -> Sequence[int]:
    folds = (0, 1) if table.every_hour else (0,)
    return sorted(
        {
            int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone, fold=fold).timestamp())
            for hour in table.hours
            for minute in table.minutes
            for fold in folds
        }
    )
