"""A node whose machine has another address than the one it is known by."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from swarm_api.identity import ROLE_WORKER
from swarm_api.node_pb2 import LeaveRequest
from swarm_worker import address_watch, node
from swarm_worker.address_watch import GRACE_S, AddressWatch, Place, address_towards, is_here
from swarm_worker.storage import NodeFile, NodeStore

from tests.worker.test_node import Cluster, Machine, cluster, machine
from tests.worker.test_rejoining import files, make_node
from tests.worker.waiting import until

__all__ = ["cluster"]  # a fixture
HERE, ELSEWHERE = "127.0.0.1:7777", "192.0.2.9:7777"  # nobody has the second


def known(folder: Path) -> NodeFile:
    found = files(folder)[0]
    assert found is not None
    return found


@contextlib.asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Machine]:
    """A daemon that was just started, and looks at its address."""
    async with machine(folder, may_wait=True) as this:
        watching = asyncio.create_task(this.node.watch_address())
        try:
            yield this
        finally:
            watching.cancel()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_watch, "GRACE_S", 0.2)
    monkeypatch.setattr(node, "LOOK_S", 0.05)


def test_an_address_that_is_missing_for_a_moment_is_no_move() -> None:
    now = 100.0
    watch = AddressWatch(lambda: now)
    here, elsewhere = NodeFile("n", "c", ROLE_WORKER, HERE), NodeFile("n", "c", ROLE_WORKER, ELSEWHERE)
    assert watch.look(here) is Place.SAME
    assert watch.look(elsewhere) is Place.UNSURE
    now += GRACE_S - 1
    assert watch.look(elsewhere) is Place.UNSURE
    assert watch.look(here) is Place.SAME
    now += 2
    assert watch.look(elsewhere) is Place.UNSURE, "it was there in between"
    now += GRACE_S
    assert watch.look(elsewhere) is Place.OTHER


@pytest.mark.parametrize(
    ("address", "listen", "expected"),
    [
        (HERE, "", True),
        (ELSEWHERE, "", False),
        (ELSEWHERE, "0.0.0.0:7778", True),  # something forwards it
        (ELSEWHERE, "192.0.2.9:7778", False),  # nothing does: it listened at that address itself
        ("node.example:2377", "", True),  # a name goes where its owner says
    ],
)
def test_who_may_be_reached_through_something_else_has_not_moved(address: str, listen: str, *, expected: bool) -> None:
    assert is_here(NodeFile("n", "c", ROLE_WORKER, address, listen)) is expected


def test_the_new_address_is_the_one_that_leads_to_the_managers_and_keeps_the_port() -> None:
    of = NodeFile("n", "c", ROLE_WORKER, ELSEWHERE)
    assert address_towards(of, ("no such host:1", "127.0.0.5:2377")) == "127.0.0.1:7777"
    assert address_towards(of, ("[::1]:2377",)) == "[::1]:7777"
    assert address_towards(of, ()) is None


async def test_a_node_goes_on_at_its_new_address_by_itself(tmp_path: Path, cluster: Cluster, hasty: None) -> None:
    make_node(tmp_path, cluster.ca, cluster.address, address=ELSEWHERE, listen="")
    async with watched(tmp_path) as this:
        waiting = await this.status()
        assert (waiting.node_id, waiting.connected) == ("node7", False)
        assert waiting.last_error.startswith("This machine does not have its address 192.0.2.9:")
        assert cluster.leader.requests == [], "until it knows where it is, it asks nobody for work"
        await until(lambda: this.node.status().connected)
    assert cluster.leader.requests[-1].address == "127.0.0.1"
    assert (known(tmp_path).advertise_address, known(tmp_path).managers) == (HERE, (cluster.address,))


async def test_where_no_manager_answers_it_stays_where_it_is_known(
    tmp_path: Path, cluster: Cluster, hasty: None
) -> None:
    make_node(tmp_path, cluster.ca, "127.0.0.1:1", address=ELSEWHERE, listen="")
    async with watched(tmp_path) as this:
        await until(lambda: this.node.member is not None)
        assert known(tmp_path).advertise_address == ELSEWHERE
        member = this.node.member
        assert member is not None
        member.identity.learn_managers((cluster.address,))
        await until(lambda: known(tmp_path).advertise_address == HERE, 10)


async def test_a_node_whose_address_comes_late_begins_then(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node(tmp_path, cluster.ca, cluster.address, address=HERE, listen="")
    monkeypatch.setattr(node, "LOOK_S", 0.05)
    monkeypatch.setattr(address_watch, "is_on_this_machine", lambda _address: False)
    monkeypatch.setattr(node, "is_here", lambda _node: False)
    async with watched(tmp_path) as this:
        await asyncio.sleep(0.3)
        assert this.node.member is None
        monkeypatch.setattr(address_watch, "is_on_this_machine", lambda _address: True)
        await until(lambda: this.node.status().connected)
    assert known(tmp_path).advertise_address == HERE


async def test_a_node_that_waits_for_its_address_can_leave(tmp_path: Path, cluster: Cluster) -> None:
    make_node(tmp_path, cluster.ca, cluster.address, address=ELSEWHERE, listen="")
    async with watched(tmp_path) as this:
        await this.control.Leave(LeaveRequest(force=True), timeout=20)
        assert this.node.member is None
    assert NodeStore(tmp_path / "state").load_node() is None
