"""A canary as users ask for it: what begins one, what goes along with it, and what makes no sense."""

import pytest
from swarm_api.control_pb2 import (
    CreateSecretRequest,
    CreateServiceRequest,
    DeployStackRequest,
    UpdateSecretRequest,
    UpdateServiceRequest,
)
from swarm_api.objects_pb2 import Service, UpdateStatus
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import Share
from swarm_manager.api.auth import ADMIN, Caller, set_caller
from swarm_manager.api.control import ControlRpcs
from swarm_manager.errors import BadRequestError, ManagerError, RefusedError

from tests.unit.manager.stores import MemoryStore, cluster, node


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    found.put(cluster(), node("n1"))
    set_caller(Caller(ADMIN, "ann"))
    return found


@pytest.fixture
def control(store: MemoryStore) -> ControlRpcs:
    return ControlRpcs(store)


def spec(replicas: int = 4, image: str = "app:1", setting: Share | None = None) -> ServiceSpec:
    made = ServiceSpec()
    made.annotations.name = "web"
    made.task.container.image = image
    made.replicated.replicas = replicas
    if setting is not None:
        made.update.canary.CopyFrom(setting)
    return made


async def create(control: ControlRpcs, wanted: ServiceSpec) -> Service:
    return (await control.CreateService(CreateServiceRequest(spec=wanted), None)).service


async def update(control: ControlRpcs, wanted: ServiceSpec, canary: Share | None = None) -> Service:
    request = UpdateServiceRequest(id="web", spec=wanted, canary=canary)
    return (await control.UpdateService(request, None)).service


async def tell(control: ControlRpcs, command: UpdateServiceRequest.Command.ValueType) -> Service:
    return (await control.UpdateService(UpdateServiceRequest(id="web", command=command), None)).service


async def test_a_canary_keeps_what_was_before_it(control: ControlRpcs) -> None:
    first = await create(control, spec())
    changed = await update(control, spec(image="app:2"), Share(percent=25))
    assert changed.canary.stable == first.spec
    assert changed.canary.stable_version == first.spec_version
    assert changed.update_status.state == UpdateStatus.UPDATING
    second = await update(control, spec(image="app:3"))
    assert (second.canary.share.percent, second.canary.stable) == (25, first.spec)


async def test_scaling_is_for_both_sides_and_outlives_a_rollback(control: ControlRpcs) -> None:
    await create(control, spec())
    before = await update(control, spec(image="app:2"), Share(tasks=1))
    scaled = await update(control, spec(replicas=9, image="app:2"))
    assert scaled.canary.stable.replicated.replicas == 9
    assert scaled.update_status == before.update_status
    back = (await control.UpdateService(UpdateServiceRequest(id="web", rollback=True), None)).service
    assert back.spec == spec(replicas=9)
    assert (back.HasField("canary"), back.update_status.state) == (False, UpdateStatus.ROLLBACK_STARTED)


async def test_replicas_that_changed_together_with_the_image_go_back_with_it(control: ControlRpcs) -> None:
    await create(control, spec())
    await update(control, spec(replicas=9, image="app:2"), Share(tasks=1))
    back = (await control.UpdateService(UpdateServiceRequest(id="web", rollback=True), None)).service
    assert back.spec.replicated.replicas == 4


async def test_promoting_is_said_once_and_by_whom(control: ControlRpcs) -> None:
    await create(control, spec())
    with pytest.raises(RefusedError, match="no canary that could be promoted"):
        await tell(control, UpdateServiceRequest.PROMOTE)
    await update(control, spec(image="app:2"), Share(tasks=1))
    promoted = await tell(control, UpdateServiceRequest.PROMOTE)
    assert promoted.canary.promoted
    assert promoted.update_status.message == "canary promoted by ann, update in progress"
    assert await tell(control, UpdateServiceRequest.PROMOTE) == promoted


