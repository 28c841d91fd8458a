"""Whatever happens in whatever order: states go forward, one task gets one container, and all ends as wanted.

A model of an engine answers the core's effects late, wrongly or not at all, crashes, and lists its containers as they
were a while ago; the leader changes its mind meanwhile. One seed replays everything.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import hypothesis.strategies as st
from hypothesis import given, settings
from swarm_api.objects_pb2 import Task
from swarm_api.states import TERMINAL
from swarm_api.types_pb2 import TaskState
from swarm_worker.core import effects, events
from swarm_worker.core.events import Container, Event, Health, Phase, Step
from swarm_worker.core.machine import Machine

from tests.worker.story import make_task

TASKS = ("t1", "t2", "t3")
WISHES = (TaskState.READY, TaskState.RUNNING, TaskState.SHUTDOWN, TaskState.REMOVE)
_STEPS = {
    effects.Prepare: Step.PREPARE,
    effects.Start: Step.START,
    effects.Signal: Step.SIGNAL,
    effects.Remove: Step.REMOVE,
}
Order = effects.Prepare | effects.Start | effects.Signal | effects.Remove


class Engine:
    """Containers as they really are."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.made = 0
        self.up = False

    def carry_out(self, order: Order) -> Event:
        """Do it, as the real adapter does."""
        task_id = order.task.id if isinstance(order, effects.Prepare) else order.task_id
        step = _STEPS[type(order)]
        match order:
            case effects.Prepare(task):
                return events.StepDone(task_id, step, self._make(task.id))
            case effects.Start(_, container_id):
                if container_id not in self.containers:
                    return events.StepRefused(task_id, step, "no such container")
                if self.containers[container_id].phase is Phase.CREATED:
                    self.change(container_id, phase=Phase.RUNNING, pid=1)
                return events.StepDone(task_id, step, self.containers[container_id])
            case effects.Signal(_, container_id, _):
                if self.phase(container_id) is not Phase.RUNNING:
                    return events.StepRefused(task_id, step, "not running")
                return events.StepDone(task_id, step)
            case effects.Remove(_, container_id):
                self.containers.pop(container_id, None)
                return events.StepDone(task_id, step)

    def _make(self, task_id: str) -> Container:
        found = next((c for c in self.containers.values() if c.task_id == task_id), None)
        if found and found.phase is not Phase.CREATED:
            return found
        if found:
            del self.containers[found.id]
        self.made += 1
        made = Container(f"c{self.made}", task_id, Phase.CREATED)
        self.containers[made.id] = made
        return made

    def change(self, container_id: str, **fields: object) -> None:
        self.containers[container_id] = replace(self.containers[container_id], **fields)  # type: ignore[arg-type]

    def phase(self, container_id: str) -> Phase | None:
        found = self.containers.get(container_id)
        return found.phase if found else None


