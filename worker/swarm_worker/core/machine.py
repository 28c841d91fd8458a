"""All tasks of this node: events in, effects out.

`handle` takes one event, updates the records it concerns and lets `plan` say what is next for them. It never fails on
an event it did not expect: answers of the engine may be late, doubled or about containers nobody knows any more.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from swarm_api.objects_pb2 import Task
from swarm_api.states import TERMINAL
from swarm_api.types_pb2 import TaskState

from swarm_worker.core import events
from swarm_worker.core.effects import Effect, Forget, Remove, Resync
from swarm_worker.core.events import Container, Event, Health, Phase, Step
from swarm_worker.core.plan import Surroundings, ask, kill, plan
from swarm_worker.core.record import Stop, TaskRecord


class Machine:
    """The state of every task of this node. Not thread-safe: one caller, one event at a time."""

    def __init__(self) -> None:
        self.records: dict[str, TaskRecord] = {}
        self._around = Surroundings()
        self._listing = False
        self._touched: set[str] = set()  # while listing: tasks with a step under way at any moment of it
        self._unclaimed: dict[str, Container] = {}  # containers of ours whose task nobody named yet
        self._handlers: dict[type, Callable[[Any], list[Effect]]] = {
            events.TasksAssigned: self._on_assigned,
            events.NetworksApplied: self._on_networks,
            events.ListingBegan: self._on_listing,
            events.EngineUp: self._on_engine_up,
            events.EngineDown: self._on_engine_down,
            events.StepDone: self._on_done,
            events.StepRefused: self._on_refused,
            events.StepDeferred: self._on_deferred,
            events.ContainerExited: self._on_exited,
            events.ContainerGone: self._on_gone,
            events.HealthChanged: self._on_health,
            events.AlarmRang: self._on_alarm,
        }

    @property
    def engine_up(self) -> bool:
        """Whether the engine answered last."""
        return self._around.engine_up

    @property
    def idle(self) -> bool:
        """Whether no task is left that has, or may have, a container."""
        return all(r.container is None and not r.busy for r in self.records.values()) and not self._unclaimed

    def handle(self, event: Event) -> list[Effect]:
        """Take an event; the effects are to be started in their order."""
        return self._handlers[type(event)](event)

    # ------------------------------------------------------------------------------------- assignments

    def _on_assigned(self, event: events.TasksAssigned) -> list[Effect]:
        self._around.files = event.files
        self._around.confirmed = self._around.confirmed or event.confirmed
        for task in event.tasks.values():
            self._assign(task, event)
        if event.confirmed:
            self._unassign(event)
        return self._plan(list(self.records))

    def _assign(self, task: Task, event: events.TasksAssigned) -> None:
        record = self.records.get(task.id)
        if record is None:
            record = self._new_record(task, event.generation)
        elif task.desired_state < record.task.desired_state and record.assigned:
            return  # wishes only move forward
        elif task.desired_state != record.task.desired_state:
            record.gate = event.generation
        record.task, record.assigned = task, True
        if task.status.state in TERMINAL and record.state not in TERMINAL:
            record.state, record.message, record.err = task.status.state, task.status.message, task.status.err
        if event.repeat and record.state > task.status.state:
            record.report()

    def _new_record(self, task: Task, generation: int) -> TaskRecord:
        status = task.status
        state = max(status.state, TaskState.ASSIGNED)
        record = TaskRecord(task, state, status.message, status.err, gate=generation)
        self.records[task.id] = record
        container = self._unclaimed.pop(task.id, None)
        if container:
            _reconcile(record, container)
        return record

    def _unassign(self, event: events.TasksAssigned) -> None:
        for task_id, record in self.records.items():
            if record.assigned and task_id not in event.tasks:
                record.assigned, record.gate = False, event.generation
        self._claim_strays(event.generation)

    def _claim_strays(self, generation: int) -> None:
        """Containers of tasks that are not assigned any more get a record: they are wound down like any other."""
        for task_id, container in self._unclaimed.items():
            stray = TaskRecord(Task(id=task_id), TaskState.ASSIGNED, assigned=False, gate=generation)
            _reconcile(stray, container)
            self.records[task_id] = stray
        self._unclaimed = {}

    # -------------------------------------------------------------------------------- networks, engine

    def _on_networks(self, event: events.NetworksApplied) -> list[Effect]:
        self._around.applied = max(event.generation, self._around.applied)
        self._around.ready_networks, self._around.problems = event.ready, event.problems
        return self._plan(list(self.records))

    def _on_listing(self, _event: events.ListingBegan) -> list[Effect]:
        self._listing = True
        self._touched = {task_id for task_id, record in self.records.items() if record.busy}
        return []

    def _on_engine_up(self, event: events.EngineUp) -> list[Effect]:
        self._around.engine_up = True
        listed, extra = _by_task(event.containers)
        for task_id, record in self.records.items():
            container = listed.pop(task_id, None)
            if task_id not in self._touched:
                _reconcile(record, container)
        self._unclaimed = {task_id: c for task_id, c in listed.items() if task_id not in self._touched}
        self._listing, self._touched = False, {t for t, r in self.records.items() if r.busy}
        if self._around.confirmed:
            self._claim_strays(self._around.applied)
        return [*extra, *self._plan(list(self.records))]

    def _on_engine_down(self, _event: events.EngineDown) -> list[Effect]:
        self._around.engine_up = False
        return self._plan(list(self.records))

    # ------------------------------------------------------------------------------------------- steps

    def _on_done(self, event: events.StepDone) -> list[Effect]:
        record = self.records.get(event.task_id)
        if record is None or event.step is Step.SIGNAL or record.busy is not event.step:
            return []
        record.busy = None
        if event.step is Step.REMOVE:
            record.container, record.discard = None, False
        elif event.container:
            record.container = _newer(record.container, event.container)
        return self._plan([event.task_id])

    def _on_refused(self, event: events.StepRefused) -> list[Effect]:
        record = self.records.get(event.task_id)
        if record is None or (event.step is not Step.SIGNAL and record.busy is not event.step):
            return []
        if event.step in (Step.SIGNAL, Step.REMOVE):  # what we believe of the container is not so: look again
            return self._defer(record, event.step)
        record.busy = None
        state = TaskState.REJECTED if event.step is Step.PREPARE else TaskState.FAILED
        record.advance(state, "refused by the engine", event.error)
        return self._plan([event.task_id])

    def _on_deferred(self, event: events.StepDeferred) -> list[Effect]:
        record = self.records.get(event.task_id)
        if record is None or (event.step is not Step.SIGNAL and record.busy is not event.step):
            return []
        return self._defer(record, event.step)

    def _defer(self, record: TaskRecord, step: Step) -> list[Effect]:
        record.deferred = True
        if step is Step.SIGNAL:
            record.stop = Stop.NOT_ASKED
        else:
            record.busy = None
        return [Resync(), *self._plan([record.task.id])]

    # -------------------------------------------------------------------------------------- containers

    def _on_exited(self, event: events.ContainerExited) -> list[Effect]:
        record = self._holder(event.task_id, event.container_id)
        if record is None or record.container is None:
            return []
        record.container = replace(
            record.container,
            phase=Phase.EXITED,
            exit_code=event.exit_code,
            oom_killed=event.oom_killed,
            error=event.error,
        )
        return self._plan([event.task_id])

    def _on_gone(self, event: events.ContainerGone) -> list[Effect]:
        record = self._holder(event.task_id, event.container_id)
        if record is None or record.busy:
            return []
        _reconcile(record, None)
        return self._plan([event.task_id])

    def _on_health(self, event: events.HealthChanged) -> list[Effect]:
        record = self._holder(event.task_id, event.container_id)
        if record is None or record.container is None:
            return []
        record.container = replace(record.container, health=event.health, health_output=event.output)
        return self._plan([event.task_id])

    def _on_alarm(self, event: events.AlarmRang) -> list[Effect]:
        record = self.records.get(event.task_id)
        if record is None or record.alarm != event.number or record.stop is Stop.NOT_ASKED:
            return []
        if not self._around.engine_up:
            record.stop = Stop.NOT_ASKED  # nobody hears a signal; it is sent when the engine is back
        elif record.container and record.running:
            step = ask if record.stop is Stop.LEAVING else kill
            step(record, record.container)
        return self._plan([event.task_id])

    def _holder(self, task_id: str, container_id: str) -> TaskRecord | None:
        record = self.records.get(task_id)
        if record and record.container and record.container.id == container_id:
            return record
        unclaimed = self._unclaimed.get(task_id)
        if unclaimed and unclaimed.id == container_id:
            del self._unclaimed[task_id]  # it changed since it was listed; the next list tells how
        return None

    # -------------------------------------------------------------------------------------------- plan

    def _plan(self, task_ids: Iterable[str]) -> list[Effect]:
        effects: list[Effect] = []
        for task_id in task_ids:
            record = self.records[task_id]
            plan(record, self._around)
            if self._listing and record.busy:
                self._touched.add(task_id)
            effects += record.out
            record.out = []
            if not record.assigned and record.container is None and not record.busy:
                del self.records[task_id]
                effects.append(Forget(task_id))
        return effects


def _reconcile(record: TaskRecord, container: Container | None) -> None:
    """Take the engine's word for a task that has no step under way."""
    record.deferred = False
    known = record.container
    if container is None:
        record.container = None
    elif container.phase is Phase.CREATED:
        half_made = (known is None or known.id != container.id) and record.state < TaskState.READY
        record.container, record.discard = container, half_made
    else:
        record.container, record.started = container, True


def _newer(known: Container | None, told: Container) -> Container:
    """The later of two views of a container: an event may overtake the answer to the step that caused it."""
    if known is None or known.id != told.id:
        return told
    if known.phase is Phase.EXITED:
        return replace(known, pid=told.pid)
    if told.health is Health.STARTING and known.health is not Health.NONE:
        return replace(told, health=known.health, health_output=known.health_output)
    return told


def _by_task(containers: Iterable[Container]) -> tuple[dict[str, Container], list[Effect]]:
    """One container a task, the furthest one; the rest, if somebody made any, is removed."""
    best: dict[str, Container] = {}
    extra: list[Effect] = []
    for container in sorted(containers, key=lambda c: c.phase is Phase.RUNNING, reverse=True):
        if container.task_id in best:
            extra.append(Remove(container.task_id, container.id))
        else:
            best[container.task_id] = container
    return best, extra
