"""One task on this node: what is known of it, and what to tell the manager.

A record holds facts only. What to do about them is decided in `plan.py`, from the facts alone.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from swarm_api.defaults import STOP_GRACE_PERIOD_S
from swarm_api.objects_pb2 import ContainerStatus, Task, TaskStatus
from swarm_api.states import TERMINAL, WANTED
from swarm_api.types_pb2 import PortConfig, TaskState

from swarm_worker.core.effects import Effect, Report, SetAlarm
from swarm_worker.core.events import Container, Health, Phase, Step


class Stop(Enum):
    """How far the stopping of a container got."""

    NOT_ASKED = auto()
    LEAVING = auto()  # this node sends it no traffic any more; the others are given the time to do the same
    ASKED = auto()  # its stop signal was sent, its grace period runs
    KILLED = auto()


@dataclass(slots=True)
class TaskRecord:
    """The facts about one task, and the effects its last event led to."""

    task: Task
    state: int  # observed; only moves forward
    message: str = ""
    err: str = ""
    container: Container | None = None
    assigned: bool = True
    gate: int = 0  # the generation whose networking must be in place before its container is stopped
    busy: Step | None = None
    stop: Stop = Stop.NOT_ASKED
    deferred: bool = False  # the engine did not do what was asked: wait for its next list of containers
    discard: bool = False  # a half-made container of an earlier process: remove it, make a new one
    started: bool = False  # a start was asked for: there will be no second container
    alarm: int = 0
    out: list[Effect] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        """Whether the manager wants it to run, now or later."""
        return self.assigned and self.task.desired_state in WANTED

    @property
    def over(self) -> bool:
        """Whether it ended, so that nothing but cleaning up is left."""
        return self.state in TERMINAL

    @property
    def running(self) -> bool:
        """Whether a process of it may be running."""
        return self.container is not None and self.container.phase is Phase.RUNNING

    @property
    def grace_s(self) -> float:
        """How long its process may take to end after the stop signal."""
        spec = self.task.spec.container
        if spec.HasField("stop_grace_period"):
            return spec.stop_grace_period.ToTimedelta().total_seconds()
        return self.container.stop_grace_s if self.container else STOP_GRACE_PERIOD_S

    @property
    def stop_signal(self) -> str:
        """The signal that asks its process to end: the spec's, else the image's."""
        return self.task.spec.container.stop_signal or (self.container.stop_signal if self.container else "")

    def advance(self, state: int, message: str, err: str = "") -> None:
        """Move to `state` and report it; never backwards, never out of an end. A new message alone counts too."""
        forward = state > self.state and not self.over
        changed = state == self.state and not self.over and (message, err) != (self.message, self.err)
        if not (forward or changed):
            return
        self.state, self.message, self.err = state, message, err
        self.report()

    def report(self) -> None:
        """Tell the manager what it may not know. Nobody listens for a task that is no longer assigned."""
        if self.assigned:
            self.out.append(Report(self.task.id, self.status()))

    def status(self) -> TaskStatus:
        """The observed status, without a timestamp."""
        status = TaskStatus(state=self.state, message=self.message, err=self.err)  # type: ignore[arg-type]  # enum's int
        if self.container:
            status.container.CopyFrom(_container_status(self.container))
        if self.state == TaskState.RUNNING:
            host = (port for port in self.task.endpoint.ports if port.publish_mode == PortConfig.HOST)
            status.host_ports.extend(host)
        return status

    def wake_after(self, delay_s: float) -> None:
        """Ask for an alarm; it replaces the one before."""
        self.alarm += 1
        self.out.append(SetAlarm(self.task.id, delay_s, self.alarm))


def _container_status(container: Container) -> ContainerStatus:
    return ContainerStatus(
        container_id=container.id,
        pid=container.pid,
        exit_code=container.exit_code,
        oom_killed=container.oom_killed,
        health=container.health_output if container.health is Health.UNHEALTHY else "",
    )
