"""The agent on a fake engine and network: order of effects, pulls, files, and what survives a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from swarm_api.dispatcher_pb2 import Assignment, ConfigAssignment, NetworkAssignment, SecretAssignment, SessionMessage
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import ContainerSpec
from swarm_api.types_pb2 import TaskState
from swarm_worker.agent import Agent
from swarm_worker.files import TaskFiles
from swarm_worker.storage import NodeStore

from tests.worker.fakes import FakeEngine, FakeNetwork
from tests.worker.story import make_task
from tests.worker.waiting import until


class _InMemory(TaskFiles):
    """For a folder of the tests, which need not be a tmpfs."""

    def _have_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)


class Node:
    """An agent at work, and what it would report."""

    def __init__(self, folder: Path, engine: FakeEngine, network: FakeNetwork) -> None:
        self.engine, self.network = engine, network
        self.agent = Agent(engine, network, NodeStore(folder), _InMemory(folder), node_id="n1", cluster_id="cl")
        self.sequence = 0

    def told(self, *items: Task | Assignment) -> None:
        """The leader's whole set of assignments."""
        wanted = [Assignment(key=f"task/{i.id}", task=i) if isinstance(i, Task) else i for i in items]
        self.agent.apply(SessionMessage(term=1, full=True, set=wanted))

    def state(self, task_id: str = "t1") -> int:
        found = {r.task_id: r.status.state for r in self.agent.reports.batch(100)}
        return found.get(task_id, 0)

    def error(self) -> str:
        return self.agent.reports.batch(1)[0].status.err


@contextlib.asynccontextmanager
async def at_work(folder: Path, engine: FakeEngine | None = None) -> AsyncIterator[Node]:
    worker = Node(folder, engine or FakeEngine(), FakeNetwork())
    running = asyncio.create_task(worker.agent.run())
    await asyncio.wait_for(worker.agent.described.wait(), 10)
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def network(network_id: str) -> Assignment:
    return Assignment(key=f"network/{network_id}", network=NetworkAssignment(network_id=network_id))


async def test_a_container_is_made_once_its_network_is_there_and_is_told_about_it(tmp_path: Path) -> None:
    async with at_work(tmp_path) as worker:
        worker.told(make_task(networks=["net1"]), network("net1"))
        await until(lambda: worker.state() == TaskState.RUNNING)
        order = worker.engine.orders[0]
        assert (order.dns_servers, order.mac_addresses) == (("10.0.0.1",), ("mac-10.0.0.5",))
        assert (order.node_id, order.cluster_id) == ("n1", "cl")


async def test_a_task_leaves_the_network_s_balancing_before_it_is_told_to_stop(tmp_path: Path) -> None:
    async with at_work(tmp_path) as worker:
        worker.engine.calls = worker.network.log  # one list: their order is what counts
        worker.told(make_task())
        await until(lambda: worker.state() == TaskState.RUNNING)
        worker.network.log.clear()
        worker.told(make_task(desired=TaskState.SHUTDOWN), network("net1"))
        await until(lambda: worker.state() == TaskState.SHUTDOWN)
        assert worker.network.log.index("apply 2") < worker.network.log.index("signal c-t1 SIGTERM")


async def test_a_missing_image_is_pulled_once_for_all_tasks_that_wait_for_it(tmp_path: Path) -> None:
    async with at_work(tmp_path) as worker:
        tasks = [make_task(f"t{number}") for number in range(3)]
        for task in tasks:
            task.spec.container.image = "remote/web:1"
        worker.told(*tasks)
        await until(lambda: all(worker.state(t.id) == TaskState.RUNNING for t in tasks))
        assert worker.engine.calls.count("pull remote/web:1") == 1


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (ContainerSpec.MISSING, "image web:1 is not on this node and could not be pulled: no registry has it"),
        (ContainerSpec.NEVER, "image web:1 is not on this node, and its pull policy is never: load it here"),
    ],
)
async def test_an_image_nobody_has_rejects_the_task_and_says_so(
    tmp_path: Path, policy: "ContainerSpec.PullPolicy.ValueType", why: str
) -> None:
    async with at_work(tmp_path) as worker:
        task = make_task()
        task.spec.container.image, task.spec.container.pull_policy = "web:1", policy
        worker.told(task)
        await until(lambda: worker.state() == TaskState.REJECTED)
        assert worker.error() == why


