"""The leader's sessions: silence, replacement, and the end of a reign."""

import asyncio

import pytest
from swarm_manager.api.sessions import Sessions
from swarm_manager.errors import NotFoundError, NotLeaderError, RefusedError


class Clock:
    """A clock that stands until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    found = Sessions(clock)
    found.begin(3)
    return found


def test_silence_counts_from_the_last_sign_of_life(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("n1", 1)
    clock.now += 2
    assert sessions.silence_s("n1") == 2
    sessions.heard("n1", session.id)
    assert sessions.silence_s("n1") == 0


def test_a_node_nobody_heard_of_has_the_whole_patience_of_a_new_leader(sessions: Sessions, clock: Clock) -> None:
    clock.now += 1
    assert sessions.silence_s("n9") == 1
    sessions.begin(4)
    assert sessions.silence_s("n9") == 0


def test_who_has_not_come_yet_is_not_judged_while_others_come(sessions: Sessions, clock: Clock) -> None:
    for number in range(10):
        clock.now += 2
        session = sessions.open(f"n{number}", 1)
        assert sessions.silence_s("n99") == 0
    clock.now += 2
    sessions.heard("n9", session.id)
    sessions.open("n9", 1)
    assert sessions.silence_s("n99") == 2, "one that was here already does not come again"
    assert sessions.silence_s("n0") == 20
    for number in range(100, 110):
        clock.now += 2
        sessions.open(f"n{number}", 1)
    assert sessions.silence_s("n99") == pytest.approx(12), "nor does a stream of new nodes put it off for ever"


def test_time_in_which_the_leader_itself_was_frozen_does_not_count(sessions: Sessions, clock: Clock) -> None:
    sessions.open("n1", 1)
    for _ in range(5):
        clock.now += 0.2
        sessions.tick(0.2)
    clock.now += 30
    sessions.tick(0.2)
    assert sessions.silence_s("n1") == pytest.approx(1.2)
    assert sessions.silence_s("n9") == pytest.approx(1.2)


def test_a_loop_that_is_always_a_little_late_judges_by_the_time_it_had_for_listening(
    sessions: Sessions, clock: Clock
) -> None:
    sessions.open("n1", 1)
    for _ in range(10):
        clock.now += 0.6  # what is to be done between two looks takes 0.4 s: heartbeats wait for it
        sessions.tick(0.2)
    assert sessions.silence_s("n1") == pytest.approx(2.0)


def test_a_node_that_was_heard_by_a_late_loop_is_not_silent(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("n1", 1)
    clock.now += 5
    sessions.heard("n1", session.id)
    sessions.tick(0.2)
    assert sessions.silence_s("n1") == 0
    for _ in range(20):
        clock.now += 0.2
        sessions.tick(0.2)
    assert sessions.silence_s("n1") == pytest.approx(4.0), "and from then on as any other"


def test_the_same_daemon_reopens_its_session(sessions: Sessions) -> None:
    old = sessions.open("n1", 1)
    new = sessions.open("n1", 1)
    assert old.ended is not None
    with pytest.raises(NotFoundError):
        sessions.heard("n1", old.id)
    assert sessions.heard("n1", new.id) is new


def test_of_two_daemons_with_one_identity_the_later_wins_for_good(sessions: Sessions) -> None:
    first = sessions.open("n1", 1)
    second = sessions.open("n1", 2)
    assert isinstance(first.ended, RefusedError)
    assert "cloned" in str(first.ended)
    with pytest.raises(RefusedError):
        sessions.open("n1", 1)
    assert sessions.heard("n1", second.id) is second


def test_an_old_stream_that_ends_late_leaves_the_new_session_alone(sessions: Sessions) -> None:
    old = sessions.open("n1", 1)
    new = sessions.open("n1", 1)
    sessions.close(old)
    assert sessions.heard("n1", new.id) is new


def test_the_end_of_a_reign_ends_all_sessions(sessions: Sessions) -> None:
    session = sessions.open("n1", 1)
    sessions.end(NotLeaderError("over"))
    assert session.ended is not None
    assert session.wake.is_set()
    with pytest.raises(NotLeaderError):
        sessions.open("n1", 1)


def test_the_more_nodes_there_are_the_longer_one_that_was_told_something_waits_for_more(sessions: Sessions) -> None:
    for number in range(5):
        sessions.open(f"n{number}", 1)
    assert sessions.pauses_s == (0.0, 0.0)
    for number in range(5, 400):
        sessions.open(f"n{number}", 1)
    assert sessions.pauses_s == pytest.approx((0.2, 0.8))
    for number in range(400, 3000):
        sessions.open(f"n{number}", 1)
    assert sessions.pauses_s == (0.5, 2.0), "workers count on hearing within a second of a task that is about to stop"


async def test_a_pause_ends_early_for_what_is_urgent(sessions: Sessions) -> None:
    session = sessions.open("n1", 1)
    resting = asyncio.create_task(session.rest(0.0, 3600.0))
    sessions.wake(["n1"])
    done, _ = await asyncio.wait({resting}, timeout=0.05)
    assert not done
    sessions.wake(["n1"], urgent=True)
    async with asyncio.timeout(10):
        await resting
