"""The session against leaders in this process: finding them, following them, losing them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from swarm_api.dispatcher_pb2 import Assignment, ManagerPeer, SessionMessage
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import NodeSpec
from swarm_api.types_pb2 import NodeRole, TaskState
from swarm_worker.agent import Agent
from swarm_worker.channels import ChannelPool, reason_of
from swarm_worker.files import TaskFiles
from swarm_worker.heartbeats import PATIENCE
from swarm_worker.session import Session
from swarm_worker.storage import NodeStore

from tests.worker.fakes import FakeEngine, FakeLeader, FakeNetwork, served
from tests.worker.story import make_task
from tests.worker.waiting import until

NOWHERE = "127.0.0.1:1"  # refuses connections


@dataclass
class Node:
    """A worker's agent and session on fakes."""

    agent: Agent
    session: Session
    engine: FakeEngine
    network: FakeNetwork
    managers: list[tuple[str, ...]] = field(default_factory=list)
    specs: list[NodeSpec] = field(default_factory=list)


@contextlib.asynccontextmanager
async def node(folder: Path, *managers: str, engine: FakeEngine | None = None) -> AsyncIterator[Node]:
    """A node at work."""
    fake, network = engine or FakeEngine(), FakeNetwork()
    agent = Agent(fake, network, NodeStore(folder), TaskFiles(folder), node_id="n1", cluster_id="cl")
    told = Node(agent, None, fake, network)  # type: ignore[arg-type]  # set below
    told.session = Session(
        agent,
        ChannelPool(grpc.aio.insecure_channel),
        managers,
        node_address="10.0.0.9",
        on_managers=told.managers.append,
        on_node=told.specs.append,
    )
    running = [asyncio.create_task(agent.run()), asyncio.create_task(told.session.run())]
    try:
        yield told
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def assigned(task: Task) -> Assignment:
    return Assignment(key=f"task/{task.id}", task=task)


def latest(leader: FakeLeader, task_id: str = "t1") -> int:
    states = [report.status.state for report in leader.reports if report.task_id == task_id]
    return states[-1] if states else 0


async def test_a_node_registers_runs_what_it_is_told_and_reports(tmp_path: Path) -> None:
    leader = FakeLeader()
    leader.full = [assigned(make_task())]
    async with served(leader) as address, node(tmp_path, address) as worker:
        await leader.until(lambda: latest(leader) == TaskState.RUNNING)
        assert (leader.requests[0].address, leader.requests[0].description.hostname) == ("10.0.0.9", "n1")
        assert worker.engine.calls == ["create t1", "start c-t1"]
        assert leader.reports[-1].status.applied_by == "n1"
        assert leader.reports[-1].status.timestamp.seconds > 0


async def test_changes_are_taken_as_they_come(tmp_path: Path) -> None:
    leader = FakeLeader()
    async with served(leader) as address, node(tmp_path, address) as worker:
        leader.messages.put_nowait(SessionMessage(sequence=2, set=[assigned(make_task())]))
        await leader.until(lambda: latest(leader) == TaskState.RUNNING)
        gone = SessionMessage(sequence=3, set=[assigned(make_task(desired=TaskState.REMOVE))])
        leader.messages.put_nowait(gone)
        await leader.until(lambda: latest(leader) == TaskState.SHUTDOWN)
        assert "signal c-t1 SIGTERM" in worker.engine.calls
        assert len(leader.requests) == 1


async def test_a_follower_names_the_leader(tmp_path: Path) -> None:
    leader, follower = FakeLeader(), FakeLeader()
    follower.leads = False
    async with served(leader) as address, served(follower) as other:
        follower.leader_address = address
        async with node(tmp_path, other) as worker:
            await leader.until(lambda: leader.heartbeats > 0)
            assert worker.session.leader == address


async def test_dead_managers_do_not_hide_the_leader(tmp_path: Path) -> None:
    leader = FakeLeader()
    async with served(leader) as address, node(tmp_path, NOWHERE, "127.0.0.1:2", address):
        await leader.until(lambda: leader.heartbeats > 0)


async def test_a_manager_that_stops_in_the_middle_of_a_search_does_not_end_it(tmp_path: Path) -> None:
    """The round goes on to the next manager, and the session's task lives."""
    stopping, leader = FakeLeader(), FakeLeader()
    stopping.mute, leader.leads = True, False
    async with served(leader) as address, contextlib.AsyncExitStack() as worker:
        async with served(stopping) as other:
            await worker.enter_async_context(node(tmp_path, other, address))
            await stopping.asked.wait()
        leader.leads = True
        await leader.until(lambda: leader.heartbeats > 0)


async def test_nothing_is_lost_when_the_leader_dies_and_another_takes_over(tmp_path: Path) -> None:
    old, new = FakeLeader(), FakeLeader()
    old.full = new.full = [assigned(make_task())]
    new.leads, new.term = False, 2
    async with served(new) as new_address:
        async with served(old) as old_address:
            worker_at = node(tmp_path, old_address, new_address)
            worker = await worker_at.__aenter__()
            await old.until(lambda: latest(old) == TaskState.RUNNING)
        try:
            worker.engine.exits("c-t1", 3)  # while there is no leader
            new.leads = True
            await new.until(lambda: latest(new) == TaskState.FAILED)
            assert worker.engine.calls == ["create t1", "start c-t1"], "containers never noticed"
        finally:
            await worker_at.__aexit__(None, None, None)


