"""The leader's loops on a store without Raft."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from swarm_api.objects_pb2 import ObjectKind, Service, Task
from swarm_api.types_pb2 import NodeRole, NodeState, TaskState
from swarm_manager.api.sessions import Sessions
from swarm_manager.api.writes import Edit, copy_of
from swarm_manager.errors import NotLeaderError, OutcomeUnknownError, RefusedError
from swarm_manager.leader import autopilot as autopilot_module
from swarm_manager.leader import managers as managers_loop
from swarm_manager.leader import nodes as nodes_loop
from swarm_manager.leader import reign as reign_module
from swarm_manager.leader.autopilot import Autopilot
from swarm_manager.leader.founding import Founding
from swarm_manager.leader.managers import ManagerKeeper
from swarm_manager.leader.nodes import NodeMonitor
from swarm_manager.leader.planning import Planning
from swarm_manager.leader.reign import LoopBrokenError, Reign
from swarm_manager.leader.telling import Telling
from swarm_manager.ports import MemberStatus
from swarm_manager.raft.keys import KeyFile
from swarm_manager.seed_file import SeedFile

from tests.sim.fake_disk import FakeDisk, Platter
from tests.unit.manager.stores import MemoryStore, cluster, node


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    founded = cluster()
    found.put(founded, node("m1", NodeRole.MANAGER))
    return found


async def until(found: Callable[[], object]) -> None:
    """Let the loops run until it is so."""
    async with asyncio.timeout(5):
        while not found():  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0.001)


def web(replicas: int) -> Service:
    service = Service(id="s1")
    service.spec.annotations.name = "web"
    service.spec.task.container.image = "busybox"
    service.spec.replicated.replicas = replicas
    return service


def running(store: MemoryStore) -> list[Task]:
    return [t for t in store.snapshot.tasks.values() if t.status.state >= TaskState.ASSIGNED and t.node_id]


class TestNodeMonitor:
    """A silent node is down; one of before a restoration has its own time to come back."""

    @pytest.fixture
    async def watching(self, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], None]]:
        """Lets ten seconds pass, in which nobody was heard."""
        monkeypatch.setattr(nodes_loop, "_PERIOD_S", 0.001)
        now_s = 1000.0
        sessions = Sessions(lambda: now_s)
        sessions.begin(store.term)
        loop = asyncio.ensure_future(NodeMonitor(store, sessions).run(store.term))

        def pass_time() -> None:
            nonlocal now_s
            for _ in range(25):  # more at once would count as this manager's own absence
                now_s += 0.4
                sessions.tick(0.4)

        yield pass_time
        loop.cancel()

    def _restored(self, store: MemoryStore, due_in_s: int) -> None:
        changed = copy_of(store.snapshot.cluster or cluster())
        changed.restoration.nodes_due.FromSeconds(int(time.time()) + due_in_s)
        away = node("away")
        away.status.state = NodeState.DISCONNECTED
        store.put(changed, away, node("silent"))

    def _down(self, store: MemoryStore) -> set[str]:
        return {n.id for n in store.snapshot.nodes.values() if n.status.state == NodeState.DOWN}

    async def test_who_may_yet_come_back_is_not_given_up(
        self, store: MemoryStore, watching: Callable[[], None]
    ) -> None:
        self._restored(store, 3600)
        watching()
        await until(lambda: self._down(store) == {"m1", "silent"})
        store.put(node("later"))
        watching()
        await until(lambda: "later" in self._down(store))
        assert "away" not in self._down(store)

    async def test_who_has_not_come_back_in_time_is(self, store: MemoryStore, watching: Callable[[], None]) -> None:
        self._restored(store, -1)
        watching()
        await until(lambda: self._down(store) == {"m1", "silent", "away"})


class TestPlanning:
    """Planning reacts to what is there and to what comes."""

    @pytest.fixture
    async def planning(self, store: MemoryStore) -> AsyncIterator[None]:
        loop = asyncio.ensure_future(Planning(store).run(store.term))
        await asyncio.sleep(0)
        yield
        loop.cancel()

    async def test_what_was_there_before_is_planned_for(self, store: MemoryStore) -> None:
        store.put(web(3))
        loop = asyncio.ensure_future(Planning(store).run(store.term))
        await until(lambda: len(running(store)) == 3)
        loop.cancel()

    @pytest.mark.usefixtures("planning")
    async def test_creation_to_assignment_is_one_more_commit(self, store: MemoryStore) -> None:
        before = len(store.proposed)
        store.put(web(3))
        await until(lambda: len(running(store)) == 3)
        assert len(store.proposed) == before + 2

    @pytest.mark.usefixtures("planning")
    async def test_a_conflict_and_an_unknown_outcome_are_planned_anew(self, store: MemoryStore) -> None:
        def meanwhile() -> None:
            changed = Service.FromString(store.snapshot.services["s1"].SerializeToString())
            changed.spec.replicated.replicas = 2
            store.put(changed)

        store.before_propose = meanwhile
        store.failures = [OutcomeUnknownError("lost")]
        store.put(web(1))
        await until(lambda: len(running(store)) == 2)

    @pytest.mark.usefixtures("planning")
    async def test_a_planner_that_fell_behind_looks_at_everything(self, store: MemoryStore) -> None:
        await until(lambda: True)
        store.put(web(1))
        store.ring.reset(store.snapshot.index)
        await until(lambda: len(running(store)) == 1)


async def test_sessions_are_woken_by_what_concerns_their_node(store: MemoryStore) -> None:
    store.put(node("n1"), node("n2"), web(1))
    sessions = Sessions(asyncio.get_running_loop().time)
    sessions.begin(1)
    first, second = sessions.open("n1", 1), sessions.open("n2", 1)
    loop = asyncio.ensure_future(Telling(store, sessions).run(1))
    await until(first.wake.is_set)
    first.wake.clear()
    second.wake.clear()
    task = Task(id="t1", service_id="s1", node_id="n1", slot=1, desired_state=TaskState.RUNNING)
    task.status.state = TaskState.ASSIGNED
    store.put(task)
    await until(first.wake.is_set)
    assert not second.wake.is_set()
    edit = Edit()
    edit.delete(store.snapshot.nodes["n2"])
    store.apply(edit.change_set)
    await until(lambda: second.ended)
    assert "removed" in str(second.ended)
    loop.cancel()


class Members:
    """`ports.Membership` that changes the store's view at once."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.transfers = 0
        self.refusal: RefusedError | None = None

    async def add_member(self, node_id: str, raft_address: str) -> None:
        raise AssertionError("the leader's loop never adds")

    async def remove_member(self, node_id: str) -> None:
        if self.refusal:
            refusal, self.refusal = self.refusal, None
            raise refusal
        del self._store.members[node_id]

    async def transfer_leadership(self, to: str | None = None) -> None:
        self.transfers += 1


