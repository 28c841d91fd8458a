"""The nouns of the Control API on a store without Raft."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from swarm_api.control_pb2 import (
    CreateConfigRequest,
    CreateNetworkRequest,
    CreateSecretRequest,
    CreateServiceRequest,
    GetClusterRequest,
    GetInfoRequest,
    GetJoinTokensRequest,
    GetRequest,
    GetUnlockKeyRequest,
    ListRequest,
    ListTasksRequest,
    RemoveNodeRequest,
    RemoveRequest,
    UnlockRequest,
    UpdateClusterRequest,
    UpdateNodeRequest,
    UpdateServiceRequest,
    WatchRequest,
)
from swarm_api.defaults import CERTIFICATE_VALIDITY_S
from swarm_api.objects_pb2 import Cluster, ObjectKind, Service, Task, UpdateStatus
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import NodeAvailability, NodeRole, NodeState, PortConfig, TaskState, Version
from swarm_manager.api.auth import ADMIN, Caller, set_caller
from swarm_manager.api.control import ControlRpcs
from swarm_manager.errors import (
    AlreadyExistsError,
    BadRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    TooOldError,
    UnavailableError,
    VersionConflictError,
)
from swarm_manager.ports import MemberStatus

from tests.unit.manager.stores import MemoryStore, cluster, node


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    founded = cluster()
    founded.root_ca.key_pem = b"private"
    founded.root_ca.join_tokens.worker = "SWMTKN-worker"
    found.put(founded, node("m1", NodeRole.MANAGER))
    return found


@pytest.fixture
def control(store: MemoryStore) -> ControlRpcs:
    return ControlRpcs(store)


def spec(name: str, replicas: int = 1, port: int = 0) -> ServiceSpec:
    found = ServiceSpec()
    found.annotations.name = name
    found.task.container.image = "busybox"
    found.replicated.replicas = replicas
    if port:
        found.endpoint.ports.add(target_port=80, published_port=port, publish_mode=PortConfig.INGRESS)
    return found


async def create(control: ControlRpcs, wanted: ServiceSpec, request_id: str = "") -> Service:
    return (await control.CreateService(CreateServiceRequest(spec=wanted, request_id=request_id), None)).service


# Services


async def test_a_created_service_comes_back_with_its_version(control: ControlRpcs) -> None:
    service = await create(control, spec("web"))
    assert service.meta.version.index == service.spec_version.index > 0
    found = await control.GetService(GetRequest(id=service.id[:6]), None)
    assert found.service == service
    assert found.progress.wanted == 1


async def test_a_repeated_request_is_done_once(control: ControlRpcs, store: MemoryStore) -> None:
    first = await create(control, spec("web"), "r1")
    assert await create(control, spec("web"), "r1") == first
    assert len(store.snapshot.services) == 1


async def test_a_repeated_request_after_an_unknown_outcome_finds_the_first(
    control: ControlRpcs, store: MemoryStore
) -> None:
    store.failures = [OutcomeUnknownError("the leader lost its lead")]
    with pytest.raises(UnavailableError):
        await create(control, spec("web"), "r1")
    assert (await create(control, spec("web"), "r1")).spec == spec("web")
    assert len(store.snapshot.services) == 1


async def test_names_are_unique_and_checked(control: ControlRpcs) -> None:
    await create(control, spec("web"))
    with pytest.raises(AlreadyExistsError, match="web"):
        await create(control, spec("web"))
    with pytest.raises(BadRequestError):
        await create(control, spec("-bad name"))


async def test_a_published_port_belongs_to_one_service(control: ControlRpcs) -> None:
    await create(control, spec("web", port=8080))
    with pytest.raises(RefusedError, match="8080/tcp is already published by service web"):
        await create(control, spec("other", port=8080))


async def test_what_a_spec_names_must_exist(control: ControlRpcs) -> None:
    for fill in (
        lambda s: s.task.networks.add(target="nowhere"),
        lambda s: s.task.container.secrets.add(secret_name="nosecret").target.MergeFromString(b"\n\x01x"),
        lambda s: s.task.container.configs.add(config_name="noconfig").target.MergeFromString(b"\n\x01x"),
    ):
        wanted = spec("web")
        fill(wanted)
        with pytest.raises(NotFoundError, match="Service web names the"):
            await create(control, wanted)


async def test_names_in_a_spec_become_ids(control: ControlRpcs) -> None:
    request = CreateNetworkRequest()
    request.spec.annotations.name = "back"
    network = (await control.CreateNetwork(request, None)).network
    wanted = spec("web")
    wanted.task.networks.add(target="back", aliases=["w"])
    service = await create(control, wanted)
    assert [(a.target, list(a.aliases)) for a in service.spec.task.networks] == [(network.id, ["w"])]


async def test_privileged_containers_need_the_clusters_leave(control: ControlRpcs, store: MemoryStore) -> None:
    wanted = spec("web")
    wanted.task.container.privileged = True
    with pytest.raises(RefusedError, match=r"asks for privileged, .* --allow-privileged"):
        await create(control, wanted)
    allowed = cluster()
    allowed.spec.allow_privileged = True
    await control.UpdateCluster(UpdateClusterRequest(spec=allowed.spec), None)
    assert (await create(control, wanted)).spec.task.container.privileged


async def test_what_was_allowed_before_stays_when_the_cluster_allows_no_more(
    control: ControlRpcs, store: MemoryStore
) -> None:
    allowed = cluster()
    allowed.spec.allow_privileged = True
    store.put(allowed)
    wanted = spec("web")
    wanted.task.container.cap_add.append("SYS_ADMIN")
    service = await create(control, wanted)
    store.put(cluster())
    wanted.replicated.replicas = 3
    await control.UpdateService(UpdateServiceRequest(id=service.id, spec=wanted), None)
    wanted.task.container.pid_mode = "host"
    with pytest.raises(RefusedError, match="asks for pid_mode host,"):
        await control.UpdateService(UpdateServiceRequest(id=service.id, spec=wanted), None)


async def update(
    control: ControlRpcs, service: Service, change: Callable[[ServiceSpec], Any], version: int = 0
) -> Service:
    request = UpdateServiceRequest(id=service.id, spec=service.spec, version=Version(index=version))
    change(request.spec)
    return (await control.UpdateService(request, None)).service


def scaled(replicas: int) -> Callable[[ServiceSpec], None]:
    def change(found: ServiceSpec) -> None:
        found.replicated.replicas = replicas

    return change


async def test_the_second_of_two_concurrent_edits_learns_what_changed(control: ControlRpcs) -> None:
    service = await create(control, spec("web"))
    version = service.meta.version.index
    await update(control, service, scaled(3), version)
    with pytest.raises(VersionConflictError, match=r"replicated\.replicas"):
        await update(control, service, scaled(5), version)


async def test_the_planners_own_writes_are_no_conflict(control: ControlRpcs, store: MemoryStore) -> None:
    service = await create(control, spec("web"))
    version = service.meta.version.index
    touched = Service.FromString(service.SerializeToString())
    touched.update_status.message = "planned"
    store.put(touched)
    assert (await update(control, service, scaled(3), version)).spec.replicated.replicas == 3


async def test_a_change_between_decision_and_commit_is_decided_anew(control: ControlRpcs, store: MemoryStore) -> None:
    service = await create(control, spec("web"))
    touched = Service.FromString(service.SerializeToString())
    touched.update_status.message = "planned meanwhile"
    store.before_propose = lambda: store.put(touched)
    updated = await update(control, service, scaled(3), service.meta.version.index)
    assert (updated.spec.replicated.replicas, updated.update_status.message) == (3, "planned meanwhile")


async def test_an_update_that_changes_nothing_writes_nothing(control: ControlRpcs, store: MemoryStore) -> None:
    service = await create(control, spec("web"))
    before = store.snapshot.index
    assert await update(control, service, lambda s: None) == service
    assert store.snapshot.index == before


async def test_a_service_cannot_change_its_name_or_mode(control: ControlRpcs) -> None:
    service = await create(control, spec("web"))
    with pytest.raises(RefusedError, match="cannot be renamed"):
        await update(control, service, lambda s: s.annotations.MergeFrom(spec("web2").annotations))
    with pytest.raises(RefusedError, match="mode"):
        await update(control, service, lambda s: getattr(s, "global").SetInParent())


async def test_rollback_goes_back_and_says_so(control: ControlRpcs) -> None:
    service = await create(control, spec("web"))
    with pytest.raises(RefusedError, match="no earlier version"):
        await control.UpdateService(UpdateServiceRequest(id="web", rollback=True), None)
    await update(control, service, scaled(3))
    await update(control, service, scaled(5))
    back = (await control.UpdateService(UpdateServiceRequest(id="web", rollback=True), None)).service
    assert (back.spec.replicated.replicas, back.update_status.state) == (3, UpdateStatus.ROLLBACK_STARTED)
    first = service.spec_version.index
    back = (await control.UpdateService(UpdateServiceRequest(id="web", rollback=True, rollback_to=first), None)).service
    assert back.spec.replicated.replicas == 1
    with pytest.raises(NotFoundError, match="no kept version 99999"):
        await control.UpdateService(UpdateServiceRequest(id="web", rollback=True, rollback_to=99999), None)


async def test_the_conflict_says_who_was_faster(control: ControlRpcs) -> None:
    service = await create(control, spec("web"))
    set_caller(Caller(ADMIN, "ann"))
    await update(control, service, scaled(3), service.meta.version.index)
    set_caller(Caller(ADMIN, "bob"))
    with pytest.raises(VersionConflictError, match=r"was changed by ann \(replicated\.replicas\)"):
        await update(control, service, scaled(5), service.meta.version.index)
    changed = await update(control, service, scaled(5))
    assert (changed.spec_changed_by, changed.history[0].changed_by) == ("bob", "ann")


async def command(control: ControlRpcs, which: UpdateServiceRequest.Command.ValueType) -> UpdateStatus:
    request = UpdateServiceRequest(id="web", command=which)
    return (await control.UpdateService(request, None)).service.update_status


async def test_an_update_is_paused_and_resumed(control: ControlRpcs, store: MemoryStore) -> None:
    service = await create(control, spec("web"))
    set_caller(Caller(ADMIN, "ann"))
    with pytest.raises(RefusedError, match="no update under way"):
        await command(control, UpdateServiceRequest.PAUSE)
    with pytest.raises(RefusedError, match="no paused update"):
        await command(control, UpdateServiceRequest.RESUME)
    service.update_status.state = UpdateStatus.ROLLBACK_STARTED
    store.put(service)
    held = await command(control, UpdateServiceRequest.PAUSE)
    assert (held.state, held.message.startswith("rollback paused by ann at ")) == (UpdateStatus.ROLLBACK_PAUSED, True)
    assert await command(control, UpdateServiceRequest.PAUSE) == held
    resumed = await command(control, UpdateServiceRequest.RESUME)
    assert (resumed.state, resumed.HasField("resumed_at")) == (UpdateStatus.ROLLBACK_STARTED, True)


async def test_a_time_zone_must_be_known(control: ControlRpcs) -> None:
    job = spec("night")
    job.global_job.SetInParent()
    job.schedule.expression, job.schedule.time_zone = "@daily", "Mars/Olympus"
    with pytest.raises(RefusedError, match="time zone Mars/Olympus, which this manager does not know"):
        await create(control, job)
    job.schedule.time_zone = "Europe/Berlin"
    assert (await create(control, job)).spec.schedule.time_zone == "Europe/Berlin"


async def test_a_job_that_is_forced_begins_another_run(control: ControlRpcs) -> None:
    job = spec("batch")
    job.replicated_job.total_completions = 2
    made = await create(control, job)
    changed = await update(control, made, lambda s: s.task.container.env.append("A=1"))
    assert changed.job_iteration.index == made.job_iteration.index == 0
    again = await update(control, changed, lambda s: setattr(s.task, "force_update", 1))
    assert again.job_iteration.index == 1


async def test_a_removed_service_frees_its_name_and_port(control: ControlRpcs, store: MemoryStore) -> None:
    service = await create(control, spec("web", port=8080))
    assert (await control.RemoveService(RemoveRequest(id="web"), None)).id == service.id
    assert store.snapshot.services[service.id].pending_delete
    with pytest.raises(NotFoundError):
        await control.GetService(GetRequest(id="web"), None)
    with pytest.raises(RefusedError, match="was removed"):
        await update(control, service, scaled(2))
    await create(control, spec("web", port=8080))


async def test_an_ambiguous_prefix_names_the_candidates(control: ControlRpcs, store: MemoryStore) -> None:
    store.put(Service(id="abc1", spec=spec("one")), Service(id="abc2", spec=spec("two")))
    with pytest.raises(BadRequestError, match="abc1, abc2"):
        await control.GetService(GetRequest(id="abc"), None)


# Filters


async def test_filters_are_all_met_by_any_of_their_values(control: ControlRpcs) -> None:
    for name, tier in (("web", "front"), ("api", "back"), ("db", "back")):
        wanted = spec(name)
        wanted.annotations.labels["tier"] = tier
        await create(control, wanted)

    async def names(**wanted: Any) -> list[str]:
        answer = await control.ListServices(ListRequest(filter=wanted), None)  # type: ignore[arg-type]  # a dict does
        return [s.spec.annotations.name for s in answer.services]

    assert await names() == ["api", "db", "web"]
    assert await names(names=["web", "db"]) == ["db", "web"]
    assert await names(labels={"tier": "back"}, name_prefixes=["a"]) == ["api"]
    assert await names(labels={"tier": ""}) == ["api", "db", "web"]
    assert await names(labels={"zone": ""}) == []


async def test_tasks_are_found_by_service_node_and_state(control: ControlRpcs, store: MemoryStore) -> None:
    service = await create(control, spec("web"))
    for number, state in enumerate((TaskState.RUNNING, TaskState.SHUTDOWN)):
        task = Task(id=f"t{number}", service_id=service.id, node_id=f"n{number}", desired_state=state, slot=1)
        store.put(task)

    async def ids(**wanted: Any) -> list[str]:
        return [t.id for t in (await control.ListTasks(ListTasksRequest(**wanted), None)).tasks]

    assert await ids() == ["t0", "t1"]
    assert await ids(service_ids=["web"], desired_states=[TaskState.RUNNING]) == ["t0"]
    assert await ids(node_ids=["n1"]) == ["t1"]
    assert await ids(service_ids=["gone"]) == []


# Secrets, configs, networks


async def test_a_secrets_data_never_comes_back(control: ControlRpcs, store: MemoryStore) -> None:
    request = CreateSecretRequest()
    request.spec.annotations.name = "key"
    request.spec.data = b"hush"
    secret = (await control.CreateSecret(request, None)).secret
    assert store.snapshot.secrets[secret.id].spec.data == b"hush"
    answers = [
        secret,
        (await control.GetSecret(GetRequest(id="key"), None)).secret,
        *(await control.ListSecrets(ListRequest(), None)).secrets,
    ]
    assert all(b"hush" not in answer.SerializeToString() for answer in answers)
    assert all(b"hush" not in entry.reply for entry in store.proposed)


async def test_what_a_service_uses_is_not_removed(control: ControlRpcs) -> None:
    for make, request in ((control.CreateSecret, CreateSecretRequest()), (control.CreateConfig, CreateConfigRequest())):
        request.spec.annotations.name = "thing"
        request.spec.data = b"x"
        await make(request, None)  # type: ignore[operator]  # each with its own request
    network = CreateNetworkRequest()
    network.spec.annotations.name = "thing"
    await control.CreateNetwork(network, None)
    wanted = spec("web")
    wanted.task.networks.add(target="thing")
    wanted.task.container.secrets.add(secret_name="thing").target.name = "s"
    wanted.task.container.configs.add(config_name="thing").target.name = "/c"
    await create(control, wanted)
    removals = (control.RemoveSecret, control.RemoveConfig, control.RemoveNetwork)
    for remove in removals:
        with pytest.raises(RefusedError, match="in use by web"):
            await remove(RemoveRequest(id="thing"), None)
    await control.RemoveService(RemoveRequest(id="web"), None)
    for remove in removals:
        await remove(RemoveRequest(id="thing"), None)


async def test_subnets_asked_for_do_not_overlap(control: ControlRpcs, store: MemoryStore) -> None:
    first = CreateNetworkRequest()
    first.spec.annotations.name = "one"
    made = (await control.CreateNetwork(first, None)).network
    made.subnet = "10.9.0.0/16"  # as the allocator would
    store.put(made)
    second = CreateNetworkRequest()
    second.spec.annotations.name = "two"
    second.spec.ipam.add(subnet="10.9.1.0/24")
    with pytest.raises(RefusedError, match=r"overlaps 10\.9\.0\.0/16 of network one"):
        await control.CreateNetwork(second, None)
    second.spec.annotations.name = "ingress"
    second.spec.ClearField("ipam")
    with pytest.raises(BadRequestError, match="ingress"):
        await control.CreateNetwork(second, None)


# Nodes, the cluster


async def test_a_node_that_is_up_is_removed_only_by_force_and_is_revoked(
    control: ControlRpcs, store: MemoryStore
) -> None:
    store.put(node("n1"))
    with pytest.raises(RefusedError, match="is up"):
        await control.RemoveNode(RemoveNodeRequest(id="host-n1"), None)
    await control.RemoveNode(RemoveNodeRequest(id="host-n1", force=True), None)
    assert store.snapshot.nodes.get("n1") is None
    assert store.snapshot.cluster is not None
    assert "n1" in store.snapshot.cluster.revoked_nodes


async def test_a_manager_is_not_removed_but_demoted_first(control: ControlRpcs) -> None:
    with pytest.raises(RefusedError, match="demote"):
        await control.RemoveNode(RemoveNodeRequest(id="m1", force=True), None)


async def test_a_manager_that_was_just_demoted_is_removed_once_it_is_taken_out(
    control: ControlRpcs, store: MemoryStore
) -> None:
    gone = node("n1")
    gone.status.state = NodeState.DOWN
    store.put(gone)
    store.members["n1"] = MemberStatus("n1", "10.0.0.2:2378", voter=True, reachable=False)
    request = RemoveNodeRequest(id="n1", request_id="once")
    removal = asyncio.ensure_future(control.RemoveNode(request, None))
    await asyncio.sleep(0)
    assert not removal.done()
    del store.members["n1"]
    removed = await removal
    assert store.snapshot.nodes.get("n1") is None
    assert await control.RemoveNode(request, None) == removed, "a repetition is answered, not refused"


async def test_a_removed_node_is_revoked_until_its_longest_certificate_has_ended(
    control: ControlRpcs, store: MemoryStore
) -> None:
    """That of before the setting was lowered is valid for longer than the last one."""
    made = store.snapshot.cluster
    assert made is not None
    hasty, gone, other = Cluster(), node("n1"), node("n2")
    hasty.CopyFrom(made)
    hasty.spec.certificate_validity.FromSeconds(1)
    gone.certificate_ends.FromSeconds(1)
    store.put(hasty, gone, other)
    for name in ("n1", "n2"):
        await control.RemoveNode(RemoveNodeRequest(id=name, force=True), None)
    assert store.snapshot.cluster is not None
    left_s = store.snapshot.cluster.revoked_nodes["n1"].seconds - time.time()
    assert left_s > CERTIFICATE_VALIDITY_S - 60


async def demote(control: ControlRpcs, node_id: str) -> None:
    wanted = (await control.GetNode(GetRequest(id=node_id), None)).node.spec
    wanted.role = NodeRole.WORKER
    await control.UpdateNode(UpdateNodeRequest(id=node_id, spec=wanted), None)


async def test_of_two_edits_of_a_node_the_second_learns_what_changed(control: ControlRpcs, store: MemoryStore) -> None:
    store.put(node("n1"))
    read = (await control.GetNode(GetRequest(id="n1"), None)).node
    lost = node("n1")
    lost.status.state = NodeState.DOWN
    store.put(lost)  # another version, but not another spec
    read.spec.availability = NodeAvailability.DRAIN
    await control.UpdateNode(UpdateNodeRequest(id="n1", version=read.meta.version, spec=read.spec), None)
    assert store.snapshot.nodes["n1"].spec.availability == NodeAvailability.DRAIN
    read.spec.availability = NodeAvailability.PAUSE
    with pytest.raises(VersionConflictError, match=r"changed by somebody else \(availability\)"):
        await control.UpdateNode(UpdateNodeRequest(id="n1", version=read.meta.version, spec=read.spec), None)


async def test_the_last_manager_is_not_demoted_and_the_quorum_not_lost(
    control: ControlRpcs, store: MemoryStore
) -> None:
    with pytest.raises(RefusedError, match="last manager"):
        await demote(control, "m1")
    for number, reachable in ((2, True), (3, False)):
        store.put(node(f"m{number}", NodeRole.MANAGER))
        store.members[f"m{number}"] = MemberStatus(
            f"m{number}", f"10.0.0.{number}:2378", voter=True, reachable=reachable
        )
    with pytest.raises(RefusedError, match="only 1 of the other 2 managers"):
        await demote(control, "m2")
    await demote(control, "m3")  # the dead one may go


async def test_a_node_shows_its_manager(control: ControlRpcs) -> None:
    nodes = (await control.ListNodes(ListRequest(), None)).nodes
    assert [(n.manager_status.address, n.manager_status.leader) for n in nodes] == [("10.0.0.1:2377", True)]


async def test_the_clusters_keys_and_tokens_stay_inside(control: ControlRpcs) -> None:
    shown = (await control.GetCluster(GetClusterRequest(), None)).cluster
    assert (shown.root_ca.key_pem, shown.root_ca.join_tokens.worker) == (b"", "")
    assert (await control.GetJoinTokens(GetJoinTokensRequest(), None)).tokens.worker == "SWMTKN-worker"


async def set_autolock(control: ControlRpcs, *, on: bool) -> str:
    found = (await control.GetCluster(GetClusterRequest(), None)).cluster
    found.spec.autolock = on
    request = UpdateClusterRequest(spec=found.spec, version=found.meta.version)
    assert not (await control.UpdateCluster(request, None)).cluster.unlock_key
    return (await control.GetUnlockKey(GetUnlockKeyRequest(), None)).unlock_key


async def test_autolock_makes_a_key_that_no_reading_shows(control: ControlRpcs, store: MemoryStore) -> None:
    assert not (await control.GetUnlockKey(GetUnlockKeyRequest(), None)).unlock_key
    key = await set_autolock(control, on=True)
    assert key.startswith("SWMKEY-1-")
    assert await set_autolock(control, on=True) == key, "nothing changes, so the key does not either"
    assert store.snapshot.cluster is not None and store.snapshot.cluster.unlock_key == key
    assert key not in str((await control.GetCluster(GetClusterRequest(), None)).cluster)
    watch = control.Watch(WatchRequest(resume_from=1), None)
    seen = [await anext(watch) for _ in range(2)]
    assert seen[1].events[0].object.cluster.spec.autolock and key not in str(seen)
    await control.UpdateCluster(UpdateClusterRequest(rotate_unlock_key=True, request_id="r"), None)
    rotated = (await control.GetUnlockKey(GetUnlockKeyRequest(), None)).unlock_key
    await control.UpdateCluster(UpdateClusterRequest(rotate_unlock_key=True, request_id="r"), None)
    assert rotated == (await control.GetUnlockKey(GetUnlockKeyRequest(), None)).unlock_key != key
    assert not await set_autolock(control, on=False)
    assert await set_autolock(control, on=True) not in (key, rotated, "")


async def test_without_autolock_there_is_nothing_to_rotate_or_unlock(control: ControlRpcs) -> None:
    with pytest.raises(RefusedError, match="cluster update --autolock on"):
        await control.UpdateCluster(UpdateClusterRequest(rotate_unlock_key=True), None)
    with pytest.raises(RefusedError, match="not locked"):
        await control.Unlock(UnlockRequest(unlock_key="x"), None)


async def test_info_counts(control: ControlRpcs, store: MemoryStore) -> None:
    store.put(node("n1"))
    lost = node("n2")
    lost.status.state = NodeState.DOWN
    store.put(lost)
    await create(control, spec("web"))
    info = await control.GetInfo(GetInfoRequest(), None)
    assert (info.cluster_id, info.leader_id, info.nodes, info.nodes_ready, info.services) == ("c1", "m1", 3, 2, 1)
    assert [m.address for m in info.managers] == ["10.0.0.1:2377"]
    assert store.snapshot.id_of_name(ObjectKind.SERVICE, "web")


# Watching


async def test_a_watch_begins_with_a_version_and_hides_secrets(control: ControlRpcs, store: MemoryStore) -> None:
    start = store.snapshot.index
    request = CreateSecretRequest()
    request.spec.annotations.name = "key"
    request.spec.data = b"hush"
    await control.CreateSecret(request, None)
    service = await create(control, spec("web"))
    await update(control, service, scaled(2))
    watch = control.Watch(WatchRequest(resume_from=start), None)
    messages = [await anext(watch) for _ in range(4)]
    assert [len(m.events) for m in messages] == [0, 1, 1, 1]
    assert messages[0].version == start
    assert b"hush" not in b"".join(m.SerializeToString() for m in messages)
    changed = messages[3].events[0]
    before, after = changed.old_object.service, changed.object.service
    assert (before.spec.replicated.replicas, after.spec.replicated.replicas) == (1, 2)


async def test_a_watch_shows_only_what_is_asked_for(control: ControlRpcs, store: MemoryStore) -> None:
    request = WatchRequest(resume_from=store.snapshot.index, kinds=[ObjectKind.SERVICE])
    request.filter.names.append("web")
    for name in ("api", "web"):
        await create(control, spec(name))
    watch = control.Watch(request, None)
    assert not (await anext(watch)).events
    assert (await anext(watch)).events[0].object.service.spec.annotations.name == "web"


async def test_a_watch_cannot_resume_from_what_is_forgotten(control: ControlRpcs, store: MemoryStore) -> None:
    await create(control, spec("web"))
    store.ring.reset(store.snapshot.index)
    with pytest.raises(TooOldError, match="list anew"):
        async for _ in control.Watch(WatchRequest(resume_from=1), None):
            pass