async def test_a_replaced_leader_s_orders_are_refused(tmp_path: Path) -> None:
    leader = FakeLeader()
    leader.term = 5
    async with served(leader) as address, node(tmp_path, address) as worker:
        await leader.until(lambda: leader.heartbeats > 0)
        leader.messages.put_nowait(SessionMessage(sequence=2, term=4, set=[assigned(make_task())]))
        await leader.until(lambda: len(leader.requests) > 1)
        assert worker.engine.calls == []


async def test_a_leader_of_an_earlier_era_does_not_win_the_search(tmp_path: Path) -> None:
    """It answers first, every time; the one that counts is a moment behind."""
    old, new = FakeLeader(), FakeLeader()
    new.term = 5 << 32
    async with served(old) as old_address:
        async with served(new) as new_address, node(tmp_path, new_address):
            await new.until(lambda: new.heartbeats > 0)
        later = FakeLeader()
        later.term = (5 << 32) + 1
        async with served(later) as later_address, node(tmp_path, old_address, later_address) as worker:
            await later.until(lambda: later.heartbeats > 0)
            assert worker.session.leader == later_address
    assert old.heartbeats == 0


async def test_a_missed_message_leads_to_a_new_session(tmp_path: Path) -> None:
    leader = FakeLeader()
    async with served(leader) as address, node(tmp_path, address) as worker:
        await leader.until(lambda: leader.heartbeats > 0)
        leader.messages.put_nowait(SessionMessage(sequence=3, set=[assigned(make_task())]))
        await leader.until(lambda: len(leader.requests) > 1)
        assert worker.engine.calls == []
        assert leader.requests[0].boot_id == leader.requests[1].boot_id != 0


@pytest.mark.parametrize(
    ("change", "value"),
    [("known", False), ("ends_heartbeats", True)],
    ids=["it is not known any more", "its heartbeats ended between two, as when the leader dies"],
)
async def test_a_session_that_is_over_is_opened_anew(tmp_path: Path, change: str, *, value: bool) -> None:
    leader = FakeLeader()
    async with served(leader) as address, node(tmp_path, address):
        await leader.until(lambda: leader.heartbeats > 0)
        setattr(leader, change, value)
        await leader.until(lambda: len(leader.requests) > 1)