async def test_members_follow_the_wanted_roles(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managers_loop, "_PERIOD_S", 0.001)
    demoted = node("m2")
    demoted.manager_address = "10.0.0.2:2377"
    store.put(demoted)
    for node_id in ("m2", "gone"):
        store.members[node_id] = MemberStatus(node_id, "10.0.0.2:2378", voter=True, reachable=True)
    members = Members(store)
    members.refusal = RefusedError("another change is under way")
    sessions = Sessions(asyncio.get_running_loop().time)
    loop = asyncio.ensure_future(ManagerKeeper(store, members, sessions).run(1))
    await until(lambda: set(store.members) == {"m1"} and not store.snapshot.nodes["m2"].manager_address)
    assert members.transfers == 0
    await until(lambda: store.snapshot.nodes["m1"].manager_address == "10.0.0.1:2377")
    store.put(node("m1", NodeRole.WORKER))
    await until(lambda: members.transfers)
    loop.cancel()


async def test_the_first_manager_does_not_hand_over_before_the_cluster_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(managers_loop, "_PERIOD_S", 0.001)
    store = MemoryStore()
    members = Members(store)
    loop = asyncio.ensure_future(ManagerKeeper(store, members, Sessions(asyncio.get_running_loop().time)).run(1))
    await asyncio.sleep(0.02)
    store.put(cluster(), node("m1", NodeRole.MANAGER))
    await until(lambda: store.snapshot.nodes["m1"].manager_address == "10.0.0.1:2377")
    assert members.transfers == 0
    loop.cancel()


async def test_the_seed_is_committed_once_and_the_ingress_network_made(tmp_path: Path) -> None:
    store = MemoryStore()
    edit = Edit("init")
    edit.create(cluster())
    edit.create(node("m1", NodeRole.MANAGER))
    seed = SeedFile(tmp_path / "seed", KeyFile(FakeDisk(Platter(random.Random(1)), "keys")).create())
    seed.save(edit.change_set)
    for _ in range(2):
        loop = asyncio.ensure_future(Founding(store, seed).run(1))
        await until(lambda: store.snapshot.id_of_name(ObjectKind.NETWORK, "ingress"))
        loop.cancel()
    assert not seed.exists()
    assert len(store.proposed) == 2
    assert store.snapshot.nodes["m1"].status.state == NodeState.READY_STATE


