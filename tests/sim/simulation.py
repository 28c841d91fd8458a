"""One seed: a random history of faults and client requests, then healing; every promise checked throughout."""

import traceback
from concurrent.futures import Future
from dataclasses import dataclass

from swarm_manager.raft.config import Member, Membership

from tests.sim.fake_network import Weather
from tests.sim.oracle import Violation
from tests.sim.world import ADDRESS, Sabotage, SimMember, World

STEPS = 600
MAX_MEMBERS = 6


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    seed: int
    violation: str
    acked: int
    steps: int
    simulated_s: float


def run(seed: int, sabotage: Sabotage | None = None, steps: int = STEPS) -> Outcome:
    """Play this seed; the same seed always plays the same."""
    world = World(seed, sabotage or Sabotage())
    violation = ""
    try:
        _play(world, steps)
        world.settle()
    except Violation as error:
        violation = str(error)
    except Exception:  # noqa: BLE001 - a crash of the code under test is a finding, with its seed
        violation = traceback.format_exc()
    return Outcome(seed, violation, len(world.oracle.acked), world.steps, world.clock.now - 1000.0)


def _play(world: World, steps: int) -> None:
    rng, number = world.rng, 0
    cruelty = rng.choice((0.0, 0.3, 1.0, 1.0, 2.0))
    if rng.random() < 0.5:
        world.network.weather = Weather(
            latency_s=(0.0002, rng.choice((0.003, 0.05, 0.3))),
            loss=rng.choice((0.0, 0.02, 0.1)),
            doubling=rng.choice((0.0, 0.05)),
            disorder=rng.choice((0.0, 0.02)),
        )
    for _ in range(steps):
        if rng.random() < 0.3:
            for _ in range(rng.randrange(1, 4)):
                number += 1
                world.propose(number)
        if rng.random() < 0.08:
            world.read()
        if rng.random() < 0.08 * cruelty:
            _fault(world)
        if rng.random() < 0.01 * cruelty * world.sabotage.churn:
            _churn(world)
        for _ in range(rng.randrange(1, 6)):
            world.advance()


def _fault(world: World) -> None:
    rng = world.rng
    living = world.living()
    if not living:
        return
    member, kind = rng.choice(living), rng.random()
    if kind < 0.25:
        other = rng.choice(list(world.members))
        world.network.partition(member.node_id, other, both=rng.random() < 0.6)
    elif kind < 0.35:
        for other in world.members:  # cut off altogether
            world.network.partition(member.node_id, other, both=True)
    elif kind < 0.55:
        world.network.heal()
    elif kind < 0.65:
        world.crash(member, power=rng.random() < 0.5)
    elif kind < 0.75:
        member.platter.cut_after = rng.randrange(1, 12)
    elif kind < 0.78:
        for each in living:  # power loss of all
            world.crash(each, power=True)
    elif kind < 0.85:
        member.frozen_until = world.clock.now + rng.uniform(0.1, 3.0)
    elif kind < 0.90:
        member.platter.full = not member.platter.full
    elif kind < 0.95:
        assert member.core is not None
        member.core.forceLogCompaction()
    else:
        world.network.reset(frozenset((member.node_id, rng.choice(list(world.members)))))


def _churn(world: World) -> None:
    """Change who takes part, as an operator would: ask whoever leads."""
    rng = world.rng
    leaders = [member for member in world.living() if member.core is not None and member.core.is_ready]
    if not leaders:
        return
    leader = rng.choice(leaders)
    assert leader.core is not None
    members = sorted(leader.core.journal.membership.members)
    kind, deadline = rng.random(), world.clock.now + 5.0
    if kind < 0.45 and len(members) < MAX_MEMBERS:
        _join(world, leader, deadline)
    elif kind < 0.8 and len(members) > 1:
        leader.core.changes.submit_remove(rng.choice(members), deadline, force=rng.random() < 0.2)
    else:
        leader.core.handover.submit(rng.choice([*members, None]), deadline)
    leader.wake_at = world.clock.now


def _join(world: World, leader: SimMember, deadline: float) -> None:
    node_id = f"m{world.next_id}"
    world.next_id += 1
    assert leader.core is not None

    def added(done: "Future[Membership]") -> None:
        if done.exception() is None:
            world.new_member(node_id, tuple(done.result().members.values()), joining=True)

    future = leader.core.changes.submit_add(Member(node_id, ADDRESS, voter=False), deadline)
    future.add_done_callback(added)
