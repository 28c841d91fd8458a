"""One seed: a random history of faults and client requests, then healing; every promise checked throughout."""

import random
import traceback
from collections import Counter
from dataclasses import dataclass, replace

from tests.sim.faults import churn, draw_weather, strike
from tests.sim.log_workload import LogWorkload
from tests.sim.oracle import Violation
from tests.sim.store_workload import StoreWorkload
from tests.sim.world import Sabotage, World

STEPS = 600


@dataclass(frozen=True)
class Outcome:
    """What came of a seed.  `counts` says what happened in it, so that one sees it was not tame."""

    seed: int
    violation: str
    acked: int
    steps: int
    simulated_s: float
    counts: Counter[str]


def run(seed: int, sabotage: Sabotage | None = None, steps: int = STEPS) -> Outcome:
    """Play this seed; the same seed always plays the same."""
    world = _world(seed, sabotage or Sabotage())
    violation = ""
    try:
        _play(world, steps)
        world.heal()
        world.settle()
        world.workload.finish(world)
        world.settle()
        world.check_end()
    except Violation as error:
        violation = str(error)
    except Exception:  # noqa: BLE001 - a crash of the code under test is a finding, with its seed
        violation = traceback.format_exc()
    return Outcome(seed, violation, world.workload.acked, world.steps, world.clock.now - 1000.0, _counts(world))


def _world(seed: int, sabotage: Sabotage) -> World:
    """The cluster that this seed starts with."""
    rng = random.Random(f"{seed}/world")
    workload = rng.choice((LogWorkload, LogWorkload, LogWorkload, StoreWorkload))
    members, compact = rng.choice((1, 3, 3, 3, 5)), rng.choice((8, 20, 60, 100_000))
    drift = rng.choice((0.0, 0.02, 0.2))
    if sabotage.workload is None:
        sabotage = replace(sabotage, workload=workload)
    members, compact = sabotage.members or members, sabotage.compact_entries or compact
    return World(seed, sabotage, members=members, compact_entries=compact, drift=drift)


def _play(world: World, steps: int) -> None:
    rng = world.rng
    cruelty = rng.choice((0.0, 0.3, 1.0, 1.0, 2.0))
    world.network.weather = draw_weather(world)
    for _ in range(steps):
        if rng.random() < 0.3:
            for _ in range(rng.randrange(1, 4)):
                world.workload.write(world)
        if rng.random() < 0.08 * world.sabotage.reads:
            world.read()
        if rng.random() < 0.08 * cruelty:
            strike(world)
        if rng.random() < 0.01 * cruelty * world.sabotage.churn:
            churn(world)
        for _ in range(rng.randrange(1, 6)):
            world.advance()


def _counts(world: World) -> Counter[str]:
    oracle, counts = world.oracle, Counter(world.stats)
    counts += world.network.counts
    for member in world.members.values():
        counts += member.platter.counts
    counts["elections won"] += len(oracle.leaders)
    counts["membership changes committed"] += oracle.membership_changes
    counts["linearizable reads"] += oracle.reads
    counts["writes acknowledged"] += world.workload.acked
    return counts