class Throne:
    """Whether this manager leads, as the test says."""

    def __init__(self) -> None:
        self.state = (True, 7)
        self.log: list[str] = []
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        await self._changed.wait()

    def lose(self) -> None:
        self.state = (False, 8)
        self._changed.set()
        self._changed = asyncio.Event()

    def reign(self, loop: Callable[[int], Awaitable[None]]) -> Reign:
        return Reign(
            {"loop": loop},
            reign=lambda: self.state,
            changed=self.changed,
            begin=lambda term: self.log.append(f"begin {term}"),
            end=lambda: self.log.append("end"),
        )


async def test_loops_run_while_leading_and_end_with_the_reign() -> None:
    throne = Throne()

    async def loop(term: int) -> None:
        throne.log.append(f"loop {term}")
        try:
            await asyncio.Event().wait()
        finally:
            throne.log.append("loop ends")

    running = asyncio.ensure_future(throne.reign(loop).run())
    await until(lambda: len(throne.log) == 2)
    throne.lose()
    await until(lambda: len(throne.log) == 4)
    assert throne.log == ["begin 7", "loop 7", "loop ends", "end"]
    running.cancel()


async def test_a_loop_whose_part_fails_as_the_reign_ends_does_not_outlive_it() -> None:
    throne = Throne()

    async def part() -> None:
        throne.log.append("part")
        try:
            await asyncio.Event().wait()
        finally:  # what a proposal under way gets to hear
            raise NotLeaderError("not any more")

    async def loop(term: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part())

    running = asyncio.ensure_future(throne.reign(loop).run())
    await until(lambda: len(throne.log) == 2)
    throne.lose()
    await until(lambda: throne.log == ["begin 7", "part", "end"])
    running.cancel()


async def test_a_loop_that_fails_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reign_module, "_PAUSE_S", 0.001)
    throne = Throne()
    starts: list[int] = []

    async def loop(term: int) -> None:
        starts.append(term)
        if len(starts) < 4:
            raise ValueError("a bug") if len(starts) < 3 else NotLeaderError("for a moment")
        await asyncio.Event().wait()

    running = asyncio.ensure_future(throne.reign(loop).run())
    await until(lambda: len(starts) == 4)
    assert not running.done()
    running.cancel()


async def test_a_loop_whose_part_fails_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reign_module, "_PAUSE_S", 0.001)
    throne = Throne()

    async def part() -> None:
        throne.log.append("part")
        if len(throne.log) < 4:
            raise NotLeaderError("for a moment")
        await asyncio.Event().wait()

    async def loop(term: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part())

    running = asyncio.ensure_future(throne.reign(loop).run())
    await until(lambda: throne.log == ["begin 7", "part", "part", "part"])
    assert not running.done()
    throne.lose()
    await until(lambda: throne.log[-1] == "end")
    running.cancel()


async def test_a_loop_that_keeps_failing_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reign_module, "_PAUSE_S", 0.0)
    throne = Throne()

    async def loop(term: int) -> None:
        raise ValueError("a bug for good")

    with pytest.raises(LoopBrokenError, match="a bug for good"):
        await asyncio.wait_for(throne.reign(loop).run(), 5)
    assert throne.log[-1] == "end"


async def test_a_manager_that_stays_dead_is_demoted_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autopilot_module, "_PERIOD_S", 0.001)
    store = MemoryStore()
    store.put(cluster(), *(node(f"m{n}", NodeRole.MANAGER) for n in (1, 2, 3, 4)))
    for number in (2, 3, 4):
        dead = number == 4
        store.members[f"m{number}"] = MemberStatus(
            f"m{number}", "10.0.0.2:2378", voter=True, reachable=not dead, unreachable_s=7200.0 * dead
        )
    before = len(store.proposed)
    loop = asyncio.ensure_future(Autopilot(store).run(1))
    settings = cluster()
    settings.spec.remove_dead_managers_after.FromSeconds(3600)
    store.put(settings)
    await until(lambda: store.snapshot.nodes["m4"].spec.role == NodeRole.WORKER)
    await until(lambda: len(store.proposed) == before + 2)
    loop.cancel()
    assert all(store.snapshot.nodes[f"m{n}"].spec.role == NodeRole.MANAGER for n in (1, 2, 3))
