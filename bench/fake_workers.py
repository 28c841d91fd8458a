"""Many workers without engines, in one process: real certificates, real sessions, and tasks that only pretend to run.

Each worker joins with a token, opens a session of its own over a connection of its own with the worker's own code
(`swarm_worker.session`), heartbeats, and follows the leader wherever it goes.  What it is told to run it reports as
STARTING, and after `start_s` as RUNNING, as a worker does whose engine takes that long; what it is told to stop, it
reports as stopped.

The parent writes a `Wanted` as one line of JSON to stdin, later the number of workers that are to fall silent for ever;
a line of JSON (`Standing`) comes back whenever something changed.  The process ends with its stdin.
"""

import asyncio
import gc
import json
import logging
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog
from swarm_api import identity
from swarm_api.ca_pb2 import IssueNodeCertificateRequest
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.dispatcher_pb2 import SessionMessage, TaskReport
from swarm_api.identity import NodeCredentials
from swarm_api.ids import new_id
from swarm_api.join_token import JoinToken
from swarm_api.objects_pb2 import NodeDescription, Task, TaskStatus
from swarm_api.types_pb2 import TaskState
from swarm_worker.channels import ChannelPool, open_channel
from swarm_worker.core.assignments import AssignmentSet, Verdict
from swarm_worker.core.reports import PendingReports
from swarm_worker.session import CONNECT_S, Session

if TYPE_CHECKING:
    from swarm_api.ca_pb2_grpc import CaAsyncStub

JOINS_AT_ONCE = 16
JOIN_S = 60.0
TELL_PERIOD_S = 0.05


@dataclass(frozen=True)
class Wanted:
    """What a process of workers is to be."""

    managers: list[str]
    token: str
    ca_pem: str
    first: int  # number of the first worker; they are called fake-00001 and so on
    count: int
    start_s: float = 0.1


@dataclass(frozen=True)
class Standing:
    """How its workers stand: how many have joined, have a session, and of their tasks run as the leader knows."""

    joined: int
    sessions: int
    running: int
    at_ns: int


class _AcknowledgedReports(PendingReports):
    """Reports that remember which tasks the leader knows to run."""

    def __init__(self) -> None:
        super().__init__()
        self.running: set[str] = set()

    def acknowledge(self, reports: Iterable[TaskReport]) -> None:
        reports = list(reports)
        super().acknowledge(reports)
        for report in reports:
            if report.status.state == TaskState.RUNNING:
                self.running.add(report.task_id)
            else:
                self.running.discard(report.task_id)


class FakeWorker:
    """One worker; see `session.Charge`."""

    def __init__(self, name: str, start_s: float) -> None:
        self.description = NodeDescription(hostname=name, raftswarm_version="fake")
        self.description.resources.nano_cpus = 16 * 10**9
        self.description.resources.memory_bytes = 64 << 30
        self.description.platform.os, self.description.platform.architecture = "linux", "amd64"
        self.described = asyncio.Event()
        self.described.set()
        self.news = asyncio.Event()
        self.acknowledged = _AcknowledgedReports()
        self.reports: PendingReports = self.acknowledged
        self._start_s = start_s
        self.assignments = AssignmentSet()
        self._reported: dict[str, int] = {}  # the last state of each task

    def apply(self, message: SessionMessage) -> Verdict:
        """Take the orders of a message."""
        verdict = self.assignments.apply(message)
        if verdict is Verdict.APPLIED:
            for item in message.set:
                if item.WhichOneof("item") == "task":
                    self._pursue(item.task)
            for task_id in [i for i in self._reported if f"task/{i}" not in self.assignments.items]:
                self._forget(task_id)
        return verdict

    def _pursue(self, task: Task) -> None:
        if task.desired_state > TaskState.RUNNING:
            self._reach(task.id, TaskState.SHUTDOWN)
        elif self._reached(task.id) < TaskState.STARTING:
            self._reach(task.id, min(task.desired_state, TaskState.STARTING))
            if task.desired_state == TaskState.RUNNING:
                asyncio.get_running_loop().call_later(self._start_s, self._run, task.id)

    def _run(self, task_id: str) -> None:
        if self._reached(task_id) == TaskState.STARTING:
            self._reach(task_id, TaskState.RUNNING)

    def _reached(self, task_id: str) -> int:
        return self._reported.get(task_id, TaskState.ASSIGNED)

    def _reach(self, task_id: str, state: int) -> None:
        if self._reached(task_id) >= state:
            return
        self._reported[task_id] = state
        status = TaskStatus(state=state, message="pretended")  # type: ignore[arg-type]  # a TaskState
        status.timestamp.FromNanoseconds(time.time_ns())
        self.reports.add(task_id, status)
        self.news.set()

    def _forget(self, task_id: str) -> None:
        del self._reported[task_id]
        self.reports.forget(task_id)
        self.acknowledged.running.discard(task_id)


