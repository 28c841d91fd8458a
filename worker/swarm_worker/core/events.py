"""What may happen to a worker. Every event is a plain value; the shell makes them, `machine.Machine` takes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from swarm_api.objects_pb2 import Task


class Phase(Enum):
    """Where a container is in its one life. Containers of ours are never started twice."""

    CREATED = auto()
    RUNNING = auto()
    EXITED = auto()


class Health(Enum):
    """What Docker's health check says; NONE when the container has no check."""

    NONE = auto()
    STARTING = auto()
    HEALTHY = auto()
    UNHEALTHY = auto()


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine describes it."""

    id: str
    task_id: str
    phase: Phase
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""  # the engine's words, when it could not run it
    health: Health = Health.NONE
    health_output: str = ""  # of the last check that failed
    stop_signal: str = "SIGTERM"
    stop_grace_s: float = 10.0


class Step(Enum):
    """What is done with the engine on a task's behalf; one at a time for each task."""

    PREPARE = auto()  # image, container
    START = auto()
    SIGNAL = auto()
    REMOVE = auto()


@dataclass(frozen=True, slots=True)
class TasksAssigned:
    """All tasks of this node now.

    `generation` counts the changes of the assignment set; `files` are the keys (`secret/ID`, `config/ID`) that came
    with it. `confirmed` is false for what was only read from disk: it is enough to adopt, not to create or to remove.
    `repeat` asks to report again whatever the manager does not know yet (a new session).
    """

    tasks: Mapping[str, Task]
    generation: int
    confirmed: bool = True
    files: frozenset[str] = frozenset()
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class NetworksApplied:
    """The node's networking shows the assignment set up to `generation`; `problems` explains networks not ready."""

    generation: int
    ready: frozenset[str]
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListingBegan:
    """The engine is being asked for its containers: what steps are done from here on, the list may not show yet."""


@dataclass(frozen=True, slots=True)
class EngineUp:
    """The engine answers, and these are all of our containers. Also sent again whenever the event stream was cut."""

    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True)
class EngineDown:
    """The engine does not answer; its containers may run on."""

    reason: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step succeeded; `container` is what the engine says now (None after REMOVE and SIGNAL)."""

    task_id: str
    step: Step
    container: Container | None = None


@dataclass(frozen=True, slots=True)
class StepRefused:
    """The engine will not do it, now or later: no such image, a bad mount, ..."""

    task_id: str
    step: Step
    error: str


@dataclass(frozen=True, slots=True)
class StepDeferred:
    """The engine did not answer; nobody knows whether the step happened. To be tried again."""

    task_id: str
    step: Step
    error: str


@dataclass(frozen=True, slots=True)
class ContainerExited:
    """A container's process ended."""

    task_id: str
    container_id: str
    exit_code: int
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class ContainerGone:
    """A container was removed, by us or by anybody."""

    task_id: str
    container_id: str


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """A health check changed its verdict."""

    task_id: str
    container_id: str
    health: Health
    output: str = ""


@dataclass(frozen=True, slots=True)
class AlarmRang:
    """The time asked for by `effects.SetAlarm` with the same number has passed."""

    task_id: str
    number: int


Event = (
    TasksAssigned
    | NetworksApplied
    | ListingBegan
    | EngineUp
    | EngineDown
    | StepDone
    | StepRefused
    | StepDeferred
    | ContainerExited
    | ContainerGone
    | HealthChanged
    | AlarmRang
)
