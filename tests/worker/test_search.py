"""Finding the leader: dead and slow managers must not hold the search up."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from swarm_worker.errors import SessionError
from swarm_worker.search import NotLeaderError, Search


def searching(**managers: Callable[[], Awaitable[str]]) -> tuple[Search[str], list[str], list[str]]:
    """A search among managers that behave as told, whom it asked, and what it threw away."""
    asked: list[str] = []
    discarded: list[str] = []

    async def ask(address: str) -> str:
        asked.append(address)
        return await managers[address]()

    async def discard(session: str) -> None:
        discarded.append(session)

    return Search(ask, discard), asked, discarded


async def leads() -> str:
    return "session"


async def silent() -> str:
    await asyncio.Event().wait()
    return "never"


async def dead() -> str:
    raise SessionError("connection refused")


def follows(leader: str = "") -> Callable[[], Awaitable[str]]:
    async def answer() -> str:
        raise NotLeaderError("does not lead", leader)

    return answer


async def test_the_leader_is_found_behind_the_dead_and_the_silent() -> None:
    search, asked, _ = searching(a=dead, b=silent, c=leads)
    assert await asyncio.wait_for(search.run(["a", "b", "c"]), 5) == "session"
    assert asked == ["a", "b", "c"]


async def test_who_is_named_as_the_leader_is_asked_next() -> None:
    search, asked, _ = searching(a=follows("z"), b=dead, z=leads)
    assert await asyncio.wait_for(search.run(["a", "b"]), 5) == "session"
    assert asked == ["a", "z"]


async def test_nobody_is_asked_twice_in_a_round() -> None:
    search, asked, _ = searching(a=follows("b"), b=follows("a"))
    with pytest.raises(SessionError, match="does not lead"):
        await asyncio.wait_for(search.run(["a", "b", "a"]), 5)
    assert asked == ["a", "b"]


async def test_a_session_too_many_is_given_back() -> None:
    released = asyncio.Event()

    async def late() -> str:
        try:
            await released.wait()
        except asyncio.CancelledError:
            return "late session"  # it had been granted in the same moment
        return "never"

    async def quick() -> str:
        await asyncio.sleep(0)
        return "session"

    search, _, discarded = searching(a=late, b=quick)
    assert await asyncio.wait_for(search.run(["a", "b"]), 5) == "session"
    assert discarded == ["late session"]


async def test_without_managers_it_says_so() -> None:
    search, _, _ = searching()
    with pytest.raises(SessionError, match="no manager's address is known"):
        await search.run([])