class _Crew:
    """The workers of this process."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._workers: dict[asyncio.Task[None], tuple[FakeWorker, Session]] = {}
        self._joining = asyncio.Semaphore(JOINS_AT_ONCE)

    async def join(self) -> None:
        """Let all of them join; each has its session soon after."""
        identity_of_joiner, key = identity.joiner_leaf(
            JoinToken.parse(self._wanted.token).secret, identity.JOINER_WORKER, identity.utc_now()
        )
        joiner = NodeCredentials(self._wanted.ca_pem.encode(), identity_of_joiner, key)
        channel = open_channel(self._wanted.managers[0], joiner)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._wanted.first, self._wanted.first + self._wanted.count):
                    group.create_task(self._join(CaStub(channel), f"fake-{number:05d}"))
        finally:
            await channel.close(None)

    async def _join(self, authority: "CaAsyncStub", name: str) -> None:
        async with self._joining:
            key_pem, csr_pem = identity.new_key_and_csr()
            request = IssueNodeCertificateRequest(csr_pem=csr_pem, hostname=name, request_id=new_id())
            issued = await authority.IssueNodeCertificate(request, timeout=JOIN_S)
        own = NodeCredentials(issued.ca_pem, issued.certificate_pem, key_pem)
        worker = FakeWorker(name, self._wanted.start_s)
        session = Session(
            worker,
            ChannelPool(lambda address: open_channel(address, own, CONNECT_S)),
            tuple(self._wanted.managers),
            node_address="127.0.0.1",
            on_managers=lambda _: None,
            on_node=lambda _: None,
        )
        self._workers[asyncio.create_task(session.run())] = worker, session

    def silence(self, count: int) -> None:
        """Let workers with the most tasks fall silent for ever."""
        busiest = sorted(self._workers, key=lambda task: -len(self._workers[task][0].acknowledged.running))
        for task in busiest[:count]:
            task.cancel()
            del self._workers[task]

    def check(self) -> None:
        """Raise what ended a worker."""
        for task in self._workers:
            if task.done():
                task.result()

    def standing(self) -> Standing:
        """How they stand now."""
        return Standing(
            len(self._workers),
            sum(session.connected.is_set() for _, session in self._workers.values()),
            sum(len(worker.acknowledged.running) for worker, _ in self._workers.values()),
            time.time_ns(),
        )


async def _tell(crew: _Crew) -> None:
    told: tuple[int, ...] = ()
    while True:
        crew.check()
        standing = crew.standing()
        if (now := (standing.joined, standing.sessions, standing.running)) != told:
            told = now
            print(json.dumps(asdict(standing)), flush=True)
        await asyncio.sleep(TELL_PERIOD_S)


async def _work() -> None:
    gc.disable()  # each worker holds what it is told of a thousand others: a search through all of that takes seconds
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),  # each round of a search is told at DEBUG
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crew = _Crew(Wanted(**json.loads(await reader.readline())))
    telling, obeying = asyncio.create_task(_tell(crew)), asyncio.create_task(_obey(crew, reader))
    done, _ = await asyncio.wait({telling, obeying}, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    telling.cancel()


async def _obey(crew: _Crew, reader: asyncio.StreamReader) -> None:
    await crew.join()
    while line := await reader.readline():
        crew.silence(int(line))


if __name__ == "__main__":
    asyncio.run(_work())
