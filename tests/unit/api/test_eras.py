"""Eras only rise, whatever the clock says, and so do the terms and the indexes in them."""

from hypothesis import given
from hypothesis import strategies as st
from swarm_api.eras import election_of, era_of, first_index, first_term, next_era

EPOCH_S = 1_735_689_600
terms = st.integers(0, 2**62)
clocks = st.floats(0, EPOCH_S + 2**31)


@given(terms, clocks)
def test_a_new_era_is_above_every_term_of_the_one_before(term: int, now_s: float) -> None:
    era = next_era(term, now_s)
    assert first_term(era) > term
    assert era_of(first_term(era)) == era
    assert election_of(first_term(era)) == 0


@given(terms, clocks, st.integers(1, 2**31))
def test_a_backup_restored_twice_gives_two_eras_where_the_clock_is_right(term: int, now_s: float, ran_s: int) -> None:
    now_s = max(now_s, EPOCH_S + era_of(term))  # right: later than when the old era began
    first = next_era(term, now_s)
    second = next_era(term, now_s + ran_s)
    assert second >= first
    assert second > first or first == era_of(term) + 1  # both within the second in which the old era began


@given(st.integers(2**12, 2**31), st.integers(1, 10**9), st.integers(0, 2**20 - 1))
def test_no_version_of_the_old_cluster_is_one_of_the_new(era: int, ran_s: int, commits_a_second: int) -> None:
    """The old cluster went on for `ran_s` after the backup that the new one comes from."""
    began = first_index(era, 0)
    reached = began + ran_s * commits_a_second
    later = first_index(max(era + 1, era + ran_s), began)
    assert later > reached


@given(st.integers(0, 2**31), st.integers(0, 2**52))
def test_an_index_never_runs_backwards(era: int, last_index: int) -> None:
    assert first_index(era, last_index) > last_index


def test_versions_and_terms_fit_where_they_are_kept() -> None:
    """JSON readers keep 53 bits of a number; a term has 64, and PySyncObj's tests of it are signed nowhere."""
    far = next_era(0, EPOCH_S + 50 * 365 * 86400)
    assert first_index(far, 10**9) < 2**53
    assert first_term(far) + 2**32 < 2**63
