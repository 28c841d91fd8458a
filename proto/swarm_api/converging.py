"""Does a service run as it should?  The answer for one moment, and waiting until it is yes.

A service has converged when as many of its *current* tasks run as are wanted, no outdated task is wanted any
more and no update is under way; a job, when all its runs are complete.  While a canary is held back, the
tasks outside it are as they should be, too.  The verdict is a pure function of what
one read returned.  Waiting is level-triggered: a watch only says "look again".
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from swarm_api.channel import ManagerConnection
from swarm_api.control_pb2 import Filter, ListRequest, ListTasksRequest, ServiceProgress
from swarm_api.errors import ClientError, JobFailedError, NotConvergedError, NotFoundError, UpdateStoppedError
from swarm_api.essence import essence
from swarm_api.objects_pb2 import Service, Task, UpdateStatus
from swarm_api.states import is_over, state_name
from swarm_api.types_pb2 import TaskState
from swarm_api.watching import Watch

_UNDER_WAY = frozenset({UpdateStatus.UPDATING, UpdateStatus.ROLLBACK_STARTED})
_ROLLED_BACK = frozenset({UpdateStatus.ROLLBACK_STARTED, UpdateStatus.ROLLBACK_PAUSED, UpdateStatus.ROLLBACK_COMPLETED})
_LOOK_AGAIN_S = 1.0  # should the watch fail, looking that often is enough
_COALESCE_S = 0.05  # a burst of changes is one reason to look


@dataclass(frozen=True, slots=True)
class Convergence:
    """How a service stands.  `done` tells whether it has converged."""

    service_id: str
    name: str
    is_job: bool
    wanted: int
    running: int  #: current tasks that run; of a job: the runs that are complete
    waiting_for: str  #: what the first task that does not run waits for, for people; empty: nothing
    done: bool

    def __str__(self) -> str:
        what = "complete" if self.is_job else "running"
        tail = f": {self.waiting_for.rstrip('.')}" if self.waiting_for and not self.done else ""
        return f"{self.name}: {self.running} of {self.wanted} {what}{tail}"


def judge(service: Service, progress: ServiceProgress | None, tasks: Iterable[Task]) -> Convergence:
    """How the service stands, given the manager's count and the service's tasks."""
    is_job = service.spec.WhichOneof("mode") in ("replicated_job", "global_job")
    wanted_now = [task for task in tasks if task.desired_state == TaskState.RUNNING]
    is_held = service.HasField("canary") and not service.canary.promoted
    current = [task for task in wanted_now if is_held or is_current(service, task)]
    wanted = _wanted(service, progress, current)
    if is_job:
        count = progress.completed if progress else sum(t.status.state == TaskState.COMPLETE for t in current)
        settled = True
        if service.spec.HasField("schedule"):
            wanted = 0  # nobody waits for its time to come
    else:
        count = sum(task.status.state == TaskState.RUNNING for task in current)
        settled = len(current) == len(wanted_now) and service.update_status.state not in _UNDER_WAY
        settled = settled and count <= wanted
    return Convergence(
        service_id=service.id,
        name=service.spec.annotations.name,
        is_job=is_job,
        wanted=wanted,
        running=count,
        waiting_for=_waiting_for(service, progress, current),
        done=count >= wanted and settled and not service.pending_delete,
    )


def is_current(service: Service, task: Task) -> bool:
    """Whether the task is made from the service's present spec, or from one that asks for the same container."""
    if task.spec_version.index == service.spec_version.index:
        return True
    return essence(task.spec) == essence(service.spec.task)


def _wanted(service: Service, progress: ServiceProgress | None, current: Sequence[Task]) -> int:
    mode = service.spec.WhichOneof("mode")
    if mode == "replicated":
        return service.spec.replicated.replicas
    if progress is not None:
        return progress.wanted
    return service.spec.replicated_job.total_completions if mode == "replicated_job" else len(current)


def _waiting_for(service: Service, progress: ServiceProgress | None, current: Sequence[Task]) -> str:
    if progress is not None and progress.waiting_for:
        return progress.waiting_for
    for task in current:
        if task.status.state != TaskState.RUNNING and not is_over(task):
            return task.status.err or task.status.message or state_name(task.status.state)
    return service.update_status.message if service.update_status.state in _UNDER_WAY else ""


