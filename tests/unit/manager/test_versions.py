"""Secrets and configs updated in place: a new version takes the name, and the services that use it follow."""

import pytest
from swarm_api.control_pb2 import (
    CreateConfigRequest,
    CreateSecretRequest,
    CreateServiceRequest,
    DeployStackRequest,
    RemoveRequest,
    StackChange,
    UpdateConfigRequest,
    UpdateSecretRequest,
    UpdateSecretResponse,
    UpdateServiceRequest,
)
from swarm_api.objects_pb2 import ObjectKind, Secret, Service, Task
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import TaskState
from swarm_manager.api.control import ControlRpcs
from swarm_manager.core.dispatch import assignments_for
from swarm_manager.errors import BadRequestError, RefusedError

from tests.unit.manager.stores import MemoryStore, cluster, node


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    found.put(cluster(), node("n1"))
    return found


@pytest.fixture
def control(store: MemoryStore) -> ControlRpcs:
    return ControlRpcs(store)


def user_of(*secrets: str, name: str = "web") -> ServiceSpec:
    found = ServiceSpec()
    found.annotations.name = name
    found.task.container.image = "busybox"
    found.replicated.replicas = 1
    for secret in secrets:
        found.task.container.secrets.add(secret_name=secret).target.name = f"/run/secrets/{secret}"
    return found


async def have_secret(control: ControlRpcs, name: str = "key", data: bytes = b"one") -> Secret:
    request = CreateSecretRequest()
    request.spec.annotations.name, request.spec.data = name, data
    return (await control.CreateSecret(request, None)).secret


async def have_service(control: ControlRpcs, spec: ServiceSpec) -> Service:
    return (await control.CreateService(CreateServiceRequest(spec=spec), None)).service


async def update(control: ControlRpcs, name: str, data: bytes = b"", **labels: str) -> UpdateSecretResponse:
    request = UpdateSecretRequest(id=name)
    request.spec.data = data
    request.spec.annotations.labels.update(labels)
    return await control.UpdateSecret(request, None)


def secret_id_of(store: MemoryStore, service: Service) -> str:
    return store.snapshot.services[service.id].spec.task.container.secrets[0].secret_id


async def test_a_new_version_takes_the_name_and_its_users_follow(control: ControlRpcs, store: MemoryStore) -> None:
    old = await have_secret(control)
    web, other = await have_service(control, user_of("key")), await have_service(control, user_of(name="other"))
    before = store.snapshot.index
    answer = await update(control, "key", b"two")
    assert store.snapshot.index == before + 1  # all of it is one commit
    assert (answer.secret.spec.annotations.name, answer.secret.spec.data) == ("key", b"")
    assert list(answer.service_ids) == [web.id]
    assert secret_id_of(store, web) == answer.secret.id != old.id
    assert store.snapshot.services[web.id].spec_version.index == store.snapshot.index  # its tasks are replaced
    assert store.snapshot.services[other.id] == other
    kept = store.snapshot.secrets[old.id]
    assert (kept.spec.annotations.name, kept.spec.data) == (f"key@{old.meta.version.index}", b"one")
    assert kept.replaced_by == answer.secret.id


async def test_a_rollback_brings_the_old_version_back(control: ControlRpcs, store: MemoryStore) -> None:
    old = await have_secret(control)
    web = await have_service(control, user_of("key"))
    await update(control, "key", b"two")
    await control.UpdateService(UpdateServiceRequest(id=web.id, rollback=True), None)
    assert secret_id_of(store, web) == old.id


async def test_a_task_keeps_the_data_it_began_with(control: ControlRpcs, store: MemoryStore) -> None:
    old = await have_secret(control)
    web = await have_service(control, user_of("key"))
    task = Task(id="t1", service_id=web.id, slot=1, node_id="n1", spec=web.spec.task, desired_state=TaskState.RUNNING)
    task.status.state = TaskState.ASSIGNED
    store.put(task)
    await update(control, "key", b"two")
    told = assignments_for(store.snapshot, "n1")
    assert [key for key in told if key.startswith("secret/")] == [f"secret/{old.id}"]
    assert told[f"secret/{old.id}"].secret.data == b"one"


async def test_versions_that_nothing_wants_are_forgotten(control: ControlRpcs, store: MemoryStore) -> None:
    first = await have_secret(control)
    second = (await update(control, "key", b"two")).secret  # nobody used the first
    assert first.id not in store.snapshot.secrets
    web = await have_service(control, user_of("key"))
    third = (await update(control, "key", b"three")).secret
    assert set(store.snapshot.secrets) == {second.id, third.id}
    await control.RemoveService(RemoveRequest(id=web.id), None)
    fourth = (await update(control, "key", b"four")).secret
    assert set(store.snapshot.secrets) == {fourth.id}


