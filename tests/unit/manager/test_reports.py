"""Reports of all nodes, gathered into few commits."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from swarm_api.defaults import MAX_OBJECT_SIZE_BYTES
from swarm_api.dispatcher_pb2 import TaskReport
from swarm_api.objects_pb2 import NodeDescription, Service, Task
from swarm_api.types_pb2 import NodeState, TaskState
from swarm_manager.api.reports import Reports
from swarm_manager.errors import NotLeaderError, OutcomeUnknownError

from tests.unit.manager.stores import MemoryStore, cluster, node


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    service = Service(id="s1")
    service.spec.annotations.name = "web"
    found.put(cluster(), service)
    for number in range(4):
        task = Task(id=f"t{number}", service_id="s1", node_id=f"n{number}", slot=number + 1)
        task.status.state = TaskState.ASSIGNED
        task.desired_state = TaskState.RUNNING
        found.put(node(f"n{number}"), task)
    return found


@pytest.fixture
async def reports(store: MemoryStore) -> AsyncIterator[Reports]:
    found = Reports(store)
    running = asyncio.ensure_future(found.run(store.term))
    yield found
    running.cancel()


def report(task_id: str, state: "TaskState.ValueType") -> TaskReport:
    found = TaskReport(task_id=task_id)
    found.status.state = state
    return found


async def test_an_acknowledged_report_is_in_the_state(store: MemoryStore, reports: Reports) -> None:
    await reports.submit("n0", [report("t0", TaskState.ACCEPTED), report("t0", TaskState.RUNNING)])
    assert store.snapshot.tasks["t0"].status.state == TaskState.RUNNING


async def test_reports_of_a_moment_share_a_commit(store: MemoryStore, reports: Reports) -> None:
    before = len(store.proposed)
    await asyncio.gather(*(reports.submit(f"n{n}", [report(f"t{n}", TaskState.RUNNING)]) for n in range(4)))
    assert len(store.proposed) - before <= 2  # the first may go ahead alone
    assert {task.status.state for task in store.snapshot.tasks.values()} == {TaskState.RUNNING}


async def test_reports_about_more_than_an_entry_holds_are_committed_in_several(
    store: MemoryStore, reports: Reports
) -> None:
    for number in range(10, 18):
        task = Task(id=f"t{number}", service_id="s1", node_id="n0", slot=number)
        task.spec.container.env.append("LARGE=" + "x" * 100_000)
        task.status.state = TaskState.ASSIGNED
        store.put(task)
    before = len(store.proposed)
    await reports.submit("n0", [report(f"t{number}", TaskState.RUNNING) for number in range(10, 18)])
    assert all(entry.ByteSize() <= MAX_OBJECT_SIZE_BYTES for entry in store.proposed[before:])
    states = {store.snapshot.tasks[f"t{number}"].status.state for number in range(10, 18)}
    assert states == {TaskState.RUNNING}


async def test_a_node_reports_only_of_its_own_tasks(store: MemoryStore, reports: Reports) -> None:
    await reports.submit("n1", [report("t0", TaskState.FAILED)])
    assert store.snapshot.tasks["t0"].status.state == TaskState.ASSIGNED


async def test_a_description_makes_the_node_ready(store: MemoryStore, reports: Reports) -> None:
    lost = node("n0")
    lost.status.state = NodeState.DOWN
    store.put(lost)
    await reports.submit("n0", [], NodeDescription(hostname="back"), "10.0.0.9")
    found = store.snapshot.nodes["n0"]
    assert (found.status.state, found.status.address, found.description.hostname) == (
        NodeState.READY_STATE,
        "10.0.0.9",
        "back",
    )


async def test_who_leaves_is_down_at_once(store: MemoryStore, reports: Reports) -> None:
    await reports.submit("n0", [report("t0", TaskState.SHUTDOWN)], leaves=True)
    found = store.snapshot.nodes["n0"]
    assert (found.status.state, found.status.message) == (NodeState.DOWN, "It left the cluster.")
    assert store.snapshot.tasks["t0"].status.state == TaskState.SHUTDOWN


async def test_a_conflict_and_an_unknown_outcome_are_decided_anew(store: MemoryStore, reports: Reports) -> None:
    def meanwhile() -> None:
        changed = Task.FromString(store.snapshot.tasks["t0"].SerializeToString())
        changed.desired_state = TaskState.SHUTDOWN
        store.put(changed)

    store.before_propose = meanwhile
    store.failures = [OutcomeUnknownError("lost")]
    await reports.submit("n0", [report("t0", TaskState.RUNNING)])
    found = store.snapshot.tasks["t0"]
    assert (found.status.state, found.desired_state) == (TaskState.RUNNING, TaskState.SHUTDOWN)


async def test_whoever_waits_is_told_when_the_reign_ends(store: MemoryStore) -> None:
    reports = Reports(store)  # nobody runs it
    waiting = asyncio.ensure_future(reports.submit("n0", [report("t0", TaskState.RUNNING)]))
    await asyncio.sleep(0)
    reports.abandon(NotLeaderError("over"))
    with pytest.raises(NotLeaderError):
        await waiting


async def test_a_lost_lead_is_told(store: MemoryStore, reports: Reports) -> None:
    store.failures = [NotLeaderError("this manager does not lead")]
    with pytest.raises(NotLeaderError):
        await reports.submit("n0", [report("t0", TaskState.RUNNING)])
