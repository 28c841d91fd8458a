"""The Docker adapter and the agent on a real engine: what the engine really does, and what happens when it crashes."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from swarm_api.dispatcher_pb2 import Assignment, SecretAssignment, SessionMessage
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Task, TaskStatus
from swarm_api.types_pb2 import PortConfig, TaskState
from swarm_worker.agent import Agent
from swarm_worker.engine.api import DockerApi
from swarm_worker.engine.containers import DockerRuntime
from swarm_worker.engine.networks import DockerBridges
from swarm_worker.files import TaskFiles
from swarm_worker.runtime import CreateOrder, UnavailableError
from swarm_worker.storage import NodeStore

from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.images import catalogue
from tests.worker.fakes import FakeNetwork
from tests.worker.waiting import until

NAME = f"we{os.getpid()}"
IMAGE = "busybox:local"
FOREVER = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Testbed(NAME) as bed:
        (only,) = bed.up(1)
        catalogue.load([only], [IMAGE])
        yield only


@pytest.fixture
def node_id() -> str:
    return new_id()  # containers are known by their node: each test has its own


@pytest.fixture
def runtime(host: Host, node_id: str) -> Iterator[DockerRuntime]:
    api = DockerApi(f"unix://{host.engine.socket}")
    made = DockerRuntime(api, DockerBridges(api), node_id)
    yield made
    made.close()


class Worker:
    """An agent on the host's engine, and the last status of each task."""

    def __init__(self, host: Host, folder: Path, node_id: str) -> None:
        api = DockerApi(f"unix://{host.engine.socket}")
        self.bridges = DockerBridges(api)
        runtime = DockerRuntime(api, self.bridges, node_id, patience_s=2)
        # A tmpfs that the host sees, too: one mounted now it would not see, its mounts being its own.
        self.run_dir = Path("/dev/shm") / node_id
        files = TaskFiles(self.run_dir)
        self.agent = Agent(runtime, FakeNetwork(), NodeStore(folder), files, node_id=node_id, cluster_id="cl")

    def told(self, *items: Task | Assignment) -> None:
        wanted = [Assignment(key=f"task/{i.id}", task=i) if isinstance(i, Task) else i for i in items]
        self.agent.apply(SessionMessage(term=1, full=True, set=wanted))

    def status(self, task: Task) -> TaskStatus:
        found = {report.task_id: report.status for report in self.agent.reports.batch(1000)}
        return found.get(task.id, TaskStatus())

    async def reaches(self, task: Task, state: "TaskState.ValueType") -> TaskStatus:
        await until(lambda: self.status(task).state >= state, 60)
        assert self.status(task).state == state, self.status(task)
        return self.status(task)


@contextlib.asynccontextmanager
async def at_work(host: Host, folder: Path, node_id: str) -> AsyncIterator[Worker]:
    worker = Worker(host, folder, node_id)
    running = asyncio.create_task(worker.agent.run())
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        shutil.rmtree(worker.run_dir, ignore_errors=True)


@pytest.fixture
async def worker(host: Host, tmp_path: Path, node_id: str) -> AsyncIterator[Worker]:
    async with at_work(host, tmp_path, node_id) as running:
        yield running
        assert await running.agent.drain(30)


def task(*command: str, image: str = IMAGE) -> Task:
    made = Task(id=new_id(), slot=1, desired_state=TaskState.RUNNING)
    made.service_annotations.name = "web"
    made.spec.container.image = image
    made.spec.container.command.extend(command or FOREVER)
    return made


def docker(host: Host, *arguments: str) -> str:
    return host.run(["docker", *arguments]).stdout.strip()


def stopped(running: Task) -> Task:
    wanted = Task()
    wanted.CopyFrom(running)
    wanted.desired_state = TaskState.SHUTDOWN
    return wanted


async def test_a_task_runs_and_stops_when_asked(worker: Worker, host: Host) -> None:
    web = task()
    worker.told(web)
    status = await worker.reaches(web, TaskState.RUNNING)
    assert docker(host, "inspect", "-f", "{{.State.Running}}", status.container.container_id) == "true"
    worker.told(stopped(web))
    status = await worker.reaches(web, TaskState.SHUTDOWN)
    assert status.container.exit_code == 0
    worker.told()
    await until(lambda: docker(host, "ps", "-aq", "--filter", f"label=swarm.task.id={web.id}") == "")