async def test_the_same_data_changes_nothing_and_labels_restart_nothing(
    control: ControlRpcs, store: MemoryStore
) -> None:
    old = await have_secret(control)
    web = await have_service(control, user_of("key"))
    before = store.snapshot.index
    assert not (await update(control, "key", b"one")).service_ids
    assert store.snapshot.index == before
    labelled = await update(control, "key", b"", team="red")
    assert (labelled.secret.id, dict(labelled.secret.spec.annotations.labels)) == (old.id, {"team": "red"})
    assert store.snapshot.secrets[old.id].spec.data == b"one"
    assert store.snapshot.services[web.id] == web


async def test_old_versions_are_neither_updated_nor_removed_from_under_a_service(
    control: ControlRpcs, store: MemoryStore
) -> None:
    old = await have_secret(control)
    web = await have_service(control, user_of("key"))
    await update(control, "key", b"two")
    kept = store.snapshot.secrets[old.id].spec.annotations.name
    with pytest.raises(RefusedError, match="update key"):
        await update(control, kept, b"three")
    pinned = await have_service(control, user_of(kept, name="pinned"))
    assert not set((await update(control, "key", b"three")).service_ids) - {web.id}
    assert secret_id_of(store, pinned) == old.id
    await control.RemoveService(RemoveRequest(id=web.id), None)
    with pytest.raises(RefusedError, match="in use by pinned"):
        await control.RemoveSecret(RemoveRequest(id="key"), None)
    await control.RemoveService(RemoveRequest(id=pinned.id), None)
    await control.RemoveSecret(RemoveRequest(id="key"), None)
    assert not store.snapshot.secrets


async def test_what_is_wrong_with_an_update_is_said(control: ControlRpcs) -> None:
    await have_secret(control)
    renamed = UpdateSecretRequest(id="key")
    renamed.spec.annotations.name = "lock"
    with pytest.raises(RefusedError, match="cannot be renamed"):
        await control.UpdateSecret(renamed, None)
    with pytest.raises(BadRequestError, match="at most"):
        await update(control, "key", b"x" * 600_000)


async def test_a_repeated_update_is_done_once(control: ControlRpcs, store: MemoryStore) -> None:
    await have_secret(control)
    await have_service(control, user_of("key"))
    request = UpdateSecretRequest(id="key", request_id="r1")
    request.spec.data = b"Two!"
    first = await control.UpdateSecret(request, None)
    after = store.snapshot.index
    assert await control.UpdateSecret(request, None) == first
    assert store.snapshot.index == after
    assert b"Two!" not in first.SerializeToString()


async def test_configs_do_the_same(control: ControlRpcs, store: MemoryStore) -> None:
    made = CreateConfigRequest()
    made.spec.annotations.name, made.spec.data = "conf", b"one"
    old = (await control.CreateConfig(made, None)).config
    spec = user_of()
    spec.task.container.configs.add(config_name="conf").target.name = "/conf"
    web = await have_service(control, spec)
    request = UpdateConfigRequest(id="conf")
    request.spec.data = b"two"
    answer = await control.UpdateConfig(request, None)
    assert (answer.config.spec.data, list(answer.service_ids)) == (b"two", [web.id])
    assert store.snapshot.services[web.id].spec.task.container.configs[0].config_id == answer.config.id != old.id


# The same by a stack's file


def stack(key: bytes, *services: ServiceSpec, prune: bool = False) -> DeployStackRequest:
    request = DeployStackRequest(name="shop", source="...", services=services, prune=prune)
    for name, data in (("shop_key", key), ("shop_lock", key + b"!")):
        secret = request.secrets.add(data=data)
        secret.annotations.name = name
    return request


async def test_a_file_s_new_data_replaces_the_tasks_of_all_users(control: ControlRpcs, store: MemoryStore) -> None:
    own, gone = user_of("shop_key", name="shop_web"), user_of("shop_key", "shop_lock", name="shop_old")
    await control.DeployStack(stack(b"one", own, gone), None)
    outside = await have_service(control, user_of("shop_key", "shop_lock", name="outside"))
    first = store.snapshot.id_of_name(ObjectKind.SECRET, "shop_key")
    changes = (await control.DeployStack(stack(b"two", own, prune=True), None)).changes
    current = store.snapshot.id_of_name(ObjectKind.SECRET, "shop_key")
    lock = store.snapshot.id_of_name(ObjectKind.SECRET, "shop_lock")
    assert current != first
    actions = {change.name: change.action for change in changes}
    assert actions["shop_web"] == actions["outside"] == actions["shop_key"] == StackChange.UPDATED
    assert actions["shop_old"] == StackChange.REMOVED
    followed = store.snapshot.services[outside.id].spec.task.container.secrets
    assert [reference.secret_id for reference in followed] == [current, lock]
    again = (await control.DeployStack(stack(b"two", own), None)).changes
    assert {change.action for change in again} == {StackChange.UNCHANGED}


async def test_removing_the_stack_removes_old_versions_too(control: ControlRpcs, store: MemoryStore) -> None:
    own = user_of("shop_key", name="shop_web")
    await control.DeployStack(stack(b"one", own), None)
    await control.DeployStack(stack(b"two", own), None)
    assert len(store.snapshot.secrets) == 3  # key, key@..., lock
    await control.RemoveStack(RemoveRequest(id="shop"), None)
    assert not store.snapshot.secrets
