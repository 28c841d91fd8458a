"""Runs the node's tasks: drives the core with events, carries out its effects, keeps its reports for the session.

All of it happens on one asyncio loop; what blocks is on threads (steps.py, networking.py), and the engine's events come
from a thread of the runtime's. Nothing here decides anything about a task: see core/plan.py.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from swarm_api.dispatcher_pb2 import SessionMessage
from swarm_api.objects_pb2 import NodeDescription, Task, TaskStatus
from swarm_api.states import state_name
from swarm_api.types_pb2 import TaskState

from swarm_worker.core import effects, events
from swarm_worker.core.assignments import AssignmentSet, Verdict
from swarm_worker.core.machine import Machine
from swarm_worker.core.reports import PendingReports
from swarm_worker.files import TaskFiles
from swarm_worker.networking import Network, NetworkKeeper
from swarm_worker.runtime import Runtime, RuntimeEvent
from swarm_worker.steps import FileContent, Steps
from swarm_worker.storage import NodeStore

RESYNC_DELAY_S = 1.0
SAVE_DELAY_S = 0.5  # assignments often change many times in a row
DESCRIBE_PERIOD_S = 60.0

log = structlog.get_logger(__name__)


class Agent:
    """This node's tasks. Belongs to the loop that calls `run`."""

    def __init__(
        self,
        runtime: Runtime,
        network: Network,
        store: NodeStore,
        files: TaskFiles,
        *,
        node_id: str,
        cluster_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.assignments = AssignmentSet()
        self.reports = PendingReports()
        self.news = asyncio.Event()  # there are reports, or a new description
        self.description = NodeDescription()
        self.described = asyncio.Event()
        self._machine = Machine()
        self._runtime = runtime
        self._store = store
        self._node_id = node_id
        self._clock = clock
        self._network = network
        self._keeper = NetworkKeeper(network, self.assignments, self.post)
        self._steps = Steps(
            runtime, network, files, self._content, self._own_description, node_id=node_id, cluster_id=cluster_id
        )
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._resyncing = False
        self._unsaved = asyncio.Event()
        self._swept = False
        self._leaving = False
        self._changed = asyncio.Condition()

    @property
    def engine_up(self) -> bool:
        """Whether the engine answered last."""
        return self._machine.engine_up

    @property
    def task_count(self) -> int:
        """How many tasks have, or may get, a container here."""
        return len(self._machine.records)

    # ------------------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Work until cancelled. Containers run on afterwards."""
        loop = asyncio.get_running_loop()
        self.assignments.restore(self._store.load_assignments())
        self._tell_tasks(repeat=False)
        self._keeper.changed()
        self._runtime.watch(lambda event: _from_thread(loop, self._on_runtime, event))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keeper.run(), name="networks")
                group.create_task(self._save_loop(), name="save")
                group.create_task(self._describe_loop(), name="describe")
        finally:
            self._runtime.close()
            for task in self._running:
                task.cancel()
            self._steps.close()
            with contextlib.suppress(OSError):
                self._store.save_assignments(self._saved())
            self._network.close()

    def post(self, event: events.Event) -> None:
        """Give the core an event, and begin what it wants done."""
        for effect in self._machine.handle(event):
            self._begin(effect)

    def apply(self, message: SessionMessage) -> Verdict:
        """Take a message of the session with the leader."""
        verdict = self.assignments.apply(message)
        if verdict is not Verdict.APPLIED or self._leaving:
            return verdict
        if message.full or any(_is_about_tasks(key) for key in _keys(message)):
            self._tell_tasks(repeat=message.full)
        if message.full or message.set or message.removed:
            self._keeper.changed()
            self._unsaved.set()
        if self.assignments.confirmed and not self._swept:
            self._swept = True
            self._spawn(self._steps.sweep_files(frozenset(self._machine.records)))
        return verdict

    async def drain(self, timeout_s: float) -> bool:
        """Stop, report and remove all tasks of this node, and take no new ones; whether all were gone in time."""
        self._leaving = True
        ended = {}
        for task_id, record in self._machine.records.items():
            ended[task_id] = Task()
            ended[task_id].CopyFrom(record.task)
            ended[task_id].desired_state = TaskState.REMOVE
        self.post(events.TasksAssigned(ended, self.assignments.generation))
        return await self._wait_until_idle(timeout_s)

    async def leave_networks(self) -> None:
        """Take this node's networks down; to be called when no container is attached any more."""
        self.assignments.apply(SessionMessage(term=self.assignments.term, full=True))
        self._network.invalidate()
        await self._keeper.apply_once()

    async def _wait_until_idle(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._machine.idle)
        except TimeoutError:
            return False
        return True

    def _tell_tasks(self, *, repeat: bool) -> None:
        assigned = self.assignments
        self.post(
            events.TasksAssigned(
                assigned.tasks(), assigned.generation, assigned.confirmed, assigned.files(), repeat=repeat
            )
        )

    # ------------------------------------------------------------------------------------------- effects

    def _begin(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Report(task_id, status):
                self._report(task_id, status)
            case effects.SetAlarm(task_id, delay_s, number):
                self._set_alarm(task_id, delay_s, number)
            case effects.Forget(task_id):
                self._forget(task_id)
            case effects.Resync():
                self._resync_soon()
            case _:
                self._spawn(self._step(effect))

    async def _step(self, effect: effects.Prepare | effects.Start | effects.Signal | effects.Remove) -> None:
        event = await self._steps.run(effect)
        if isinstance(event, events.StepRefused | events.StepDeferred):
            log.warning("step failed", task_id=event.task_id, step=event.step.name.lower(), error=event.error)
        self.post(event)
        async with self._changed:
            self._changed.notify_all()

    def _report(self, task_id: str, status: TaskStatus) -> None:
        status.timestamp.FromNanoseconds(int(self._clock() * 1e9))
        status.applied_by = self._node_id
        log.info(
            "task", task_id=task_id, state=state_name(status.state), message=status.message, error=status.err or None
        )
        self.reports.add(task_id, status)
        self.news.set()
        self._unsaved.set()

    def _set_alarm(self, task_id: str, delay_s: float, number: int) -> None:
        self._cancel_alarm(task_id)
        loop = asyncio.get_running_loop()
        self._alarms[task_id] = loop.call_later(delay_s, self.post, events.AlarmRang(task_id, number))

    def _cancel_alarm(self, task_id: str) -> None:
        handle = self._alarms.pop(task_id, None)
        if handle:
            handle.cancel()

    def _forget(self, task_id: str) -> None:
        self._cancel_alarm(task_id)
        self.reports.forget(task_id)
        self._spawn(self._steps.forget_files(task_id))
        self._keeper.changed()  # a network that was kept for its container can go

    def _resync_soon(self) -> None:
        if not self._resyncing:
            self._resyncing = True
            self._spawn(self._resync())

    async def _resync(self) -> None:
        await asyncio.sleep(RESYNC_DELAY_S)
        self._resyncing = False
        await self._steps.resync()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception():
            log.error("a step of the worker failed unexpectedly", exc_info=task.exception())

    # -------------------------------------------------------------------------------------------- engine

    def _on_runtime(self, event: RuntimeEvent) -> None:
        was_up = self._machine.engine_up
        self.post(event)
        if isinstance(event, events.EngineUp) and not was_up:
            self._keeper.invalidate()
            self._spawn(self._describe())
        elif isinstance(event, events.EngineDown) and (was_up or not self.described.is_set()):
            log.warning("engine down", reason=event.reason)
            self._spawn(self._describe())

    async def _describe_loop(self) -> None:
        while True:
            await asyncio.sleep(DESCRIBE_PERIOD_S)
            await self._describe()

    async def _describe(self) -> None:
        description = await self._steps.describe()
        if description != self.description:
            self.description = description
            self.news.set()
        self.described.set()

    async def _own_description(self) -> NodeDescription:
        await self.described.wait()
        return self.description

    def _content(self, key: str) -> FileContent:
        item = self.assignments.items[key]
        return item.secret if item.HasField("secret") else item.config

    # ------------------------------------------------------------------------------------------- storage

    async def _save_loop(self) -> None:
        while True:
            await self._unsaved.wait()
            await asyncio.sleep(SAVE_DELAY_S)
            self._unsaved.clear()
            message = self._saved()
            try:
                await asyncio.to_thread(self._store.save_assignments, message)
            except OSError as error:
                log.warning("the assignments could not be saved", error=str(error))

    def _saved(self) -> SessionMessage:
        """The assignments, each task with the state observed here: the manager's may lag behind."""
        message = self.assignments.saved()
        for item in message.set:
            record = self._machine.records.get(item.task.id) if item.HasField("task") else None
            if record:
                item.task.status.CopyFrom(record.status())
        return message


def _keys(message: SessionMessage) -> list[str]:
    return [*(item.key for item in message.set), *message.removed]


def _is_about_tasks(key: str) -> bool:
    return key.startswith(("task/", "secret/", "config/"))


def _from_thread(loop: asyncio.AbstractEventLoop, handler: Callable[[RuntimeEvent], None], event: RuntimeEvent) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody cares any more
        loop.call_soon_threadsafe(handler, event)
