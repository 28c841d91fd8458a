"""Stacks: all of a compose file in one commit."""

import pytest
from swarm_api.control_pb2 import (
    CreateNetworkRequest,
    CreateServiceRequest,
    DeployStackRequest,
    DeployStackResponse,
    ListRequest,
    RemoveRequest,
    StackChange,
)
from swarm_api.naming import STACK_LABEL
from swarm_api.objects_pb2 import ObjectKind
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import PortConfig
from swarm_manager.api.control import ControlRpcs
from swarm_manager.errors import AlreadyExistsError, BadRequestError, NotFoundError, RefusedError

from tests.unit.manager.stores import MemoryStore, cluster

CREATED, UPDATED, UNCHANGED, REMOVED = (
    StackChange.CREATED,
    StackChange.UPDATED,
    StackChange.UNCHANGED,
    StackChange.REMOVED,
)


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    found.put(cluster())
    return found


@pytest.fixture
def control(store: MemoryStore) -> ControlRpcs:
    return ControlRpcs(store)


def service(name: str, port: int = 0) -> ServiceSpec:
    found = ServiceSpec()
    found.annotations.name = name
    found.task.container.image = "busybox"
    found.replicated.replicas = 1
    if port:
        found.endpoint.ports.add(target_port=80, published_port=port, publish_mode=PortConfig.INGRESS)
    return found


def shop() -> DeployStackRequest:
    """A network, a secret, and two services that use them."""
    request = DeployStackRequest(name="shop", source="services: ...")
    request.networks.add().annotations.name = "shop_default"
    secret = request.secrets.add(data=b"one")
    secret.annotations.name = "shop_key"
    web, db = service("shop_web", 8080), service("shop_db")
    db.task.container.secrets.add(secret_name="shop_key").target.name = "key"
    for spec in (web, db):
        spec.task.networks.add(target="shop_default")
        request.services.append(spec)
    return request


async def deploy(control: ControlRpcs, request: DeployStackRequest) -> dict[str, int]:
    answer: DeployStackResponse = await control.DeployStack(request, None)
    return {change.name: change.action for change in answer.changes}


async def test_a_stack_is_one_commit(control: ControlRpcs, store: MemoryStore) -> None:
    before = len(store.proposed)
    assert await deploy(control, shop()) == dict.fromkeys(("shop_default", "shop_key", "shop_web", "shop_db"), CREATED)
    assert len(store.proposed) == before + 1
    found = store.snapshot
    assert all(s.spec.annotations.labels[STACK_LABEL] == "shop" for s in found.services.values())
    network = found.id_of_name(ObjectKind.NETWORK, "shop_default")
    assert {a.target for s in found.services.values() for a in s.spec.task.networks} == {network}
    summary = (await control.ListStacks(ListRequest(), None)).stacks[0]
    assert (summary.stack.annotations.name, summary.services) == ("shop", 2)


async def test_deploying_the_same_again_changes_nothing(control: ControlRpcs, store: MemoryStore) -> None:
    await deploy(control, shop())
    before = store.snapshot.index
    assert set((await deploy(control, shop())).values()) == {UNCHANGED}
    assert store.snapshot.index == before


async def test_only_what_changed_is_updated(control: ControlRpcs) -> None:
    await deploy(control, shop())
    request = shop()
    request.services[0].replicated.replicas = 4
    changes = await deploy(control, request)
    assert changes["shop_web"] == UPDATED
    assert {name for name, action in changes.items() if action == UNCHANGED} == {"shop_default", "shop_key", "shop_db"}


async def test_a_changed_secret_restarts_who_uses_it_once(control: ControlRpcs) -> None:
    await deploy(control, shop())
    request = shop()
    request.secrets[0].data = b"two"
    changes = await deploy(control, request)
    assert changes == {"shop_default": UNCHANGED, "shop_key": UPDATED, "shop_web": UNCHANGED, "shop_db": UPDATED}
    assert set((await deploy(control, request)).values()) == {UNCHANGED}


async def test_prune_removes_what_the_file_no_longer_has(control: ControlRpcs, store: MemoryStore) -> None:
    await deploy(control, shop())
    request = shop()
    del request.services[1]
    assert "shop_db" not in await deploy(control, request)
    request.prune = True
    assert (await deploy(control, request))["shop_db"] == REMOVED
    assert store.snapshot.id_of_name(ObjectKind.SERVICE, "shop_db") is None


async def test_a_dry_run_says_what_would_be_done(control: ControlRpcs, store: MemoryStore) -> None:
    request = shop()
    request.dry_run = True
    before = store.snapshot.index
    assert set((await deploy(control, request)).values()) == {CREATED}
    assert store.snapshot.index == before
    request.services[0].task.container.image = ""
    with pytest.raises(BadRequestError):
        await deploy(control, request)


async def test_a_stack_is_accepted_or_refused_as_a_whole(control: ControlRpcs, store: MemoryStore) -> None:
    clashing, unknown = shop(), shop()
    clashing.services[1].endpoint.CopyFrom(clashing.services[0].endpoint)
    with pytest.raises(RefusedError, match="8080/tcp is already published by service shop_web"):
        await deploy(control, clashing)
    unknown.services[1].task.networks[0].target = "elsewhere"
    with pytest.raises(NotFoundError):
        await deploy(control, unknown)
    twice = shop()
    twice.services.append(twice.services[0])
    with pytest.raises(BadRequestError, match="twice"):
        await deploy(control, twice)
    assert not store.snapshot.services
    assert not store.snapshot.networks


async def test_what_belongs_to_others_is_not_taken_over(control: ControlRpcs) -> None:
    await control.CreateService(CreateServiceRequest(spec=service("shop_web")), None)
    with pytest.raises(AlreadyExistsError, match="belongs to no stack"):
        await deploy(control, shop())


async def test_a_stacks_network_is_not_changed_under_its_feet(control: ControlRpcs) -> None:
    await deploy(control, shop())
    request = shop()
    request.networks[0].internal = True
    with pytest.raises(RefusedError, match="cannot be changed"):
        await deploy(control, request)


async def test_removing_a_stack_leaves_what_others_use(control: ControlRpcs, store: MemoryStore) -> None:
    await deploy(control, shop())
    guest = service("guest")
    guest.task.networks.add(target="shop_default")
    await control.CreateService(CreateServiceRequest(spec=guest), None)
    removed = (await control.RemoveStack(RemoveRequest(id="shop"), None)).changes
    assert {change.name for change in removed} == {"shop_key", "shop_web", "shop_db"}
    assert store.snapshot.id_of_name(ObjectKind.NETWORK, "shop_default") is not None
    assert not store.snapshot.stacks
    with pytest.raises(NotFoundError):
        await control.RemoveStack(RemoveRequest(id="shop"), None)


async def test_an_external_network_is_used_by_name(control: ControlRpcs, store: MemoryStore) -> None:
    outside = CreateNetworkRequest()
    outside.spec.annotations.name = "corp"
    network = (await control.CreateNetwork(outside, None)).network
    request = shop()
    request.services[0].task.networks.add(target="corp")
    await deploy(control, request)
    web = store.snapshot.services[store.snapshot.id_of_name(ObjectKind.SERVICE, "shop_web") or ""]
    assert network.id in {a.target for a in web.spec.task.networks}
