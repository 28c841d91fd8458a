"""What the machine wants done. The shell does it and answers with an event where one is named."""

from dataclasses import dataclass

from swarm_api.objects_pb2 import Task, TaskStatus


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have the image here and make the container, without starting it. Answer: a Step* event for PREPARE."""

    task: Task


@dataclass(frozen=True, slots=True)
class Start:
    """Start the container. Answer: a Step* event for START, with the container as it is then."""

    task_id: str
    container_id: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the container. Answer: a Step* event for SIGNAL; its end arrives as ContainerExited."""

    task_id: str
    container_id: str
    signal: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the container, also when it runs, with its anonymous volumes. Answer: a Step* event for REMOVE."""

    task_id: str
    container_id: str


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the manager. The status has no timestamp: the shell stamps it."""

    task_id: str
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class SetAlarm:
    """Answer with AlarmRang after `delay_s`. A later alarm of the same task replaces it."""

    task_id: str
    delay_s: float
    number: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The task is over and no longer assigned: drop what is kept for it outside the engine."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Resync:
    """List the containers again soon: something is not as the records say. Answer: EngineUp or EngineDown."""


Effect = Prepare | Start | Signal | Remove | Report | SetAlarm | Forget | Resync
