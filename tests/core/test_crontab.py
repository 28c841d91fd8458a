"""What a crontab expression means, in which zone, and what cannot be meant."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_api.crontab import CrontabError, last_until, next_after, parse_crontab

BERLIN = ZoneInfo("Europe/Berlin")


def following(expression: str, start: datetime, count: int = 3) -> list[str]:
    """The next moments after `start`, as people in its zone write them."""
    table, moment_s, zone, found = parse_crontab(expression), int(start.timestamp()), start.tzinfo, []
    assert zone is not None
    for _ in range(count):
        later = next_after(table, moment_s, zone)
        assert later is not None
        moment_s = later
        found.append(datetime.fromtimestamp(moment_s, zone).strftime("%Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("expression", "moments"),
    [
        ("*/20 * * * *", ["2024-02-27 10:20", "2024-02-27 10:40", "2024-02-27 11:00"]),
        ("5 0 29 2 *", ["2024-02-29 00:05", "2028-02-29 00:05", "2032-02-29 00:05"]),
        ("0 12 * * mon-fri", ["2024-02-27 12:00", "2024-02-28 12:00", "2024-02-29 12:00"]),
        ("0 12 * * 7", ["2024-03-03 12:00", "2024-03-10 12:00", "2024-03-17 12:00"]),
        ("0 0 1 * fri", ["2024-03-01 00:00", "2024-03-08 00:00", "2024-03-15 00:00"]),
        ("0 0 31 * *", ["2024-03-31 00:00", "2024-05-31 00:00", "2024-07-31 00:00"]),
        ("30/15 8,20 * jan,apr *", ["2024-04-01 08:30", "2024-04-01 08:45", "2024-04-01 20:30"]),
        ("@weekly", ["2024-03-03 00:00", "2024-03-10 00:00", "2024-03-17 00:00"]),
        ("@yearly", ["2025-01-01 00:00", "2026-01-01 00:00", "2027-01-01 00:00"]),
    ],
)
def test_the_next_moments(expression: str, moments: list[str]) -> None:
    assert following(expression, datetime(2024, 2, 27, 10, 1, tzinfo=UTC)) == moments


def test_a_time_that_does_not_exist_comes_an_hour_later() -> None:
    before = datetime(2024, 3, 30, 12, 0, tzinfo=BERLIN)
    assert following("30 2 * * *", before) == ["2024-03-31 03:30", "2024-04-01 02:30", "2024-04-02 02:30"]


def test_a_time_that_comes_twice_counts_once_but_every_half_hour_goes_on() -> None:
    before = datetime(2024, 10, 26, 12, 0, tzinfo=BERLIN)
    assert following("30 2 * * *", before, 2) == ["2024-10-27 02:30", "2024-10-28 02:30"]
    table, moment_s = parse_crontab("*/30 * * * *"), int(datetime(2024, 10, 27, 0, 0, tzinfo=BERLIN).timestamp())
    moments = [moment_s]
    for _ in range(12):
        moments.append(next_after(table, moments[-1], BERLIN) or 0)
    assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {1800}


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"),
        *("*/0 * * * *", "5-1 * * * *", "a * * * *", "* * 30 feb *", "1- * * * *", ", * * * *", "-1 * * * *"),
        *("@never", "² * * * *"),
    ],
)
def test_what_cannot_be_meant_is_refused(expression: str) -> None:
    with pytest.raises(CrontabError):
        parse_crontab(expression)


FIELDS = st.tuples(
    st.sampled_from(["*", "*/7", "0", "5,50", "10-20/3"]),
    st.sampled_from(["*", "*/6", "2", "0-4", "23"]),
    st.sampled_from(["*", "1", "29", "*/10"]),
    st.sampled_from(["*", "2,3", "10", "mar-oct"]),
    st.sampled_from(["*", "0", "mon-fri"]),
)
MOMENTS = st.integers(1_600_000_000, 1_900_000_000)
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")])


@settings(deadline=None)  # the first use of a time zone reads its file
@given(FIELDS, MOMENTS, ZONES)
def test_the_next_moment_is_the_last_one_until_itself(fields: tuple[str, ...], start_s: int, zone: ZoneInfo) -> None:
    table = parse_crontab(" ".join(fields))
    found = next_after(table, start_s, zone)
    assert found is not None and found > start_s
    assert last_until(table, found, start_s, zone) == found
    assert last_until(table, found - 1, start_s, zone) is None
    assert table.is_on((datetime.fromtimestamp(found, zone) - timedelta(hours=1)).date()) or table.is_on(
        datetime.fromtimestamp(found, zone).date()
    )
