"""Tells stories to the core: what happens to a task, and what the core wants done about it."""

from collections.abc import Iterable

from swarm_api.objects_pb2 import Task, TaskStatus
from swarm_api.states import state_name
from swarm_api.types_pb2 import TaskState
from swarm_worker.core import effects, events
from swarm_worker.core.effects import Effect
from swarm_worker.core.events import Container, Event, Health, Phase, Step
from swarm_worker.core.machine import Machine


def make_task(
    task_id: str = "t1",
    desired: "TaskState.ValueType" = TaskState.RUNNING,
    *,
    networks: Iterable[str] = (),
    state: "TaskState.ValueType" = TaskState.ASSIGNED,
) -> Task:
    """A task as the leader assigns it."""
    task = Task(id=task_id, slot=1, desired_state=desired)
    task.status.state = state
    task.service_annotations.name = "web"
    task.spec.container.image = "busybox:local"
    for network_id in networks:
        task.networks.add(network_id=network_id, address="10.0.0.5")
    return task


def container(phase: Phase = Phase.RUNNING, task_id: str = "t1", container_id: str = "c1", **more: object) -> Container:
    """A container of a task."""
    return Container(container_id, task_id, phase, **more)  # type: ignore[arg-type]  # fields of Container


class Story:
    """A worker's core, what it reported, and the effects nobody answered yet."""

    def __init__(self, *, engine: bool = True, confirmed: bool = True) -> None:
        self.machine = Machine()
        self.reports: list[TaskStatus] = []
        self.open: list[Effect] = []
        self.generation = 0
        self.confirmed = confirmed
        if engine:
            self.happens(events.EngineUp(()))

    def happens(self, event: Event) -> list[Effect]:
        """Something happens; the effects other than reports."""
        wanted = []
        for effect in self.machine.handle(event):
            if isinstance(effect, effects.Report):
                self.reports.append(effect.status)
            else:
                wanted.append(effect)
        self.open += wanted
        return wanted

    def assigned(self, *tasks: Task, applied: bool = True, files: frozenset[str] = frozenset()) -> list[Effect]:
        """These are the node's tasks now; the networking follows at once unless told otherwise."""
        self.generation += 1
        wanted = self.happens(
            events.TasksAssigned({t.id: t for t in tasks}, self.generation, confirmed=self.confirmed, files=files)
        )
        return wanted + (self.networks() if applied else [])

    def networks(self, *ready: str, **problems: str) -> list[Effect]:
        """The networking is as the last assignments say."""
        return self.happens(events.NetworksApplied(self.generation, frozenset(ready), problems))

    def done(self, step: Step, what: Container | None = None, task_id: str = "t1") -> list[Effect]:
        """A step succeeded."""
        return self.happens(events.StepDone(task_id, step, what))

    def brought_up(self, task: Task, health: Health = Health.NONE) -> "Story":
        """The task runs."""
        self.assigned(task)
        self.networks(*(attachment.network_id for attachment in task.networks))
        self.done(Step.PREPARE, container(Phase.CREATED))
        self.done(Step.START, container(health=health))
        self.open.clear()
        return self

    @property
    def states(self) -> list[str]:
        """The states reported so far, each once."""
        names = [state_name(report.state) for report in self.reports]
        return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]

    @property
    def last(self) -> TaskStatus:
        """The last report."""
        return self.reports[-1]
