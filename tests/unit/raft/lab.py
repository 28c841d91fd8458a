"""A simulated cluster in which nothing goes wrong but what a test does to it."""

from collections.abc import Callable
from typing import Any

from tests.sim.world import Sabotage, SimMember, World

MAX_ADVANCES = 4000


def world(members: int = 3, compact_entries: int = 100_000) -> World:
    """A cluster without faults."""
    made = World(1, Sabotage(), members=members, compact_entries=compact_entries)
    made.job_s = 0.01
    return made


def run_until(world: World, condition: Callable[[], Any], limit_s: float = 10.0) -> Any:
    """Simulate until the condition holds; AssertionError after so many simulated seconds."""
    end = world.clock.now + limit_s
    for _ in range(MAX_ADVANCES):  # a member that spins does not let time pass
        if value := condition():
            return value
        if world.clock.now > end:
            break
        world.advance()
    raise AssertionError("it never came to that")


def leader(world: World) -> SimMember:
    found: SimMember = run_until(
        world, lambda: next((m for m in world.living() if m.core is not None and m.core.is_ready), None)
    )
    return found


def write(world: World, member: SimMember, payload: bytes) -> object:
    assert member.core is not None
    future = member.core.proposals.submit(payload, None, world.clock.now + 5)
    member.wake_at = world.clock.now
    run_until(world, future.done)
    return future.result()
