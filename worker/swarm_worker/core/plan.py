"""What to do next for one task, from the facts alone.

Theory of operation
    `plan` is level-triggered: it may be called at any time, after any event, and asks for nothing that was asked
    before.  At most one step of a task is with the engine (`record.busy`).  A wanted task is brought up:

        no container -> PREPARE -> created -> START -> running -> healthy

    and a task that is not wanted, or that ended, is wound down: stop signal, grace, SIGKILL, removal.  The stopped
    container of an ended task stays until the manager forgets the task (no longer assigned, or desired REMOVE): its
    output is what people want to read after a crash, and the manager's history limit bounds how many there are.

    Nothing is stopped before the node's networking shows the set of assignments that no longer wants it
    (`record.gate`), so that a task is out of DNS and balancing before it is told to end.  The other nodes hear of it at
    the same moment, but nobody here can tell when they have done the same: a task that others can reach is given
    LEAVE_S more (docs/decisions/0016).

    One task, one container: a container that was never started may be replaced, one that was started may not, not even
    when it is gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm_api.types_pb2 import TaskState

from swarm_worker.core.effects import Prepare, Remove, Signal, Start
from swarm_worker.core.events import Container, Health, Phase, Step
from swarm_worker.core.record import Stop, TaskRecord

KILL_AGAIN_S = 10.0
LEAVE_S = (
    1.0  # for the other nodes to send a task no more traffic; they need some 50 ms when they have nothing else to do
)


@dataclass(slots=True)
class Surroundings:
    """What all tasks share."""

    engine_up: bool = False
    confirmed: bool = False  # a leader's whole set of assignments is at hand
    applied: int = -1  # generation the networking shows
    ready_networks: frozenset[str] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)  # network id -> why it is not ready
    files: frozenset[str] = frozenset()


def plan(record: TaskRecord, around: Surroundings) -> None:
    """Append to `record.out` what is to be done now, if anything."""
    if record.assigned:
        record.advance(TaskState.ACCEPTED, "accepted")
    if record.busy:
        if record.busy is Step.PREPARE and not record.wanted:
            record.advance(TaskState.SHUTDOWN, "stopped before it ran")
        return
    if record.wanted and not record.over:
        _bring_up(record, around)
    if not record.busy and (record.over or not record.wanted):
        _wind_down(record, around)


def _bring_up(record: TaskRecord, around: Surroundings) -> None:
    if not around.engine_up:
        if record.container is None and not record.started:
            record.advance(TaskState.PREPARING, "waiting for the Docker engine")
    elif record.container is None:
        _prepare(record, around)
    elif record.container.phase is Phase.CREATED:
        _start(record, record.container)
    elif record.container.phase is Phase.RUNNING:
        _judge_health(record, record.container)
    else:
        conclude(record, record.container)


def _prepare(record: TaskRecord, around: Surroundings) -> None:
    if record.started or record.state >= TaskState.STARTING:
        record.advance(TaskState.FAILED, "gone", "its container is gone: it was removed by somebody else")
    elif around.confirmed and not record.deferred:
        reason = _lacking(record, around)
        record.advance(TaskState.PREPARING, reason or "preparing")
        if not reason:
            record.busy = Step.PREPARE
            record.out.append(Prepare(record.task))


def _lacking(record: TaskRecord, around: Surroundings) -> str:
    """What a container needs that is not there yet; empty when all is there."""
    for attachment in record.task.networks:
        if attachment.network_id not in around.ready_networks:
            problem = around.problems.get(attachment.network_id)
            return f"waiting for its network: {problem}" if problem else "waiting for its network"
    spec = record.task.spec.container
    keys = {f"secret/{s.secret_id}": s.secret_name for s in spec.secrets}
    keys |= {f"config/{c.config_id}": c.config_name for c in spec.configs}
    missing = sorted(name for key, name in keys.items() if key not in around.files)
    return f"waiting for {', '.join(missing)}" if missing else ""


def _start(record: TaskRecord, container: Container) -> None:
    if record.discard:
        _remove(record, container)
        return
    record.advance(TaskState.READY, "prepared")
    if record.task.desired_state == TaskState.RUNNING and not record.deferred:
        record.advance(TaskState.STARTING, "starting")
        record.busy, record.started = Step.START, True
        record.out.append(Start(record.task.id, container.id))


def _judge_health(record: TaskRecord, container: Container) -> None:
    record.started = True
    if container.health is Health.UNHEALTHY:
        output = " ".join(container.health_output.split())
        record.advance(TaskState.FAILED, "unhealthy", f"unhealthy: {output or 'its health check failed'}")
    elif container.health is Health.STARTING:
        record.advance(TaskState.STARTING, "waiting for its health check")
    else:
        record.advance(TaskState.RUNNING, "running")


def conclude(record: TaskRecord, container: Container) -> None:
    """Report how a container's process ended."""
    if record.stop is not Stop.NOT_ASKED or not record.wanted:
        record.advance(TaskState.SHUTDOWN, "stopped")
    elif container.error and not container.pid and container.exit_code:
        record.advance(TaskState.FAILED, "failed", container.error)
    elif container.exit_code == 0 and not container.oom_killed:
        record.advance(TaskState.COMPLETE, "finished")
    elif container.oom_killed:
        record.advance(TaskState.FAILED, "failed", f"killed: out of memory (exit code {container.exit_code})")
    else:
        record.advance(TaskState.FAILED, "failed", f"exited with code {container.exit_code}")


def _wind_down(record: TaskRecord, around: Surroundings) -> None:
    container = record.container
    if container is None:
        if around.engine_up or record.state < TaskState.STARTING:  # else it may run, and the engine will tell
            record.advance(TaskState.SHUTDOWN, "stopped before it ran")
    elif container.phase is Phase.RUNNING:
        _ask_to_stop(record, container, around)
    else:
        conclude(record, container)
        if around.engine_up and not record.deferred and _is_forgettable(record, container):
            _remove(record, container)


def _is_forgettable(record: TaskRecord, container: Container) -> bool:
    unwanted = not record.assigned or record.task.desired_state == TaskState.REMOVE
    return unwanted or container.phase is Phase.CREATED


def _ask_to_stop(record: TaskRecord, container: Container, around: Surroundings) -> None:
    in_order = around.applied >= record.gate or record.over
    if record.stop is not Stop.NOT_ASKED or record.deferred or not (around.engine_up and in_order):
        return
    if record.task.networks and not record.over:
        record.stop = Stop.LEAVING
        record.wake_after(LEAVE_S)
    else:
        ask(record, container)


def ask(record: TaskRecord, container: Container) -> None:
    """Ask the process to end; look again when its grace is over."""
    record.stop = Stop.ASKED
    record.out.append(Signal(record.task.id, container.id, record.stop_signal))
    record.wake_after(record.grace_s)


def kill(record: TaskRecord, container: Container) -> None:
    """The grace is over: end the process, and look again later whether that worked."""
    record.stop = Stop.KILLED
    record.out.append(Signal(record.task.id, container.id, "SIGKILL"))
    record.wake_after(KILL_AGAIN_S)


def _remove(record: TaskRecord, container: Container) -> None:
    record.busy = Step.REMOVE
    record.out.append(Remove(record.task.id, container.id))
