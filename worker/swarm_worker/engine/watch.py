"""The engine's stream of events, on a thread of its own, kept open for as long as the worker runs.

Each time the stream opens, the containers are listed *after* the subscription, so that nothing falls between the two.
What happened in between is told twice, which the core takes in its stride. When the stream breaks, the engine is told
down, and the next attempts follow each other quickly at first: an engine that restarts is away for a third of a second.

An engine that hangs keeps its stream open and says nothing, so a second thread asks it for a sign of life now and then.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from swarm_api import naming

from swarm_worker.core.events import (
    Container,
    ContainerExited,
    ContainerGone,
    EngineDown,
    EngineUp,
    Health,
    HealthChanged,
    ListingBegan,
)
from swarm_worker.engine import read
from swarm_worker.engine.api import QUICK_S, DockerApi
from swarm_worker.runtime import EngineError, NotThereError, RuntimeEvent

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
PING_EVERY_S = 5.0
PATIENCE_S = 10

log = structlog.get_logger(__name__)


class EngineWatch:
    """Tells a listener what the engine and this node's containers do."""

    def __init__(
        self, api: DockerApi, node_id: str, listener: Callable[[RuntimeEvent], None], patience_s: int = PATIENCE_S
    ) -> None:
        """`patience_s`: an engine that gives no sign of life for so long is taken to be down."""
        self._api = api
        self._tell = listener
        self._patience_s = patience_s
        self._label = f"{naming.NODE_ID_LABEL}={node_id}"
        self._closing = threading.Event()
        self._listing = threading.Lock()  # one list at a time: ListingBegan and EngineUp come in pairs
        self._stream: Any = None
        self._pause_s = FIRST_PAUSE_S
        self._thread = threading.Thread(target=self._run, name="engine-watch", daemon=True)
        self._pinger = threading.Thread(target=self._ping_now_and_then, name="engine-ping", daemon=True)

    def start(self) -> None:
        """Begin. The first word is EngineUp or EngineDown."""
        self._thread.start()
        self._pinger.start()

    def close(self) -> None:
        """Stop; the thread ends soon after."""
        self._closing.set()
        self._cut()

    def resync(self) -> None:
        """List the containers again, now, on the caller's thread."""
        try:
            self._list()
        except EngineError as problem:
            self._tell(EngineDown(str(problem)))
            self._cut()  # so that the watch itself finds out when the engine is back

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                for event in self._follow():
                    self._translate(event)
                reason = "Docker closed its stream of events."
            except EngineError as problem:
                reason = str(problem)
            first = self._pause_s == FIRST_PAUSE_S
            if self._closing.wait(self._pause_s):
                return
            if why := self._problem() if first else reason:
                self._tell(EngineDown(why))
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def _ping_now_and_then(self) -> None:
        while not self._closing.wait(min(PING_EVERY_S, self._patience_s)):
            if self._stream is not None and (why := self._problem()):
                self._tell(EngineDown(why))
                self._cut()  # so that the watch itself finds out when the engine is back

    def _problem(self) -> str:
        """Why the engine gives no sign of life; empty: it does."""
        try:
            with self._api.call(self._patience_s) as client:
                client.ping()
        except EngineError as problem:
            return str(problem)
        return ""

    def _follow(self) -> Iterator[dict[str, Any]]:
        self._api.negotiate()
        filters = {"type": "container", "event": ["die", "destroy", "health_status"], "label": self._label}
        with self._api.translated(), contextlib.closing(self._api.events_client()) as client:
            self._stream = client.events(decode=True, filters=filters)
            try:
                self._list()
                self._pause_s = FIRST_PAUSE_S
                yield from self._stream
            finally:
                self._cut()

    def _cut(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError, AttributeError):  # it ended by itself meanwhile
                stream.close()

    def _list(self) -> None:
        with self._listing:
            self._tell(ListingBegan())
            self._tell(EngineUp(tuple(self._containers())))

    def _containers(self) -> Iterator[Container]:
        with self._api.call(QUICK_S) as client:
            found = client.containers(all=True, filters={"label": self._label})
        for summary in found:
            with contextlib.suppress(NotThereError), self._api.call(QUICK_S) as client:  # removed since
                yield read.container(client.inspect_container(summary["Id"]))

    def _translate(self, event: dict[str, Any]) -> None:
        container_id, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
        task_id, action = attributes.get(naming.TASK_ID_LABEL, ""), str(event["Action"])
        log.debug("container event", action=action, container_id=container_id[:12], task_id=task_id)
        if action == "die":
            self._tell(self._exit(task_id, container_id, int(attributes.get("exitCode") or 0)))
        elif action == "destroy":
            self._tell(ContainerGone(task_id, container_id))
        elif action.startswith("health_status"):
            self._tell_health(task_id, container_id, action)

    def _exit(self, task_id: str, container_id: str, exit_code: int) -> ContainerExited:
        if exit_code == 0:
            return ContainerExited(task_id, container_id, 0)
        try:  # only an inspection tells whether it was the kernel's out-of-memory killer
            now = self._inspect(container_id)
        except EngineError:
            return ContainerExited(task_id, container_id, exit_code)
        return ContainerExited(task_id, container_id, exit_code, now.oom_killed, now.error)

    def _tell_health(self, task_id: str, container_id: str, action: str) -> None:
        if action.endswith(" healthy"):
            self._tell(HealthChanged(task_id, container_id, Health.HEALTHY))
            return
        with contextlib.suppress(EngineError):  # gone, or the engine is: either is told by its own event
            now = self._inspect(container_id)
            self._tell(HealthChanged(task_id, container_id, now.health, now.health_output))

    def _inspect(self, container_id: str) -> Container:
        with self._api.call(QUICK_S) as client:
            return read.container(client.inspect_container(container_id))
