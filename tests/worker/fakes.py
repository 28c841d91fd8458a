"""Stand-ins at the worker's edges: an engine, a network and leaders that live in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from swarm_api.dispatcher_pb2 import (
    Assignment,
    HeartbeatRequest,
    HeartbeatResponse,
    SessionMessage,
    SessionRequest,
    TaskReport,
    UpdateTaskStatusRequest,
    UpdateTaskStatusResponse,
)
from swarm_api.dispatcher_pb2_grpc import DispatcherServicer, add_DispatcherServicer_to_server
from swarm_api.objects_pb2 import NodeDescription, Task
from swarm_worker.core.events import Container, ContainerExited, EngineDown, EngineUp, Phase
from swarm_worker.runtime import (
    CreateOrder,
    ImageMissingError,
    NotThereError,
    RefusedError,
    RuntimeEvent,
    UnavailableError,
)


@dataclass
class FakeEngine:
    """A container engine in memory, as `runtime.Runtime` promises it."""

    images: set[str] = field(default_factory=lambda: {"busybox:local"})
    containers: dict[str, Container] = field(default_factory=dict)
    orders: list[CreateOrder] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    up: bool = True
    listener: Callable[[RuntimeEvent], None] | None = None

    def watch(self, listener: Callable[[RuntimeEvent], None]) -> None:
        self.listener = listener
        self.resync()

    def tell(self, event: RuntimeEvent) -> None:
        assert self.listener is not None
        self.listener(event)

    def resync(self) -> None:
        self.tell(EngineUp(tuple(self.containers.values())) if self.up else EngineDown("it is off"))

    def describe(self) -> NodeDescription:
        return NodeDescription(hostname="n1", engine_error="" if self.up else "it is off")

    def create(self, order: CreateOrder) -> Container:
        self._note(f"create {order.task.id}")
        if order.task.spec.container.image not in self.images:
            raise ImageMissingError("no such image")
        self.orders.append(order)
        made = Container(f"c-{order.task.id}", order.task.id, Phase.CREATED)
        self.containers[made.id] = made
        return made

    def pull(self, image: str) -> None:
        self._note(f"pull {image}")
        if not image.startswith("remote/"):
            raise RefusedError("no registry has it")
        self.images.add(image)

    def start(self, container_id: str) -> Container:
        self._note(f"start {container_id}")
        self.containers[container_id] = replace(self.containers[container_id], phase=Phase.RUNNING, pid=1)
        return self.containers[container_id]

    def signal(self, container_id: str, signal: str) -> None:
        self._note(f"signal {container_id} {signal}")
        self.exits(container_id, 143)

    def exits(self, container_id: str, code: int) -> None:
        found = self.containers[container_id]
        self.containers[container_id] = replace(found, phase=Phase.EXITED, exit_code=code)
        self.tell(ContainerExited(found.task_id, container_id, code))

    def remove(self, container_id: str) -> None:
        self._note(f"remove {container_id}")
        self.containers.pop(container_id, None)

    def close(self) -> None:
        self.calls.append("close")

    def _note(self, call: str) -> None:
        if not self.up:
            raise UnavailableError("it is off")
        if call.startswith("signal") and call.split()[1] not in self.containers:
            raise NotThereError("no such container")
        self.calls.append(call)


@dataclass
class FakeNetwork:
    """A node's networking that is ready at once; it notes what it was told, and when, in `log`."""

    log: list[str] = field(default_factory=list)
    networks: set[str] = field(default_factory=set)

    def apply(self, assignments: Iterable[Assignment]) -> Sequence[Any]:
        items = list(assignments)
        self.networks = {item.network.network_id for item in items if item.HasField("network")}
        self.log.append(f"apply {len(items)}")
        return []

    def invalidate(self) -> None:
        self.log.append("invalidate")

    def ready(self, network_id: str) -> bool:
        return network_id in self.networks

    def container_dns(self, task: Task) -> Sequence[str]:
        return ["10.0.0.1"] if task.networks else []

    def mac_of(self, address: str) -> str:
        return f"mac-{address}"

    def close(self) -> None:
        self.log.append("close")


class FakeLeader(DispatcherServicer):
    """A manager's dispatcher: leads or names the leader, sends what it is told to, takes reports."""

    def __init__(self) -> None:
        self.mute = False  # takes sessions and sends nothing
        self.asked = asyncio.Event()
        self.leads = True
        self.leader_address = ""
        self.term = 1
        self.full: list[Assignment] = []
        self.messages: asyncio.Queue[SessionMessage | None] = asyncio.Queue()
        self.requests: list[SessionRequest] = []
        self.reports: list[TaskReport] = []
        self.descriptions: list[NodeDescription] = []
        self.heartbeats = 0
        self.known = True
        self.ends_heartbeats = False  # their stream, after the next answer
        self.refuse_reports = False
        self.slow_reports = 0  # so many are not answered in time
        self.left_after: int | None = None  # so many reports, the node said that it was the last
        self.session = ""
        self.answers = asyncio.Event()  # cleared: sessions and heartbeats wait
        self.answers.set()
        self.asked_who_leads = 0
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds after something that a worker did."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def Session(self, request: SessionRequest, context: Any) -> AsyncIterator[SessionMessage]:  # noqa: N802
        await self._refuse_unless_leading(context)
        if self.mute:
            self.asked.set()
            await asyncio.Event().wait()
        self.requests.append(request)
        self.session = f"s{len(self.requests)}"
        self.changed.set()
        first = SessionMessage(session_id=self.session, term=self.term, full=True, set=self.full, sequence=1)
        first.heartbeat_period.FromMilliseconds(50)
        await self.answers.wait()
        yield first
        while (message := await self.messages.get()) is not None:
            message.session_id, message.term = self.session, message.term or self.term
            yield message

    async def Heartbeat(  # noqa: N802
        self, request: AsyncIterator[HeartbeatRequest], context: Any
    ) -> AsyncIterator[HeartbeatResponse]:
        async for one in request:
            await self._refuse_unless_leading(context)
            await self._check(one.session_id, context)
            await self.answers.wait()
            self.heartbeats += 1
            self.changed.set()
            yield HeartbeatResponse()
            if self.ends_heartbeats:
                self.ends_heartbeats = False
                return

    async def UpdateTaskStatus(  # noqa: N802
        self, request: UpdateTaskStatusRequest, context: Any
    ) -> UpdateTaskStatusResponse:
        await self._check(request.session_id, context)
        if self.refuse_reports:
            self.changed.set()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no quorum")
        if self.slow_reports:
            self.slow_reports -= 1
            await asyncio.Event().wait()
        self.reports += request.reports
        self.left_after = len(self.reports) if request.leaving else self.left_after
        if request.HasField("description"):
            self.descriptions.append(request.description)
        self.changed.set()
        return UpdateTaskStatusResponse()

    async def _refuse_unless_leading(self, context: Any) -> None:
        if self.leads:
            return
        self.asked_who_leads += 1
        self.changed.set()
        if self.leader_address:
            context.set_trailing_metadata((("leader-address", self.leader_address),))
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "This manager does not lead; ask the leader.")

    async def _check(self, session_id: str, context: Any) -> None:
        if not self.known or session_id != self.session:
            await context.abort(grpc.StatusCode.NOT_FOUND, "The session is not known.")


@contextlib.asynccontextmanager
async def served(leader: FakeLeader) -> AsyncIterator[str]:
    """The leader listens on loopback; its address."""
    server = grpc.aio.server()
    add_DispatcherServicer_to_server(leader, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