async def test_the_setting_makes_every_replacing_change_a_canary(control: ControlRpcs) -> None:
    await create(control, spec(setting=Share(tasks=1)))
    assert not (await update(control, spec(replicas=5, setting=Share(tasks=1)))).HasField("canary")
    changed = await update(control, spec(replicas=5, image="app:2", setting=Share(tasks=1)))
    assert changed.canary.share == Share(tasks=1)


async def test_a_stack_and_a_new_secret_follow_the_setting(control: ControlRpcs, store: MemoryStore) -> None:
    secret = CreateSecretRequest()
    secret.spec.annotations.name, secret.spec.data = "key", b"one"
    await control.CreateSecret(secret, None)
    wanted = spec(setting=Share(percent=10))
    wanted.task.container.secrets.add(secret_name="key").target.name = "/run/secrets/key"
    await control.DeployStack(DeployStackRequest(name="s", services=[wanted]), None)
    wanted.task.container.image = "app:2"
    await control.DeployStack(DeployStackRequest(name="s", services=[wanted]), None)
    (service,) = store.snapshot.services.values()
    assert service.canary.stable.task.container.image == "app:1"
    old = service.canary.stable.task.container.secrets[0].secret_id
    await control.UpdateSecret(UpdateSecretRequest(id="key", spec={"data": b"two"}), None)
    (service,) = store.snapshot.services.values()
    assert service.canary.stable.task.container.secrets[0].secret_id == old
    assert service.spec.task.container.secrets[0].secret_id != old
    assert old in store.snapshot.secrets


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        (Share(tasks=4), "A canary of 4 is all of web, which has 4 tasks"),
        (Share(tasks=9), "A canary of 9 is all of web, which has 4 tasks"),
        (Share(percent=100), "canary is 100 %; a part of the tasks is 1 to 99 %"),
        (Share(percent=0), "canary is 0 %"),
        (Share(tasks=0), "canary is 0 tasks"),
        (Share(), "canary is 0 tasks"),
    ],
)
async def test_a_canary_is_a_part_of_the_tasks(control: ControlRpcs, share: Share, reason: str) -> None:
    await create(control, spec())
    with pytest.raises(ManagerError, match=reason):
        await update(control, spec(image="app:2"), share)


async def test_one_task_has_no_part(control: ControlRpcs) -> None:
    await create(control, spec(replicas=1))
    with pytest.raises(RefusedError, match="A canary of 10 % is all of web, which has 1 task;"):
        await update(control, spec(replicas=1, image="app:2"), Share(percent=10))


async def test_a_change_that_replaces_nothing_is_no_canary(control: ControlRpcs) -> None:
    await create(control, spec())
    with pytest.raises(RefusedError, match="replaces no task"):
        await update(control, spec(replicas=7), Share(percent=10))


async def test_a_canary_does_not_begin_in_a_paused_update(control: ControlRpcs, store: MemoryStore) -> None:
    service = await create(control, spec())
    service.update_status.state = UpdateStatus.PAUSED
    store.put(service)
    with pytest.raises(RefusedError, match="The update of web is paused"):
        await update(control, spec(image="app:2"), Share(percent=25))


async def test_what_waits_to_be_promoted_cannot_be_paused(control: ControlRpcs, store: MemoryStore) -> None:
    await create(control, spec())
    service = await update(control, spec(image="app:2"), Share(percent=25))
    service.update_status.state = UpdateStatus.CANARY
    store.put(service)
    with pytest.raises(RefusedError, match="its canary waits to be promoted"):
        await tell(control, UpdateServiceRequest.PAUSE)


async def test_jobs_and_rollbacks_have_none(control: ControlRpcs) -> None:
    job = spec()
    job.replicated_job.total_completions = 3
    await create(control, job)
    with pytest.raises(RefusedError, match="is a job"):
        await update(control, job, Share(percent=25))
    other = spec()
    other.annotations.name = "other"
    other.rollback.canary.tasks = 1
    with pytest.raises(BadRequestError, match=r"rollback\.canary has no meaning"):
        await create(control, other)
