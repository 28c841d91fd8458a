"""The ring of the last commits."""

import asyncio

import pytest
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import TooOldError
from swarm_manager.events import Batch, EventRing


def batch(index: int) -> Batch:
    return Batch(index, 0, [], Snapshot())


async def take(ring: EventRing, after: int, count: int) -> list[int]:
    """The indexes of the first `count` commits that a follower sees."""
    seen: list[int] = []
    async for fresh in ring.follow(after):
        seen += [b.index for b in fresh]
        if len(seen) >= count:
            break
    return seen


async def test_a_follower_sees_what_is_there_and_what_comes() -> None:
    ring = EventRing()
    ring.publish([batch(n) for n in (2, 3, 5)])
    assert await take(ring, 2, 2) == [3, 5]
    later = asyncio.ensure_future(take(ring, 5, 2))
    await asyncio.sleep(0)
    ring.publish([batch(6)])
    await asyncio.sleep(0)
    ring.publish([batch(9)])
    assert await later == [6, 9]


async def test_an_index_between_commits_is_a_place_to_start_from() -> None:
    ring = EventRing(index=4)
    ring.publish([batch(6), batch(8)])
    assert await take(ring, 7, 1) == [8]


async def test_what_was_forgotten_cannot_be_followed() -> None:
    ring = EventRing(size=2)
    ring.publish([batch(n) for n in (1, 2, 3, 4)])
    assert await take(ring, 2, 2) == [3, 4]
    with pytest.raises(TooOldError):
        await take(ring, 1, 1)


async def test_a_slow_follower_is_told_that_it_missed_something() -> None:
    ring = EventRing(size=2)
    follower = ring.follow(0)
    ring.publish([batch(1)])
    assert [b.index for b in await anext(follower)] == [1]
    ring.publish([batch(n) for n in (2, 3, 4)])
    with pytest.raises(TooOldError):
        await anext(follower)


async def test_nobody_follows_across_an_installed_snapshot() -> None:
    ring = EventRing()
    ring.publish([batch(1)])
    follower = ring.follow(1)
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    ring.reset(50)
    with pytest.raises(TooOldError):
        await waiting
    with pytest.raises(TooOldError):
        await take(ring, 1, 1)
    ring.publish([batch(51)])
    assert await take(ring, 50, 1) == [51]


async def test_large_commits_make_room_sooner() -> None:
    ring = EventRing(size_bytes=1000)
    ring.publish([Batch(n, 0, [], Snapshot(), 400) for n in (1, 2, 3)])
    assert await take(ring, 1, 2) == [2, 3]
    with pytest.raises(TooOldError):
        await take(ring, 0, 1)
