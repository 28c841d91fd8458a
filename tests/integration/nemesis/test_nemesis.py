"""Real managers under every kind of fault, and a judge that is shown to be awake.

One cluster for all tests, in order: the last one destroys what its disks hold.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.manager.processes import wait_for
from tests.linearizability.history import Outcome
from tests.nemesis.faults import Nemesis, at_once
from tests.nemesis.managers import Cluster
from tests.nemesis.run import Order, harass
from tests.nemesis.schedule import Fault, Kind
from tests.testbed.cluster import Testbed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
SEED = 1611  # its schedule has every kind within 26 seconds
UNEXPLAINED = "no order explains what clients were told"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(Testbed(f"nem{os.getpid()}"), 3, SEED) as formed:
        yield formed


def test_every_promise_is_kept_under_every_kind_of_fault(cluster: Cluster, tmp_path: Path) -> None:
    order = Order(SEED, seconds=26)
    plan = order.schedule()
    assert {fault.kind for fault in plan} == set(Kind)
    report = harass(cluster, order, tmp_path, lambda nemesis: nemesis.run(plan, print))
    print(report)
    assert not report.faults, "\n".join([*report.faults, f"again: {order.command}"])
    assert report.outcomes[Outcome.OK] > 200  # the clients did get something done
    assert report.outcomes[Outcome.CONFLICT]
    assert report.stale_reads


def test_stale_reads_taken_for_fresh_ones_are_found(cluster: Cluster, tmp_path: Path) -> None:
    cut_off = Fault(Kind.PARTITION, at_s=0.5, lasts_s=2.0, target="any", number=2, toss=0.0)
    order = Order(SEED + 1, seconds=3, stale_reads=True)
    report = harass(cluster, order, tmp_path, lambda nemesis: nemesis.run([cut_off], print))
    assert any(UNEXPLAINED in fault for fault in report.faults), report.faults


def test_disks_that_lie_about_what_they_saved_are_found(cluster: Cluster, tmp_path: Path) -> None:
    order = Order(SEED + 2, seconds=3)
    history = tmp_path / f"history-{order.seed}.jsonl"

    def acknowledged() -> int:
        lines = history.read_text().splitlines() if history.exists() else []
        return sum(json.loads(line).get("outcome") == Outcome.OK for line in lines[:-1])

    def lose(nemesis: Nemesis) -> None:
        for manager in cluster.managers:
            manager.disk.sync()
            manager.disk.lie()
        before = acknowledged()
        wait_for("writes", lambda: acknowledged() > before + 100, limit_s=30)
        at_once(lambda manager: manager.host.power_off(), cluster.managers)
        for manager in cluster.managers:
            manager.disk.lose_power(everything=True)

    report = harass(cluster, order, tmp_path, lose)
    assert any(UNEXPLAINED in fault for fault in report.faults), report.faults
