"""What goes wrong in a simulated cluster, and who operators add and remove meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future

from swarm_manager.raft.config import Member, Membership

from tests.sim.fake_network import Weather
from tests.sim.world import ADDRESS, SimMember, World

MAX_MEMBERS = 6
Fault = Callable[[World, SimMember], None]


def draw_weather(world: World) -> Weather:
    """How bad the network is in this history."""
    rng = world.rng
    if rng.random() < 0.5:
        return Weather()
    return Weather(
        latency_s=(0.0002, rng.choice((0.003, 0.05, 0.3))),
        loss=rng.choice((0.0, 0.02, 0.1)),
        doubling=rng.choice((0.0, 0.05)),
        disorder=rng.choice((0.0, 0.02)),
    )


def strike(world: World) -> None:
    """One fault, of a random kind, at a random living member."""
    living = world.living()
    if not living:
        return
    weights = [weight * world.sabotage.disk_faults if fault in _OF_DISKS else weight for fault, weight in FAULTS]
    (fault,) = world.rng.choices([fault for fault, _ in FAULTS], weights)
    world.stats[f"{fault.__name__.strip('_').replace('_', ' ')}"] += 1
    fault(world, world.rng.choice(living))


def _partitions(world: World, member: SimMember) -> None:
    world.network.partition(member.node_id, world.rng.choice(list(world.members)), both=True)


def _one_way_partitions(world: World, member: SimMember) -> None:
    world.network.partition(member.node_id, world.rng.choice(list(world.members)), both=False)


def _isolations(world: World, member: SimMember) -> None:
    for other in world.members:
        world.network.partition(member.node_id, other, both=True)


def _deafenings(world: World, member: SimMember) -> None:
    """It is heard by all and hears nobody, or the other way round."""
    hears = world.rng.random() < 0.5
    for other in world.members:
        pair = (member.node_id, other) if hears else (other, member.node_id)
        world.network.partition(*pair, both=False)


def _healings(world: World, member: SimMember) -> None:
    world.network.heal()


def _kills(world: World, member: SimMember) -> None:
    world.crash(member, power=world.rng.random() < 0.5)


def _power_cuts_while_writing(world: World, member: SimMember) -> None:
    member.platter.cut_after = world.rng.randrange(1, 12)


def _blackouts(world: World, member: SimMember) -> None:
    for each in world.living():
        world.crash(each, power=True)


def _kills_of_all(world: World, member: SimMember) -> None:
    for each in world.living():
        world.crash(each, power=False)


def _freezes(world: World, member: SimMember) -> None:
    member.frozen_until = world.clock.now + world.rng.uniform(0.1, 3.0)


def _full_disks(world: World, member: SimMember) -> None:
    member.platter.full = not member.platter.full


def _failing_disks(world: World, member: SimMember) -> None:
    member.platter.failing = not member.platter.failing


def _compactions(world: World, member: SimMember) -> None:
    assert member.core is not None
    member.core.forceLogCompaction()


def _link_resets(world: World, member: SimMember) -> None:
    world.network.reset(frozenset((member.node_id, world.rng.choice(list(world.members)))))


def _clock_changes(world: World, member: SimMember) -> None:
    world.disturb_clock(member)


FAULTS: tuple[tuple[Fault, float], ...] = (
    (_partitions, 12),
    (_one_way_partitions, 10),
    (_isolations, 8),
    (_deafenings, 5),
    (_healings, 20),
    (_kills, 10),
    (_power_cuts_while_writing, 10),
    (_blackouts, 3),
    (_kills_of_all, 1),
    (_freezes, 7),
    (_full_disks, 5),
    (_failing_disks, 4),
    (_compactions, 5),
    (_link_resets, 5),
    (_clock_changes, 3),
)
_OF_DISKS = (_full_disks, _failing_disks)


def churn(world: World) -> None:
    """Change who takes part, as an operator would: ask whoever leads."""
    rng = world.rng
    leaders = [member for member in world.living() if member.core is not None and member.core.is_ready]
    if not leaders:
        return
    leader = rng.choice(leaders)
    assert leader.core is not None
    members = sorted(leader.core.journal.membership.members)
    kind, deadline = rng.random(), leader.clock() + 5.0
    if kind < 0.45 and len(members) < MAX_MEMBERS:
        _join(world, leader, deadline)
    elif kind < 0.8 and len(members) > 1:
        leader.core.changes.submit_remove(rng.choice(members), deadline, force=rng.random() < 0.2)
    else:
        handed_over = leader.core.handover.submit(rng.choice([*members, None]), deadline)
        handed_over.add_done_callback(lambda done: _count_handover(world, done))
    leader.wake_at = world.clock.now


def _count_handover(world: World, done: "Future[None]") -> None:
    world.stats["hand-overs"] += done.exception() is None


def _join(world: World, leader: SimMember, deadline: float) -> None:
    node_id = f"m{world.next_id}"
    world.next_id += 1
    assert leader.core is not None

    def added(done: "Future[Membership]") -> None:
        if done.exception() is None:
            world.new_member(node_id, tuple(done.result().members.values()), joining=True)

    future = leader.core.changes.submit_add(Member(node_id, ADDRESS, voter=False), deadline)
    future.add_done_callback(added)
