"""A seed is a schedule."""

import itertools

import pytest

from tests.nemesis.run import Order
from tests.nemesis.schedule import TARGETS, Kind, schedule


@pytest.mark.parametrize("seed", range(30))
def test_a_seed_is_a_schedule_of_faults_that_end_in_time(seed: int) -> None:
    faults = schedule(seed, 120)
    assert faults == schedule(seed, 120)
    assert all(fault.at_s + fault.lasts_s <= 120 and fault.target in TARGETS for fault in faults)
    assert all(earlier.at_s < later.at_s for earlier, later in itertools.pairwise(faults))
    assert {fault.kind for fault in faults[: len(Kind)]} == set(Kind)


def test_another_seed_is_another_schedule() -> None:
    assert schedule(1, 60) != schedule(2, 60)


def test_only_the_kinds_that_were_asked_for_come() -> None:
    chosen = (Kind.KILL, Kind.ONE_WAY)
    assert {fault.kind for fault in schedule(1, 60, chosen)} == set(chosen)
    order = Order(7, 60, chosen, managers=5)
    assert order.command == "scripts/nemesis --seed 7 --seconds 60 --managers 5 --faults kill,one-way"


@pytest.mark.parametrize(("managers", "at_once"), [(1, {1}), (3, {1}), (5, {1, 2})])
def test_a_fault_hits_the_leader_and_as_many_as_the_managers_can_lose(managers: int, at_once: set[int]) -> None:
    faults = [fault for fault in schedule(1, 600) if fault.target != "all"]
    last = managers - 1
    hit = [fault.victims(managers, leader=last) for fault in faults]
    assert {len(set(victims)) for victims in hit} == at_once
    assert all(
        victims[0] == managers - 1 for fault, victims in zip(faults, hit, strict=True) if fault.target == "leader"
    )
    assert set(itertools.chain(*hit)) == set(range(managers))


def test_some_faults_hit_all() -> None:
    everybody = [fault for fault in schedule(1, 600) if fault.target == "all"]
    assert everybody
    assert all(fault.victims(5, leader=0) == [0, 1, 2, 3, 4] for fault in everybody)
