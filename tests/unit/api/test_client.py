"""The public client, against a server of the same protocol."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from swarm_api import errors
from swarm_api.access import Access, Endpoint
from swarm_api.client import Client, replicated
from swarm_api.control_pb2 import DeployStackRequest
from swarm_api.objects_pb2 import Service, UpdateStatus
from swarm_api.specs_pb2 import ConfigSpec, NetworkSpec, NodeSpec, SecretSpec, ServiceSpec
from swarm_api.types_pb2 import NodeAvailability, TaskState

from tests.cli.cluster import FakeCluster
from tests.ports import free_port
from tests.unit.api.conftest import Start


@pytest.fixture
def cluster(local: tuple[FakeCluster, Endpoint]) -> FakeCluster:
    return local[0]


@pytest.fixture
def client(local: tuple[FakeCluster, Endpoint]) -> Iterator[Client]:
    with Client(Access((local[1],)), budget_s=3) as made:
        yield made


def test_a_service_from_create_to_remove(client: Client) -> None:
    made = client.services.create(replicated("web", "nginx:1", replicas=2, env={"A": "1"}))
    assert list(made.spec.task.container.env) == ["A=1"]
    assert [one.id for one in client.services.list()] == [made.id]
    assert client.services.scale("web", 3).spec.replicated.replicas == 3
    assert client.services.rollback("web").spec.replicated.replicas == 2
    assert len(client.tasks.list(service="web")) == 2
    assert client.services.remove("web") == made.id
    with pytest.raises(errors.NotFoundError):
        client.services.get("web")


def test_a_name_that_is_taken(client: Client) -> None:
    client.services.create(replicated("web", "nginx:1"))
    with pytest.raises(errors.AlreadyExistsError, match="already"):
        client.services.create(replicated("web", "nginx:1"))


def test_every_write_has_a_request_id_of_its_own(client: Client, cluster: FakeCluster) -> None:
    client.networks.create(named(NetworkSpec(), "net"))
    client.secrets.create(named(SecretSpec(data=b"x"), "secret"))
    client.configs.create(named(ConfigSpec(data=b"x"), "config"))
    for remove in (client.networks.remove("net"), client.secrets.remove("secret"), client.configs.remove("config")):
        assert remove
    ids = [request.request_id for request in cluster.requests]
    assert all(ids)
    assert len(set(ids)) == len(ids) == 6


def named(spec: Any, name: str) -> Any:
    spec.annotations.name = name
    return spec


def test_an_edit_starts_anew_when_somebody_else_was_faster(client: Client, cluster: FakeCluster) -> None:
    client.services.create(replicated("web", "nginx:1"))
    seen: list[str] = []

    def change(spec: ServiceSpec) -> None:
        seen.append(spec.task.container.image)
        if len(seen) == 1:  # in between, another person changes the image
            other = Service()
            other.CopyFrom(cluster.service("web"))
            other.spec.task.container.image = "nginx:2"
            cluster.put("service", other)
        spec.annotations.labels["a"] = "b"

    edited = client.services.edit("web", change)
    assert seen == ["nginx:1", "nginx:2"]
    assert (edited.spec.task.container.image, edited.spec.annotations.labels["a"]) == ("nginx:2", "b")


def test_an_edit_gives_up_when_it_never_wins(client: Client, cluster: FakeCluster) -> None:
    client.services.create(replicated("web", "nginx:1"))

    def change(spec: ServiceSpec) -> None:
        other = Service()
        other.CopyFrom(cluster.service("web"))
        cluster.put("service", other)

    with pytest.raises(errors.ConflictError):
        client.services.edit("web", change)


def test_only_replicated_services_scale(client: Client) -> None:
    spec = replicated("agent", "agent:1")
    getattr(spec, "global").SetInParent()
    client.services.create(spec)
    with pytest.raises(ValueError, match="not replicated"):
        client.services.scale("agent", 3)


def test_nodes_are_edited(client: Client, cluster: FakeCluster, make_node: Callable[[str], object]) -> None:
    make_node("n1")

    def drain(spec: NodeSpec) -> None:
        spec.availability = NodeAvailability.DRAIN

    client.nodes.edit("n1", drain)
    assert client.nodes.get("n1").spec.availability == NodeAvailability.DRAIN
    client.nodes.remove("n1", force=True)
    assert cluster.requests[-1].force
    assert client.nodes.list() == []


@pytest.fixture
def make_node(cluster: FakeCluster) -> Callable[[str], object]:
    from swarm_api.objects_pb2 import Node

    def make(hostname: str) -> object:
        node = Node()
        node.description.hostname = hostname
        return cluster.put("node", node)

    return make


def test_stacks(client: Client) -> None:
    request = DeployStackRequest(name="demo", services=[replicated("demo_web", "nginx:1")])
    assert [change.name for change in client.stacks.deploy(request).changes] == ["demo_web"]
    assert [one.stack.annotations.name for one in client.stacks.list()] == ["demo"]
    assert [change.name for change in client.stacks.remove("demo")] == ["demo_web"]


def test_join_tokens_rotate(client: Client) -> None:
    before = client.join_tokens().tokens.worker
    assert client.rotate_join_token(worker=True).tokens.worker != before


# -- watching ---------------------------------------------------------------------------------------


def test_a_watch_tells_what_happens(client: Client, cluster: FakeCluster) -> None:
    cluster.when_watched.append(lambda: cluster.put("service", Service(spec=replicated("web", "nginx:1"))))
    watch = client.watch(["service"])
    change = next(iter(watch))
    assert (change.kind, change.action, change.object.spec.annotations.name) == ("service", "create", "web")
    watch.close()


def test_a_watch_goes_on_at_another_manager_from_where_it_stood(
    start: Start, endpoints: Callable[..., tuple[Endpoint, ...]]
) -> None:
    first, second = start(), start()
    with Client(Access(endpoints(first.address, second.address))) as client:
        watch = client.watch()
        messages = watch.messages()
        next(messages)
        first.cluster.put("service", Service(spec=replicated("web", "nginx:1")))
        assert next(messages).version == 1
        first.cluster.end_streams()
        first.kill()
        assert not next(messages).events
        assert second.cluster.requests[-1].resume_from == 1
        second.cluster.index = 1
        second.cluster.put("service", Service(spec=replicated("api", "nginx:1")))
        assert next(messages).version == 2
        watch.close()


def test_a_watch_says_when_its_past_is_gone(client: Client, cluster: FakeCluster) -> None:
    cluster.fails_next = [(grpc.StatusCode.OUT_OF_RANGE, "Version 5 is too long ago.")]
    with pytest.raises(errors.OutdatedError, match="too long ago"):
        next(iter(client.watch(resume_from=5)))


def test_a_watch_gives_up_after_its_patience(endpoints: Callable[..., tuple[Endpoint, ...]]) -> None:
    with Client(Access(endpoints(f"127.0.0.1:{free_port()}"))) as client:
        watch = client.watch(patience_s=0.3)
        with pytest.raises(errors.NoManagerError, match="No manager answers"):
            next(iter(watch))


# -- waiting ----------------------------------------------------------------------------------------


def test_waiting_ends_when_all_run(client: Client, cluster: FakeCluster) -> None:
    cluster.runs_services = False
    made = client.services.create(replicated("web", "nginx:1", replicas=2))
    seen: list[int] = []

    def progress(standing: list[object]) -> None:
        seen.append(standing[0].running)  # type: ignore[attr-defined]
        if len(seen) == 1:
            cluster.run(cluster.service("web"))

    standing = client.wait_converged(made, timeout_s=20, on_progress=progress)
    assert (seen[0], standing[0].running, standing[0].done) == (0, 2, True)


def test_waiting_ends_in_time_and_says_what_is_missing(client: Client, cluster: FakeCluster) -> None:
    cluster.runs_services = False
    made = client.services.create(replicated("web", "nginx:1", replicas=2))
    cluster.run(made, TaskState.PENDING, "No suitable node: 3 lack memory.")
    with pytest.raises(errors.NotConvergedError, match=r"web: 0 of 2 running: No suitable node: 3 lack memory\.$"):
        client.wait_converged("web", timeout_s=0.2)


def test_waiting_ends_when_the_service_is_removed(client: Client, cluster: FakeCluster) -> None:
    cluster.runs_services = False
    made = client.services.create(replicated("web", "nginx:1"))

    def progress(_: object) -> None:
        cluster.objects["service"].clear()

    with pytest.raises(errors.NotFoundError, match="removed"):
        client.wait_converged(made, timeout_s=20, on_progress=progress)


def test_waiting_ends_when_the_update_is_paused(client: Client, cluster: FakeCluster) -> None:
    made = client.services.create(replicated("web", "nginx:1"))
    paused = Service()
    paused.CopyFrom(made)
    paused.update_status.state, paused.update_status.message = UpdateStatus.PAUSED, "task web.1 failed"
    cluster.put("service", paused)
    with pytest.raises(errors.UpdateStoppedError, match=r"paused: task web\.1 failed"):
        client.wait_converged(made, timeout_s=20)


def test_waiting_ends_when_the_update_is_rolled_back(client: Client, cluster: FakeCluster) -> None:
    cluster.runs_services = False
    made = client.services.create(replicated("web", "nginx:1"))

    def progress(_: object) -> None:
        back = Service()
        back.CopyFrom(cluster.service("web"))
        back.spec_version.index += 1
        back.update_status.state, back.update_status.message = UpdateStatus.ROLLBACK_COMPLETED, "web.1 was unhealthy"
        cluster.put("service", back)

    with pytest.raises(errors.UpdateStoppedError, match=r"rolled back: web\.1 was unhealthy"):
        client.wait_converged(made, timeout_s=20, on_progress=progress)
