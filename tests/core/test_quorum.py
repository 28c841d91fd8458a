"""Which dead manager the leader takes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_manager.core.quorum import LEAST_VOTERS, Health, dead_to_remove, quorum_of

HOUR = 3600.0


def members(*unreachable_s: float, voters: int | None = None) -> list[Health]:
    """Members a, b, c...; the first leads and is reachable."""
    count = len(unreachable_s) if voters is None else voters
    return [Health("abcdefgh"[n], n < count, silence) for n, silence in enumerate(unreachable_s)]


def test_the_longest_dead_of_five_goes_and_the_other_waits_for_its_turn() -> None:
    assert dead_to_remove(members(0, 0, 0, 2 * HOUR, 3 * HOUR), HOUR).remove == "e"
    assert dead_to_remove(members(0, 0, 0, 2 * HOUR), HOUR).remove == "d"


def test_who_was_dead_for_less_stays() -> None:
    assert dead_to_remove(members(0, 0, 0, 0.5 * HOUR), HOUR).remove == ""


def test_of_three_none_goes_and_the_reason_says_what_to_do() -> None:
    verdict = dead_to_remove(members(0, 0, 2 * HOUR), HOUR)
    assert verdict.remove == ""
    assert verdict.kept == (("c", "2 would be left, and fewer than 3 stand no loss: promote another node first"),)


def test_a_dead_learner_goes_at_any_size() -> None:
    assert dead_to_remove(members(0, 2 * HOUR, voters=1), HOUR).remove == "b"


@pytest.mark.parametrize(("voters", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_quorum(voters: int, quorum: int) -> None:
    assert quorum_of(voters) == quorum


silences = st.one_of(st.just(0.0), st.floats(min_value=0.001, max_value=1e6))
groups = st.lists(st.tuples(st.booleans(), silences), min_size=1, max_size=9)


@given(groups, st.floats(min_value=1.0, max_value=1e5))
def test_what_is_left_has_a_quorum_is_large_enough_and_only_the_dead_go(
    others: list[tuple[bool, float]], after_s: float
) -> None:
    known = [Health("leader", True, 0.0), *(Health(f"m{n}", v, s) for n, (v, s) in enumerate(others))]
    verdict = dead_to_remove(known, after_s)
    dead = {member.node_id: member for member in known if member.unreachable_s > after_s}
    assert {node_id for node_id, _ in verdict.kept} <= dead.keys()
    if not verdict.remove:
        assert len(verdict.kept) == len(dead), "each that stays is explained"
        return
    gone = dead[verdict.remove]
    left = [member for member in known if member.voter and member.node_id != gone.node_id]
    reachable = [member for member in left if member.is_reachable]
    if gone.voter:
        assert len(left) >= LEAST_VOTERS
        assert len(reachable) >= quorum_of(len(left))


@given(groups, st.floats(min_value=1.0, max_value=1e5))
def test_removing_again_and_again_ends_above_the_limits(others: list[tuple[bool, float]], after_s: float) -> None:
    known = [Health("leader", True, 0.0), *(Health(f"m{n}", v, s) for n, (v, s) in enumerate(others))]
    voters = sum(member.voter for member in known)
    while remove := dead_to_remove(known, after_s).remove:
        known = [member for member in known if member.node_id != remove]
    assert sum(member.voter for member in known) >= min(voters, LEAST_VOTERS)
