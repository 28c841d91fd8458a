"""The blocking steps of tasks, carried out on threads: each answers with the event the core waits for.

Two pools, so that a hundred containers being stopped do not keep one from being started. Pulls have a pool of their
own, and tasks that want the same image wait for one pull.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import structlog
from swarm_api.objects_pb2 import NodeDescription, Task
from swarm_api.specs_pb2 import ContainerSpec
from swarm_api.templates import TemplateError, Values, expand, expand_container, values_of

from swarm_worker.core import effects
from swarm_worker.core.events import Container, Event, Step, StepDeferred, StepDone, StepRefused
from swarm_worker.files import TaskFiles
from swarm_worker.runtime import CreateOrder, EngineError, ImageMissingError, RefusedError, Runtime, UnavailableError

STARTS_AT_ONCE = 8
STOPS_AT_ONCE = 4
PULLS_AT_ONCE = 3

T = TypeVar("T")
log = structlog.get_logger(__name__)


class FileContent(Protocol):
    """A secret or config; both assignments are one."""

    name: str
    data: bytes
    templating: bool  # its templates are to be filled in


class Addressing(Protocol):
    """What a container must be told about the node's networks; `net.network.NodeNetwork` is one."""

    def container_dns(self, task: Task) -> Sequence[str]:
        """The name servers of the task's container."""

    def mac_of(self, address: str) -> str:
        """The MAC address of the container with this overlay address."""


class Steps:
    """Carries out effects of the core on an engine."""

    def __init__(
        self,
        runtime: Runtime,
        addressing: Addressing,
        files: TaskFiles,
        content: Callable[[str], FileContent],
        node: Callable[[], Awaitable[NodeDescription]],
        *,
        node_id: str,
        cluster_id: str,
    ) -> None:
        """`content` gives a secret or config by its key, `node` what this node is."""
        self._runtime = runtime
        self._addressing = addressing
        self._files = files
        self._content = content
        self._node = node
        self._node_id, self._cluster_id = node_id, cluster_id
        self._starts = ThreadPoolExecutor(STARTS_AT_ONCE, "start")
        self._stops = ThreadPoolExecutor(STOPS_AT_ONCE, "stop")
        self._pulls = ThreadPoolExecutor(PULLS_AT_ONCE, "pull")
        self._pulling: dict[str, asyncio.Future[None]] = {}

    async def run(self, effect: effects.Prepare | effects.Start | effects.Signal | effects.Remove) -> Event:
        """Do it; the event says how it went."""
        match effect:
            case effects.Prepare(task):
                return await _answer(task.id, Step.PREPARE, self._prepare(task))
            case effects.Start(task_id, container_id):
                start = self._on(self._starts, self._runtime.start, container_id)
                return await _answer(task_id, Step.START, start)
            case effects.Signal(task_id, container_id, signal):
                sent = self._on(self._stops, self._runtime.signal, container_id, signal)
                return await _answer(task_id, Step.SIGNAL, sent)
            case effects.Remove(task_id, container_id):
                removed = self._on(self._stops, self._runtime.remove, container_id)
                return await _answer(task_id, Step.REMOVE, removed)

    async def resync(self) -> None:
        """Have the engine's containers listed again; the runtime's listener hears of it."""
        await self._on(self._stops, self._runtime.resync)

    async def describe(self) -> NodeDescription:
        """The machine and its engine as they are now."""
        return await self._on(self._stops, self._runtime.describe)

    async def forget_files(self, task_id: str) -> None:
        """Remove the secrets and configs of a task that is over."""
        await self._on(self._stops, self._files.remove, task_id)

    async def sweep_files(self, task_ids: frozenset[str]) -> None:
        """Remove the secrets and configs of all tasks but these."""
        await self._on(self._stops, self._files.keep_only, task_ids)

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        for pool in (self._starts, self._stops, self._pulls):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _prepare(self, assigned: Task) -> Container:
        values = values_of(assigned, self._node_id, await self._node())
        task = filled_in(assigned, values)
        spec = task.spec.container
        if spec.pull_policy == ContainerSpec.ALWAYS:
            await self._pull(spec.image)
        try:
            return await self._on(self._starts, self._create, task, values)
        except ImageMissingError as missing:
            if spec.pull_policy == ContainerSpec.NEVER:
                raise RefusedError(
                    f"image {spec.image} is not on this node, and its pull policy is never: load it here"
                ) from missing
        await self._pull(spec.image)
        return await self._on(self._starts, self._create, task, values)

    def _create(self, task: Task, values: Values) -> Container:
        order = CreateOrder(
            task,
            self._cluster_id,
            self._node_id,
            tuple(self._addressing.container_dns(task)),
            tuple(self._addressing.mac_of(a.address) if a.address else "" for a in task.networks),
            self._files.write(task, lambda key: file_data(self._content(key), values)),
        )
        return self._runtime.create(order)

    async def _pull(self, image: str) -> None:
        pull = self._pulling.get(image)
        if pull is None:
            log.info("pulling image", image=image)
            pull = asyncio.ensure_future(self._on(self._pulls, self._runtime.pull, image))
            self._pulling[image] = pull
            pull.add_done_callback(lambda _: self._pulling.pop(image, None))
        try:
            await asyncio.shield(pull)
        except UnavailableError:
            raise
        except EngineError as error:
            reason = f"image {image} is not on this node and could not be pulled: {error}"
            raise RefusedError(reason) from error

    async def _on(self, pool: ThreadPoolExecutor, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, functools.partial(function, *args))


def filled_in(task: Task, values: Values) -> Task:
    """A copy of the task whose templates say what they stand for; RefusedError for one that is none."""
    filled = Task()
    filled.CopyFrom(task)
    try:
        filled.spec.container.CopyFrom(expand_container(task.spec.container, values))
    except TemplateError as error:
        raise RefusedError(f"{error}.") from error
    return filled


def file_data(content: FileContent, values: Values) -> bytes:
    """What is in the task's file; RefusedError for a template that is none."""
    if not content.templating:
        return content.data
    try:
        return expand(content.data.decode(), values).encode()
    except UnicodeDecodeError as error:
        raise RefusedError(f"{content.name} has templates, but is no UTF-8 text.") from error
    except TemplateError as error:
        raise RefusedError(f"In {content.name} {error}.") from error


async def _answer(task_id: str, step: Step, work: Awaitable[Container | None]) -> Event:
    try:
        container = await work
    except UnavailableError as error:
        return StepDeferred(task_id, step, str(error))
    except EngineError as error:
        return StepRefused(task_id, step, str(error))
    except OSError as error:
        return StepRefused(task_id, step, f"the node could not do it: {error}")
    return StepDone(task_id, step, container)
