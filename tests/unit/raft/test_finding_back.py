"""A manager that was away while all others were replaced: nobody it knows is left, and it finds back all the same."""

from concurrent.futures import Future
from typing import Any

from swarm_manager.raft.config import Member

from tests.sim.world import ADDRESS, SimMember, World
from tests.unit.raft.lab import leader, run_until, world, write

FOREVER = float("inf")


def settled(lab: World, future: "Future[Any]") -> Any:
    for member in lab.living():
        member.wake_at = lab.clock.now
    run_until(lab, future.done, 15)
    return future.result()


def add(lab: World, node_id: str) -> None:
    core = leader(lab).core
    assert core is not None
    membership = settled(lab, core.changes.submit_add(Member(node_id, ADDRESS, voter=False), lab.clock.now + 10))
    lab.new_member(node_id, tuple(membership.members.values()), joining=True)
    run_until(
        lab, lambda: node_id in core.journal.membership.voters and core.journal.membership.index <= core.commit_index
    )


def remove(lab: World, gone: SimMember) -> None:
    first = leader(lab)
    assert first.core is not None
    if first is gone:
        settled(lab, first.core.handover.submit("m3", lab.clock.now + 5))
        first = leader(lab)
        assert first.core is not None
    settled(lab, first.core.changes.submit_remove(gone.node_id, lab.clock.now + 10, force=True))
    lab.crash(gone, power=False)
    gone.restart_at = FOREVER


def test_it_finds_back() -> None:
    lab = world()
    first = leader(lab)
    write(lab, first, b"before")
    lost = next(member for member in lab.living() if member is not first)
    lab.crash(lost, power=False)
    lost.restart_at = FOREVER
    others = lab.living()
    for node_id in ("m3", "m4", "m5"):
        add(lab, node_id)
        write(lab, leader(lab), node_id.encode())
    for other in others:
        remove(lab, other)
    write(lab, leader(lab), b"after")
    lost.restart_at = lab.clock.now
    run_until(lab, lambda: lost.core is not None and lost.machine.content() == leader(lab).machine.content(), 20)
    assert write(lab, leader(lab), b"together")