class World:
    """A worker's core, its engine and its leader, and what may happen to them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.machine, self.engine = Machine(), Engine()
        self.tasks: dict[str, Task] = {}
        self.forgotten: set[str] = set()
        self.open: list[Order] = []
        self.alarms: dict[str, int] = {}
        self.reported: dict[str, list[int]] = {task_id: [] for task_id in TASKS}
        self.started: set[str] = set()
        self.generation = 0
        self.listed: tuple[Container, ...] | None = None
        self.resync = False

    # ------------------------------------------------------------------------------------ the worker

    def tell(self, event: Event) -> None:
        for effect in self.machine.handle(event):
            self.take(effect)

    def take(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Report(task_id, status):
                self.reported[task_id].append(status.state)
            case effects.SetAlarm(task_id, _, number):
                self.alarms[task_id] = number
            case effects.Resync():
                self.resync = True
            case effects.Forget(task_id):
                self.alarms.pop(task_id, None)
            case _:
                self.check_order(effect)
                self.open.append(effect)

    def check_order(self, order: Order) -> None:
        if isinstance(order, effects.Prepare):
            assert order.task.id not in self.started, "a second container for a task that was started"
            busy = [o.task.id for o in self.open if isinstance(o, effects.Prepare)]
            assert order.task.id not in busy, "two containers are being made for one task"
        if isinstance(order, effects.Start):
            self.started.add(order.task_id)

    # ------------------------------------------------------------------------------------ the leader

    def wants_more(self) -> None:
        self.wants(self.random.choice(TASKS), self.random.choice(WISHES))

    def wants(self, task_id: str, wish: "TaskState.ValueType") -> None:
        before = self.tasks.get(task_id)
        if task_id in self.forgotten or (before and before.desired_state >= wish):
            return
        self.tasks[task_id] = make_task(task_id, wish)
        self.assign()

    def forgets(self) -> None:
        task_id = self.random.choice(TASKS)
        if self.tasks.pop(task_id, None):
            self.forgotten.add(task_id)
            self.assign()

    def assign(self, *, repeat: bool = False) -> None:
        self.generation += 1
        self.tell(events.TasksAssigned(dict(self.tasks), self.generation, repeat=repeat))

    def new_session(self) -> None:
        self.assign(repeat=True)

    def networks_follow(self) -> None:
        self.tell(events.NetworksApplied(self.generation, frozenset()))

    # ------------------------------------------------------------------------------------ the engine

    def answers(self) -> None:
        if not self.open:
            return
        outcome = self.random.choice(["done", "done", "done", "done", "answer lost", "not done", "refused"])
        order = self.open.pop(self.random.randrange(len(self.open)))
        task_id = order.task.id if isinstance(order, effects.Prepare) else order.task_id
        step = _STEPS[type(order)]
        if outcome == "refused":
            self.tell(events.StepRefused(task_id, step, "no"))
            return
        answer = self.engine.carry_out(order) if self.engine.up and outcome != "not done" else None
        lost = answer is None or outcome == "answer lost"
        self.tell(events.StepDeferred(task_id, step, "no answer") if lost or answer is None else answer)

    def dies(self) -> None:
        code, told = self.random.choice([0, 1, 137]), self.random.random() < 0.7
        for container_id in self.some_running():
            self.engine.change(container_id, phase=Phase.EXITED, exit_code=code)
            if told and self.engine.up:
                self.tell(events.ContainerExited(self.engine.containers[container_id].task_id, container_id, code))

    def health_changes(self) -> None:
        health = self.random.choice([Health.HEALTHY, Health.HEALTHY, Health.UNHEALTHY])
        for container_id in self.some_running() if self.engine.up else ():
            self.engine.change(container_id, health=health)
            self.tell(events.HealthChanged(self.engine.containers[container_id].task_id, container_id, health))

    def some_running(self) -> list[str]:
        running = sorted(c.id for c in self.engine.containers.values() if c.phase is Phase.RUNNING)
        return [self.random.choice(running)] if running else []

    def somebody_removes(self) -> None:
        if self.engine.containers:
            gone = self.engine.containers.pop(self.random.choice(sorted(self.engine.containers)))
            if self.engine.up:
                self.tell(events.ContainerGone(gone.task_id, gone.id))

    def crashes(self) -> None:
        self.engine.up, self.listed = False, None
        self.tell(events.EngineDown("crashed"))

    def begins_to_list(self) -> None:
        self.engine.up = True
        self.tell(events.ListingBegan())
        self.listed = tuple(self.engine.containers.values())

    def has_listed(self) -> None:
        listed, self.listed = self.listed, None
        if listed is not None:
            self.tell(events.EngineUp(listed))

    def alarm_rings(self) -> None:
        task_id = self.random.choice(TASKS)
        if task_id in self.alarms:
            self.tell(events.AlarmRang(task_id, self.alarms.pop(task_id)))

    # ------------------------------------------------------------------------------------- promises

    def states_only_go_forward(self) -> None:
        for states in self.reported.values():
            assert states == sorted(states)
            assert all(state not in TERMINAL for state in states if state != states[-1])

    def at_most_one_container_a_task(self) -> None:
        owners = [container.task_id for container in self.engine.containers.values()]
        assert len(owners) == len(set(owners))

    def settles(self) -> None:
        """Once everything answers, all is as wanted."""
        for _ in range(30):
            self.begins_to_list()
            self.has_listed()
            self.networks_follow()
            for task_id, number in list(self.alarms.items()):
                self.tell(events.AlarmRang(task_id, number))
            while self.open:
                order = self.open.pop(0)
                self.tell(self.engine.carry_out(order))
                if isinstance(order, effects.Signal) and self.engine.phase(order.container_id) is Phase.RUNNING:
                    self.engine.change(order.container_id, phase=Phase.EXITED, exit_code=0)
                    self.tell(events.ContainerExited(order.task_id, order.container_id, 0))
        for task_id, record in self.machine.records.items():
            assert task_id in self.tasks
            mine = [c for c in self.engine.containers.values() if c.task_id == task_id]
            running = any(c.phase is Phase.RUNNING for c in mine)
            assert running == (record.state in (TaskState.RUNNING, TaskState.STARTING)), (record.state, mine)
            if self.tasks[task_id].desired_state >= TaskState.SHUTDOWN:
                assert record.state in TERMINAL
        assert {c.task_id for c in self.engine.containers.values()} <= set(self.tasks)


_WEIGHTS: dict[Callable[[World], None], int] = {
    World.answers: 12,
    World.wants_more: 5,
    World.begins_to_list: 3,
    World.has_listed: 4,
    World.networks_follow: 3,
    World.dies: 2,
    World.health_changes: 2,
    World.alarm_rings: 2,
    World.crashes: 1,
    World.forgets: 1,
    World.somebody_removes: 1,
    World.new_session: 1,
}


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 120))
def test_any_order_of_events(seed: int, length: int) -> None:
    world = World(seed)
    for happening in world.random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=length):
        happening(world)
        world.states_only_go_forward()
        world.at_most_one_container_a_task()
    world.settles()