async def test_a_slow_leader_that_another_manager_names_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_worker.session.OPEN_S", 0.05)
    leader, follower = FakeLeader(), FakeLeader()
    follower.leads = False
    leader.answers.clear()
    async with served(leader) as address, served(follower) as other:
        follower.leader_address = address
        async with node(tmp_path, other) as worker:
            await leader.until(lambda: len(leader.requests) > 0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await leader.until(lambda: len(leader.requests) > 1)
            leader.answers.set()
            await leader.until(lambda: leader.heartbeats > 0)
            assert worker.session.leader == address


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm_worker.heartbeats.SHORTEST_ANSWER_S", 0.1)


@contextlib.asynccontextmanager
async def a_leader_that_is_late(folder: Path) -> AsyncIterator[tuple[FakeLeader, FakeLeader]]:
    """One that a node has a session with, and that answers no more; and a follower that names it as the leader."""
    leader, follower = FakeLeader(), FakeLeader()
    follower.leads = False
    async with served(leader) as address, served(follower) as other, node(folder, address, other):
        follower.leader_address = address
        await leader.until(lambda: leader.heartbeats > 0)
        leader.answers.clear()
        yield leader, follower


@pytest.mark.usefixtures("impatient")
async def test_a_leader_that_is_late_keeps_its_session_while_the_others_say_it_leads(tmp_path: Path) -> None:
    async with a_leader_that_is_late(tmp_path) as (leader, follower):
        asked, answered = follower.asked_who_leads, leader.heartbeats
        await follower.until(lambda: follower.asked_who_leads > asked)
        leader.answers.set()
        await leader.until(lambda: leader.heartbeats > answered + 1)
        assert len(leader.requests) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_leader_that_is_late_for_too_long_is_left_whatever_the_others_say(tmp_path: Path) -> None:
    async with a_leader_that_is_late(tmp_path) as (leader, follower):
        await leader.until(lambda: len(leader.requests) > 1)
        assert follower.asked_who_leads > 1


@pytest.mark.usefixtures("impatient")
async def test_a_silent_leader_is_left_for_the_one_that_another_manager_names(tmp_path: Path) -> None:
    old, follower, new = FakeLeader(), FakeLeader(), FakeLeader()
    follower.leads = False
    async with (
        served(old) as address,
        served(follower) as other,
        served(new) as new_address,
        node(tmp_path, address, other) as worker,
    ):
        await old.until(lambda: old.heartbeats > 0)
        old.answers.clear()
        follower.leader_address = new_address
        await new.until(lambda: new.heartbeats > 0)
        assert worker.session.leader == new_address
        assert len(old.requests) == 1, "the new leader was asked first"


@pytest.mark.usefixtures("impatient")
async def test_a_silent_leader_that_nobody_names_is_left_at_once(tmp_path: Path) -> None:
    old, follower = FakeLeader(), FakeLeader()
    follower.leads = False
    async with served(old) as address, served(follower) as other, node(tmp_path, address, other):
        await old.until(lambda: old.heartbeats > 0)
        old.answers.clear()
        asked = follower.asked_who_leads
        await old.until(lambda: len(old.requests) > 1)
        assert follower.asked_who_leads < asked + PATIENCE


async def test_reports_are_kept_until_they_are_acknowledged(tmp_path: Path) -> None:
    leader = FakeLeader()
    leader.refuse_reports = True
    leader.full = [assigned(make_task())]
    async with served(leader) as address, node(tmp_path, address) as worker:
        await leader.until(lambda: len(leader.requests) > 1)
        assert leader.reports == []
        leader.refuse_reports = False
        await leader.until(lambda: latest(leader) == TaskState.RUNNING)
        await leader.until(lambda: len(worker.agent.reports) == 0)


async def test_a_leader_that_is_slow_to_commit_keeps_its_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_worker.session.REPORT_S", 0.1)
    leader = FakeLeader()
    leader.slow_reports = 2
    leader.full = [assigned(make_task())]
    async with served(leader) as address, node(tmp_path, address):
        await leader.until(lambda: latest(leader) == TaskState.RUNNING)
        assert len(leader.requests) == 1


async def test_who_leaves_reports_first_and_then_says_so(tmp_path: Path) -> None:
    leader = FakeLeader()
    leader.full = [assigned(make_task())]
    async with served(leader) as address, node(tmp_path, address) as worker:
        await leader.until(lambda: latest(leader) == TaskState.RUNNING)
        assert leader.left_after is None
        await worker.agent.drain(5.0)
        await worker.session.take_leave(5.0)
        assert latest(leader) == TaskState.SHUTDOWN
        assert leader.left_after == len(leader.reports)


async def test_who_leaves_without_a_leader_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with node(tmp_path, "127.0.0.1:1") as worker:
        await worker.session.take_leave(0.05)


async def test_a_node_tells_when_its_engine_goes_and_comes(tmp_path: Path) -> None:
    leader = FakeLeader()
    async with served(leader) as address, node(tmp_path, address) as worker:
        await leader.until(lambda: leader.heartbeats > 0)
        worker.engine.up = False
        worker.engine.resync()
        await leader.until(lambda: [d.engine_error for d in leader.descriptions] == ["it is off"])
        worker.engine.up = True
        worker.engine.resync()
        await leader.until(lambda: [d.engine_error for d in leader.descriptions][-1] == "")


async def test_managers_and_the_node_s_spec_are_passed_on(tmp_path: Path) -> None:
    leader = FakeLeader()
    async with served(leader) as address, node(tmp_path, address) as worker:
        peers = [ManagerPeer(node_id="m1", address=address), ManagerPeer(node_id="m2", address=NOWHERE)]
        spec = NodeSpec(role=NodeRole.MANAGER)
        leader.messages.put_nowait(SessionMessage(sequence=2, managers=peers, node=spec))
        leader.messages.put_nowait(SessionMessage(sequence=3, set=[assigned(make_task())]))
        await leader.until(lambda: latest(leader) == TaskState.RUNNING)
        assert worker.managers == [(address, NOWHERE)]
        assert worker.specs == [spec]


async def test_a_renewed_certificate_opens_a_new_session_and_touches_no_task(tmp_path: Path) -> None:
    leader = FakeLeader()
    leader.full = [assigned(make_task())]
    async with served(leader) as address, node(tmp_path, address) as worker:
        await leader.until(lambda: latest(leader) == TaskState.RUNNING)
        worker.session.renew()
        await leader.until(lambda: len(leader.requests) == 2)
        assert worker.engine.calls == ["create t1", "start c-t1"]


async def test_without_any_manager_the_reason_is_kept_for_people(tmp_path: Path) -> None:
    async with node(tmp_path, NOWHERE) as worker:
        await until(lambda: worker.session.last_error)
        assert NOWHERE in worker.session.last_error


async def test_it_stops_at_once_when_told_to(tmp_path: Path) -> None:
    leader = FakeLeader()
    async with served(leader) as address:
        async with node(tmp_path, address) as worker:
            await leader.until(lambda: leader.heartbeats > 0)
        assert worker.engine.calls == ["close"]


@pytest.fixture(autouse=True)
async def _within_time() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ("This manager does not lead; ask the leader.", "This manager does not lead; ask the leader"),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:2377: Connection refused",
            "cannot be reached (Connection refused)",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:2377: tcp handshaker shutdown",
            "no answer",
        ),
        ("", "UNAVAILABLE"),
    ],
)
def test_why_a_call_failed_is_told_in_words_of_people(details: str, reason: str) -> None:
    nothing = grpc.aio.Metadata()
    assert reason_of(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, details)) == reason