async def test_one_that_does_not_listen_is_killed(worker: Worker) -> None:
    deaf = task("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    deaf.spec.container.stop_grace_period.FromMilliseconds(300)
    worker.told(deaf)
    await worker.reaches(deaf, TaskState.RUNNING)
    worker.told(stopped(deaf))
    assert (await worker.reaches(deaf, TaskState.SHUTDOWN)).container.exit_code == 137


@pytest.mark.parametrize(("code", "state"), [(0, TaskState.COMPLETE), (7, TaskState.FAILED)])
async def test_the_exit_code_is_told(worker: Worker, code: int, state: "TaskState.ValueType") -> None:
    short = task("sh", "-c", f"exit {code}")
    worker.told(short)
    assert (await worker.reaches(short, state)).container.exit_code == code


async def test_running_out_of_memory_is_told(worker: Worker) -> None:
    hungry = task("sh", "-c", "x=a; while :; do x=$x$x; done")
    hungry.spec.resources.limits.memory_bytes = 16 * 1024 * 1024
    worker.told(hungry)
    status = await worker.reaches(hungry, TaskState.FAILED)
    assert status.container.oom_killed, status
    assert "out of memory" in status.err


async def test_a_health_check_decides_and_what_it_prints_is_told(worker: Worker, host: Host) -> None:
    web = task("sh", "-c", "touch /tmp/ok; trap 'exit 0' TERM; while :; do sleep 0.1; done")
    check = web.spec.container.healthcheck
    check.test.extend(["CMD-SHELL", "test -e /tmp/ok || { echo it is gone; exit 1; }"])
    check.interval.FromMilliseconds(200)
    check.retries = 1
    worker.told(web)
    status = await worker.reaches(web, TaskState.RUNNING)
    docker(host, "exec", status.container.container_id, "rm", "/tmp/ok")
    status = await worker.reaches(web, TaskState.FAILED)
    assert (status.err, status.container.health) == ("unhealthy: it is gone", "it is gone")
    await until(lambda: docker(host, "ps", "-q", "--filter", f"label=swarm.task.id={web.id}") == "", 30)


async def test_an_image_nobody_has_rejects_the_task(worker: Worker) -> None:
    unknown = task(image="nobody/has-this:1")
    worker.told(unknown)
    status = await worker.reaches(unknown, TaskState.REJECTED)
    assert status.err.startswith("image nobody/has-this:1 is not on this node and could not be pulled: ")


async def test_a_program_that_does_not_exist_fails_the_task(worker: Worker) -> None:
    wrong = task("no-such-program")
    worker.told(wrong)
    assert "no-such-program" in (await worker.reaches(wrong, TaskState.FAILED)).err


async def test_a_port_that_is_taken_fails_the_task(worker: Worker) -> None:
    first, second = task(), task()
    for each in (first, second):
        each.endpoint.ports.add(target_port=80, published_port=8123, publish_mode=PortConfig.HOST)
    worker.told(first)
    status = await worker.reaches(first, TaskState.RUNNING)
    assert [port.published_port for port in status.host_ports] == [8123]
    worker.told(first, second)
    assert "8123" in (await worker.reaches(second, TaskState.FAILED)).err


async def test_a_secret_is_a_file_in_memory_in_the_container(worker: Worker, host: Host) -> None:
    web = task()
    web.spec.container.secrets.add(secret_id="s1", secret_name="password").target.mode = 0o400
    worker.told(web, Assignment(key="secret/s1", secret=SecretAssignment(id="s1", data=b"hush")))
    status = await worker.reaches(web, TaskState.RUNNING)
    container_id = status.container.container_id
    assert docker(host, "exec", container_id, "cat", "/run/secrets/password") == "hush"
    assert docker(host, "exec", container_id, "stat", "-c", "%a %u", "/run/secrets/password") == "400 0"
    assert docker(host, "exec", container_id, "sh", "-c", "echo x >/run/secrets/password || echo no").endswith("no")


async def test_twenty_tasks_run_side_by_side(worker: Worker) -> None:
    many = [task() for _ in range(20)]
    worker.told(*many)
    for each in many:
        await worker.reaches(each, TaskState.RUNNING)


async def test_a_restarted_daemon_adopts_its_containers(host: Host, tmp_path: Path, node_id: str) -> None:
    web = task()
    async with at_work(host, tmp_path, node_id) as first:
        first.told(web)
        before = await first.reaches(web, TaskState.RUNNING)
    async with at_work(host, tmp_path, node_id) as again:
        again.told(web)
        after = await again.reaches(web, TaskState.RUNNING)
        assert after.container == before.container
        docker(host, "kill", before.container.container_id)
        assert (await again.reaches(web, TaskState.FAILED)).container.exit_code == 137
        assert await again.agent.drain(30)


async def test_an_engine_crash_costs_no_task_and_is_told(worker: Worker, host: Host) -> None:
    web = task()
    worker.told(web)
    before = await worker.reaches(web, TaskState.RUNNING)
    host.engine.crash()
    await until(lambda: worker.agent.description.engine_error, 30)
    assert "Docker does not answer on" in worker.agent.description.engine_error
    late = task()
    worker.told(web, late)
    await until(lambda: worker.status(late).message == "waiting for the Docker engine")
    await asyncio.to_thread(host.engine.start)
    await worker.reaches(late, TaskState.RUNNING)
    assert worker.status(web).container.container_id == before.container.container_id
    assert worker.agent.description.engine_error == ""


async def test_an_engine_that_hangs_is_told_and_goes_on_where_it_was(worker: Worker, host: Host) -> None:
    web = task()
    worker.told(web)
    before = await worker.reaches(web, TaskState.RUNNING)
    late = task()
    with host.engine.frozen():
        worker.told(web, late)
        await until(lambda: worker.agent.description.engine_error, 30)
        assert "did not answer in time" in worker.agent.description.engine_error
        assert worker.status(web).state == TaskState.RUNNING
    await worker.reaches(late, TaskState.RUNNING)
    await until(lambda: not worker.agent.description.engine_error, 30)
    assert worker.status(web).container.container_id == before.container.container_id
    assert len(docker(host, "ps", "-q", "--filter", f"label=swarm.task.id={late.id}").split()) == 1


def test_one_container_a_task_also_when_the_first_answer_was_lost(runtime: DockerRuntime, host: Host) -> None:
    order = CreateOrder(task(), "cl", "n1")
    lost = runtime.create(order)
    made = runtime.create(order)
    assert made.id != lost.id, "one that was never started is made anew"
    runtime.start(made.id)
    assert runtime.create(order).id == made.id, "one that was started is adopted"
    runtime.remove(made.id)
    runtime.remove(made.id)
    assert docker(host, "ps", "-aq", "--filter", f"label=swarm.task.id={order.task.id}") == ""


def test_a_bridge_network_is_made_found_and_removed(host: Host) -> None:
    bridges = DockerBridges(DockerApi(f"unix://{host.engine.socket}"))
    network_id = new_id()
    wanted = ("front", "10.99.0.0/24", "10.99.0.7", "10.99.0.0/29", f"sw-{network_id[:10]}", 1400, False, {})
    made = bridges.ensure_bridge_network(network_id, *wanted)
    assert bridges.ensure_bridge_network(network_id, *wanted) == made
    again = DockerBridges(DockerApi(f"unix://{host.engine.socket}"))
    assert again.docker_ids([network_id]) == {network_id: made}
    bridges.remove_bridge_network(network_id)
    bridges.remove_bridge_network(network_id)
    assert network_id not in bridges.list_bridge_networks()


def test_without_an_engine_the_reason_and_the_remedy_are_told(tmp_path: Path) -> None:
    api = DockerApi(f"unix://{tmp_path}/docker.sock")
    runtime = DockerRuntime(api, DockerBridges(api), "n1")
    description = runtime.describe()
    assert "install or start it" in description.engine_error
    assert description.resources.nano_cpus > 0
    with pytest.raises(UnavailableError, match="Docker does not answer"):
        runtime.signal("c1", "SIGTERM")
