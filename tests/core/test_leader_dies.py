"""A leader that dies inside whatever is going on: the next one goes on, and does nothing twice.

Each story is played once by a leader that lives; then by leaders that die after every single change they commit; then,
for each change of the story, with one death just after it.  A new leader knows only what is committed.  In the end
every slot has seen the same tasks, in the same order, as under the leader that lived.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

import pytest
from google.protobuf.duration_pb2 import Duration
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.store_pb2 import Change
from swarm_api.types_pb2 import NodeAvailability, Share, TaskState, UpdateConfig
from swarm_manager.api.update_commands import promoted, rolled_back
from swarm_manager.core import planner
from swarm_manager.core.machine import Outcome
from swarm_manager.core.scratch import copy_of
from swarm_manager.time_zones import zone_of

from tests.core.simulated import SimulatedCluster, service_spec

pytestmark = pytest.mark.long


class AfterEach:
    """Every leader dies as soon as it has committed one change."""

    def __contains__(self, change: object) -> bool:
        return True


class MortalCluster(SimulatedCluster):
    """Leaders commit their plans change by change; after some of them they die, and another one leads."""

    def __init__(self, *node_ids: str) -> None:
        self.deadly: Container[int] = ()
        self.made = 0
        self.least: dict[str, int] = {}  # of watched services, how many tasks ran at the worst moment
        super().__init__(*node_ids)

    def propose(self, changes: list[Change], request_id: str = "") -> Outcome:
        outcome = super().propose(changes, request_id)
        for name in self.least:
            self.least[name] = min(self.least[name], len(self.running(name)))
        return outcome

    def plan(self) -> bool:
        made = planner.plan(self.snapshot, self.now, planner.ALL, self._ids, zone_of)
        self._agenda = planner.Agenda()
        self._agenda.note(made)
        for batch in made.batches(max_size_bytes=1):
            self.commit(batch)
            self.made += 1
            if self.made in self.deadly:
                return True
        return bool(made.changes)


Story = Callable[[MortalCluster], None]


@contextmanager
def never_less(cluster: MortalCluster, name: str, count: int) -> Iterator[None]:
    """As many tasks of a service run at any moment, whoever leads."""
    cluster.least[name] = count
    yield
    assert cluster.least.pop(name) == count


def spec(order: int = UpdateConfig.STOP_FIRST, replicas: int = 3) -> ServiceSpec:
    made = service_spec("web", replicas=replicas, networks=("net-back",))
    made.update.parallelism = made.rollback.parallelism = 2
    made.update.order = made.rollback.order = order
    made.update.monitor.CopyFrom(Duration(seconds=1))
    return made


def begin(cluster: MortalCluster, **options: int) -> None:
    cluster.create(spec(**options))
    cluster.run(5)


def an_update(cluster: MortalCluster) -> None:
    cluster.update("web", image="app:2")
    cluster.run(60)


def a_failing_update(cluster: MortalCluster) -> None:
    for worker in cluster.workers.values():
        worker.broken_images["app:2"] = TaskState.FAILED
    wanted = copy_of(cluster.service("web").spec)
    wanted.task.container.image = "app:2"
    wanted.update.parallelism, wanted.update.failure_action = 1, UpdateConfig.ROLLBACK
    with never_less(cluster, "web", 2):
        cluster.respecify("web", wanted)
        cluster.run(60)


def a_rollback(cluster: MortalCluster) -> None:
    an_update(cluster)
    cluster.put(rolled_back(cluster.service("web"), 0, cluster.now))
    cluster.run(60)


def a_canary(cluster: MortalCluster) -> None:
    wanted = copy_of(cluster.service("web").spec)
    wanted.task.container.image = "app:2"
    cluster.respecify("web", wanted, Share(tasks=1))
    cluster.run(60)
    cluster.put(promoted(cluster.service("web"), "ann", cluster.now))
    cluster.run(60)


def a_drain(cluster: MortalCluster) -> None:
    with never_less(cluster, "web", 3):
        cluster.set_availability("n1", NodeAvailability.DRAIN)
        cluster.run(60)
    assert "n1" not in cluster.nodes_of("web")


def a_rebalance(cluster: MortalCluster) -> None:
    a_drain(cluster)
    cluster.set_availability("n1", NodeAvailability.ACTIVE)
    asked = copy_of(cluster.service("web"))
    asked.rebalance_asked_at.CopyFrom(cluster.now)
    cluster.put(asked)
    cluster.run(120)
    assert sorted(Counter(cluster.nodes_of("web")).values()) == [1, 1, 1]


def a_lost_node(cluster: MortalCluster) -> None:
    cluster.lose("n2")
    cluster.run(30)
    cluster.connect("n2")
    cluster.run(30)


def a_job(cluster: MortalCluster) -> None:
    job = service_spec("batch", networks=("net-back",))
    job.replicated_job.total_completions, job.replicated_job.max_concurrent = 4, 2
    cluster.create(job)
    for _ in range(4):
        cluster.run(1)
        for task in cluster.running("batch"):
            cluster.end_task(task, TaskState.COMPLETE)
    cluster.run(1)
    assert [task.status.state for task in cluster.wanted("batch")] == [TaskState.COMPLETE] * 4


def a_global_update(cluster: MortalCluster) -> None:
    agent = service_spec("agent", networks=("net-back",))
    getattr(agent, "global").SetInParent()
    agent.update.parallelism = 1
    cluster.create(agent)
    cluster.run(5)
    with never_less(cluster, "agent", 2):
        cluster.update("agent", image="app:2")
        cluster.run(60)
    cluster.set_availability("n1", NodeAvailability.DRAIN)
    cluster.run(5)
    cluster.set_availability("n1", NodeAvailability.ACTIVE)
    cluster.run(60)
    assert cluster.nodes_of("agent") == ["n1", "n2", "n3"]


STORIES = [an_update, a_failing_update, a_rollback, a_canary, a_drain, a_rebalance, a_lost_node, a_job, a_global_update]
ORDERS = [UpdateConfig.STOP_FIRST, UpdateConfig.START_FIRST]


def play(story: Story, order: int, deadly: Container[int]) -> tuple[Counter[tuple[str, ...]], int]:
    """What each slot has seen in the end, and how many changes the story took."""
    cluster = MortalCluster("n1", "n2", "n3")
    cluster.add_network("back")
    begin(cluster, order=order)
    cluster.made, cluster.deadly = 0, deadly
    story(cluster)
    assert len(cluster.running("web")) == 3
    return Counter(slots(cluster)), cluster.made


def slots(cluster: MortalCluster) -> list[tuple[str, ...]]:
    """For each slot the tasks of it that were ever started, oldest first: image, how it stands, what is wanted."""
    seen: dict[tuple[str, object], list[str]] = {}
    for name in ("web", "batch", "agent"):
        for task in filter(was_started, cluster.tasks(name)):
            stands = TaskState.Name(task.status.state)
            wanted = TaskState.Name(task.desired_state)
            seen.setdefault((name, task.slot or task.node_id), []).append(
                f"{task.spec.container.image} {stands} {wanted}"
            )
    return [(name, *tasks) for (name, _), tasks in seen.items()]


def was_started(task: Task) -> bool:
    return any(passed.state in (TaskState.STARTING, TaskState.RUNNING) for passed in task.status.states)


@pytest.mark.parametrize("order", ORDERS, ids=["stop first", "start first"])
@pytest.mark.parametrize("story", STORIES, ids=[story.__name__ for story in STORIES])
def test_the_next_leader_goes_on(story: Story, order: int) -> None:
    expected, changes = play(story, order, ())
    assert play(story, order, AfterEach())[0] == expected
    for number in range(1, changes + 1):
        assert play(story, order, {number})[0] == expected, f"the leader died after change {number} of {changes}"


def test_a_hundred_services_change_at_once_under_leaders_that_die() -> None:
    cluster = SimulatedCluster("n1", "n2", "n3", "n4")
    names = [f"s{number:02}" for number in range(100)]
    for name in names:
        cluster.create(service_spec(name, replicas=2))
    cluster.run(5)
    changes = []
    for name in names:
        changed = copy_of(cluster.service(name))
        changed.spec.task.container.image = "app:2"
        changes.append(cluster.change(changed))
    cluster.commit(changes)
    for number in range(8):
        cluster.plan_and_die(7 * number)
        cluster.step_workers()
    cluster.run(60)
    for name in names:
        assert [task.spec.container.image for task in cluster.running(name)] == ["app:2"] * 2
        assert len(cluster.tasks(name)) == 4