async def test_secrets_are_files_while_the_task_is_known_and_never_on_the_state_disk(tmp_path: Path) -> None:
    task = make_task()
    reference = task.spec.container.secrets.add(secret_id="s1", secret_name="password")
    reference.target.mode = 0o400
    secret = Assignment(key="secret/s1", secret=SecretAssignment(id="s1", data=b"hush"))
    async with at_work(tmp_path) as worker:
        worker.told(task, secret)
        await until(lambda: worker.state() == TaskState.RUNNING)
        (file,) = worker.engine.orders[0].files
        assert (file.target, file.source.read_bytes(), file.source.stat().st_mode & 0o777) == (
            "/run/secrets/password",
            b"hush",
            0o400,
        )
        worker.told()
        await until(lambda: not file.source.exists())
    assert b"hush" not in (tmp_path / "worker" / "assignments").read_bytes()


async def test_a_restarted_daemon_adopts_its_containers_without_any_manager(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with at_work(tmp_path, engine) as worker:
        worker.told(make_task(), network("net1"))
        await until(lambda: worker.state() == TaskState.RUNNING)
    engine.calls.clear()
    async with at_work(tmp_path, engine) as again:
        await until(lambda: "apply 2" in again.network.log)
        assert engine.calls == []
        engine.exits("c-t1", 1)
        await until(lambda: again.state() == TaskState.FAILED)


async def test_after_a_restart_only_a_leader_can_have_containers_removed(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with at_work(tmp_path, engine) as worker:
        worker.told(make_task())
        await until(lambda: worker.state() == TaskState.RUNNING)
    async with at_work(tmp_path / "lost", engine) as again:
        assert engine.containers
        again.told()
        await until(lambda: not engine.containers)


async def test_a_node_that_leaves_stops_reports_and_removes_all_and_takes_no_more(tmp_path: Path) -> None:
    async with at_work(tmp_path) as worker:
        worker.told(make_task("t1"), make_task("t2"), network("net1"))
        await until(lambda: worker.state("t2") == TaskState.RUNNING == worker.state("t1"))
        assert await worker.agent.drain(5)
        worker.told(make_task("t3"))
        await worker.agent.leave_networks()
        assert worker.engine.containers == {}
        assert {worker.state("t1"), worker.state("t2"), worker.state("t3")} == {TaskState.SHUTDOWN, 0}
        assert worker.network.log[-2:] == ["invalidate", "apply 0"]


async def test_templates_say_what_they_stand_for_on_this_node(tmp_path: Path) -> None:
    async with at_work(tmp_path) as worker:
        task = make_task()
        task.spec.container.env.append("NODE={{.Node.Hostname}} {{.Task.ID}}")
        worker.told(task)
        await until(lambda: worker.state() == TaskState.RUNNING)
        assert list(worker.engine.orders[0].task.spec.container.env) == ["NODE=n1 t1"]
        assert "{{" in worker.agent.assignments.tasks()["t1"].spec.container.env[0]  # as assigned


async def test_a_template_nobody_knows_rejects_the_task(tmp_path: Path) -> None:
    async with at_work(tmp_path) as worker:
        task = make_task()
        task.spec.container.env.append("NODE={{.Nodes}}")
        worker.told(task)
        await until(lambda: worker.state() == TaskState.REJECTED)
        assert "{{.Nodes}} is no template" in worker.error()


async def test_templates_in_a_config_are_filled_in_where_it_says_it_has_some(tmp_path: Path) -> None:
    async with at_work(tmp_path) as worker:
        task, text = make_task(), b"{{.Node.Hostname}}"
        configs = [ConfigAssignment(id=f"c{n}", name=f"c{n}", data=text, templating=n == 0) for n in range(2)]
        for config in configs:
            task.spec.container.configs.add(config_id=config.id, config_name=config.name).target.name = f"/{config.id}"
        worker.told(task, *(Assignment(key=f"config/{config.id}", config=config) for config in configs))
        await until(lambda: worker.state() == TaskState.RUNNING)
        assert [file.source.read_bytes() for file in worker.engine.orders[0].files] == [b"n1", text]