class Convergences:
    """Services being waited for.  `wait` returns when all have converged."""

    def __init__(self, connection: ManagerConnection, watch_connection: ManagerConnection, ids: Sequence[str]) -> None:
        self._connection = connection
        self._watch_connection = watch_connection
        self._ids = list(ids)
        self._first_spec: dict[str, int] = {}

    def look(self) -> list[Convergence]:
        """How each service stands now, in the order asked for; NotFoundError when one is gone."""
        if not self._ids:
            return []
        listed = self._connection.call(lambda stub: stub.ListServices, ListRequest(filter=Filter(ids=self._ids)))
        found = self._connection.call(lambda stub: stub.ListTasks, ListTasksRequest(service_ids=self._ids))
        services = {service.id: service for service in listed.services}
        tasks: dict[str, list[Task]] = {service_id: [] for service_id in self._ids}
        for task in found.tasks:
            tasks.setdefault(task.service_id, []).append(task)
        for service_id in self._ids:
            if service_id not in services:
                raise NotFoundError(f"The service {service_id} was removed while it was waited for.")
            self._check_not_stopped(services[service_id])
            _check_not_failed(services[service_id], listed.progress.get(service_id))
        return [judge(services[i], listed.progress.get(i), tasks[i]) for i in self._ids]

    def wait(
        self, timeout_s: float | None, stable_s: float, on_progress: Callable[[list[Convergence]], None] | None
    ) -> list[Convergence]:
        """Look whenever something changes, until all is done for `stable_s` seconds; NotConvergedError in time."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        done_since: float | None = None
        with _Bell(self._watch_connection) as bell:
            while True:
                standing = self.look()
                if on_progress is not None:
                    on_progress(standing)
                now = time.monotonic()
                done_since = (done_since or now) if all(one.done for one in standing) else None
                if done_since is not None and now - done_since >= stable_s:
                    return standing
                if deadline is not None and now >= deadline:
                    raise _not_converged(standing, timeout_s or 0)
                bell.wait(self._next_look_s(now, deadline, done_since, stable_s))

    @staticmethod
    def _next_look_s(now: float, deadline: float | None, done_since: float | None, stable_s: float) -> float:
        limits = [_LOOK_AGAIN_S]
        if deadline is not None:
            limits.append(deadline - now)
        if done_since is not None:
            limits.append(done_since + stable_s - now)
        return max(min(limits), 0.001)

    def _check_not_stopped(self, service: Service) -> None:
        """An update that failed ends the waiting: paused, or rolled back (then the spec is another one)."""
        first = self._first_spec.setdefault(service.id, service.spec_version.index)
        status, name = service.update_status, service.spec.annotations.name
        if status.state in _ROLLED_BACK and service.spec_version.index != first:
            raise UpdateStoppedError(
                f"The update of {name} failed and was rolled back: {status.message}; "
                f"'swarm-cli service ps {name}' shows the failed tasks."
            )
        if status.state in (UpdateStatus.PAUSED, UpdateStatus.ROLLBACK_PAUSED):
            raise UpdateStoppedError(
                f"The update of {name} is paused: {status.message}; see 'swarm-cli service ps {name}', then "
                f"update it again, 'swarm-cli service resume {name}' or 'swarm-cli service rollback {name}'."
            )


def _check_not_failed(service: Service, progress: ServiceProgress | None) -> None:
    """A job of which nothing runs any more, and not all is complete, never will be."""
    if progress is None or service.spec.HasField("schedule") or not progress.failed:
        return
    if progress.completed + progress.failed < progress.wanted:
        return
    name = service.spec.annotations.name
    why = f": {progress.waiting_for.rstrip('.')}" if progress.waiting_for else ""
    raise JobFailedError(
        f"The job {name} failed: {progress.completed} of {progress.wanted} runs completed{why}; "
        f"'swarm-cli service ps {name}' shows the others, 'swarm-cli service update --force {name}' runs it again."
    )


def _not_converged(standing: Sequence[Convergence], timeout_s: float) -> NotConvergedError:
    missing = "; ".join(str(one) for one in standing if not one.done)
    missing = missing or "all run, but not for long enough"
    return NotConvergedError(f"Not converged within {timeout_s:g} s (it goes on in the background): {missing}.")


class _Bell:
    """Rings when a task or service changes.  A thread holds the watch; should it fail, waiting just times out."""

    def __init__(self, connection: ManagerConnection) -> None:
        self._connection = connection
        self._watch = Watch(connection, ("task", "service"))
        self._rung = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
        self._connection.close()
        self._thread.join(timeout=1.0)

    def wait(self, limit_s: float) -> None:
        """Until something changed, or `limit_s` seconds."""
        if self._rung.wait(limit_s):
            time.sleep(min(_COALESCE_S, limit_s))
            self._rung.clear()

    def _listen(self) -> None:
        # The loop also looks by itself every second, so a watch that cannot be held costs time, not truth.
        with contextlib.suppress(ClientError, ValueError):
            for _ in self._watch.messages():
                self._rung.set()
