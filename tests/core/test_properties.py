"""Whatever happens, in whatever order: the invariants hold after every commit, and the cluster comes to rest as asked.

The invariants themselves are asserted by `SimulatedCluster` at each commit; here are the histories.
"""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from swarm_api.objects_pb2 import Network, Object, ObjectKind, Secret, Service, Task, UpdateStatus
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.store_pb2 import Change, ChangeSet
from swarm_api.types_pb2 import NodeAvailability, Share, TaskState, UpdateConfig
from swarm_manager.api.update_commands import promoted, rolled_back
from swarm_manager.core.codec import dump, load
from swarm_manager.core.invariants import index_drift
from swarm_manager.core.machine import Committed, Conflict, apply
from swarm_manager.core.orchestrate.canary import size_of
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import Snapshot

from tests.core.simulated import SimulatedCluster, service_spec

#: Histories tried in one run; more of them find rarer things (CORE_EXAMPLES=300).
EXAMPLES = int(os.environ.get("CORE_EXAMPLES", "8"))

NODES = ("n1", "n2", "n3")
SERVICES = ("web", "db", "all")
CHANGES = ("image", "replicas", "remove", "nothing", "rebalance", "canary", "promote", "roll back", "secret")
ENDS = (TaskState.FAILED, TaskState.COMPLETE, TaskState.REJECTED)

Step = Callable[[SimulatedCluster], None]


def exists(cluster: SimulatedCluster, name: str) -> bool:
    return cluster.snapshot.id_of_name(ObjectKind.SERVICE, name) is not None


def spec_of(name: str, replicas: int, order: int, action: int) -> ServiceSpec:
    spec = service_spec(name, replicas=replicas, networks=("net-back",))
    if name == "all":
        spec.ClearField("replicated")
        getattr(spec, "global").SetInParent()
    if name == "web":
        spec.endpoint.ports.add(target_port=80, published_port=8080)
        spec.endpoint.ports.add(target_port=81)
    spec.rebalance = name == "web"
    spec.update.parallelism = 2
    spec.update.order = order
    spec.update.failure_action = action
    return spec


@st.composite
def creations(draw: st.DrawFn) -> Step:
    name = draw(st.sampled_from(SERVICES))
    replicas = draw(st.integers(0, 5))
    order = draw(st.sampled_from((UpdateConfig.STOP_FIRST, UpdateConfig.START_FIRST)))
    action = draw(st.sampled_from((UpdateConfig.PAUSE_UPDATE, UpdateConfig.CONTINUE, UpdateConfig.ROLLBACK)))

    def create(cluster: SimulatedCluster) -> None:
        if f"s-{name}" not in cluster.snapshot.services:
            cluster.create(spec_of(name, replicas, order, action))

    return create


@st.composite
def service_changes(draw: st.DrawFn) -> Step:
    name = draw(st.sampled_from(SERVICES))
    image = draw(st.sampled_from(("app:1", "app:2", "broken:1", "rejected:1")))
    replicas = draw(st.integers(0, 5))
    what = draw(st.sampled_from(CHANGES))

    def change(cluster: SimulatedCluster) -> None:
        if not exists(cluster, name):
            return
        if what == "image":
            cluster.update(name, image=image)
        elif what == "replicas" and name != "all":
            cluster.update(name, replicas=replicas)
        elif what == "canary":
            spec = copy_of(cluster.service(name).spec)
            spec.task.container.image = image
            cluster.respecify(name, spec, Share(percent=40))
        elif what == "promote" and cluster.service(name).HasField("canary"):
            cluster.put(promoted(cluster.service(name), "ann", cluster.now))
        elif what == "roll back" and cluster.service(name).HasField("previous_spec"):
            cluster.put(rolled_back(cluster.service(name), 0, cluster.now))
        elif what == "secret":
            spec = copy_of(cluster.service(name).spec)
            del spec.task.container.secrets[:]
            spec.task.container.secrets.add(secret_id=f"secret-{replicas % 2}")
            cluster.respecify(name, spec)
        elif what == "remove":
            cluster.remove(name)
        elif what == "rebalance":
            asked = copy_of(cluster.service(name))
            asked.rebalance_asked_at.CopyFrom(cluster.now)
            cluster.put(asked)
        else:
            cluster.put(copy_of(cluster.service(name)))

    return change


@st.composite
def node_events(draw: st.DrawFn) -> Step:
    node_id = draw(st.sampled_from(NODES))
    what = draw(st.sampled_from(("lose", "connect", "drain", "activate", "pause", "hang", "wake", "repeat")))
    shuffle = draw(st.randoms(use_true_random=False)).shuffle
    availability = {
        "drain": NodeAvailability.DRAIN,
        "activate": NodeAvailability.ACTIVE,
        "pause": NodeAvailability.PAUSE,
    }

    def happen(cluster: SimulatedCluster) -> None:
        if what == "lose":
            cluster.lose(node_id)
        elif what == "connect":
            cluster.connect(node_id)
        elif what in ("hang", "wake"):
            cluster.workers[node_id].hangs = what == "hang"
        elif what == "repeat":
            cluster.repeat_reports(node_id, shuffle)
        else:
            cluster.set_availability(node_id, availability[what])

    return happen


@st.composite
def task_ends(draw: st.DrawFn) -> Step:
    name = draw(st.sampled_from(SERVICES))
    number = draw(st.integers(0, 5))
    state = draw(st.sampled_from(ENDS))

    def end(cluster: SimulatedCluster) -> None:
        running = [task for task in cluster.running(name) if task.node_id not in cluster.cut_off]
        if running:
            cluster.end_task(running[number % len(running)], state)

    return end


@st.composite
def passing_time(draw: st.DrawFn) -> Step:
    seconds = draw(st.sampled_from((0.0, 0.1, 5.0, 30.0)))
    how = draw(st.sampled_from(("plan", "workers", "both", "settle", "run", "die")))
    committed = draw(st.integers(0, 6))

    def act(cluster: SimulatedCluster) -> None:
        if how == "run":
            cluster.run(seconds)
            return
        cluster.now_ns += int(seconds * 1e9)
        if how in ("plan", "both"):
            cluster.plan()
        if how in ("workers", "both"):
            cluster.step_workers()
        if how == "die":
            cluster.plan_and_die(committed)
        if how == "settle":
            cluster.settle()

    return act


STEPS = st.lists(
    st.one_of(creations(), service_changes(), node_events(), task_ends(), passing_time(), passing_time()), max_size=25
)


def new_cluster(*, forgetful: bool) -> SimulatedCluster:
    cluster = SimulatedCluster(*NODES, forgetful=forgetful)
    cluster.add_network("back")
    for number in range(2):
        secret = Secret(id=f"secret-{number}")
        secret.spec.annotations.name, secret.spec.data = f"key{number}", b"k"
        cluster.put(secret)
    for worker in cluster.workers.values():
        worker.broken_images = {"broken:1": TaskState.FAILED, "rejected:1": TaskState.REJECTED}
    return cluster


def mend(cluster: SimulatedCluster) -> None:
    """The world becomes well again: nodes return, images work."""
    for worker in cluster.workers.values():
        worker.broken_images, worker.hangs = {}, False
    for node_id in NODES:
        cluster.connect(node_id)
        cluster.set_availability(node_id, NodeAvailability.ACTIVE)
    cluster.run(1000)


@pytest.mark.parametrize("forgetful", [False, True], ids=["one leader", "a new leader at every plan"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_history_ends_as_the_specs_say(steps: list[Step], forgetful: bool) -> None:
    cluster = new_cluster(forgetful=forgetful)
    for step in steps:
        step(cluster)
    mend(cluster)
    for service in cluster.snapshot.services.values():
        name = service.spec.annotations.name
        assert not service.pending_delete
        wanted = 3 if name == "all" else service.spec.replicated.replicas
        assert len(cluster.running(name)) == wanted
        if service.update_status.state not in (UpdateStatus.PAUSED, UpdateStatus.ROLLBACK_PAUSED):
            check_versions(service, [task.spec.container.image for task in cluster.running(name)])


def check_versions(service: Service, images: list[str]) -> None:
    """All tasks are what the spec says; of a canary at least its share, and all others what they were before it."""
    present = images.count(service.spec.task.container.image)
    if not service.HasField("canary"):
        assert present == len(images)
        return
    assert service.update_status.state == UpdateStatus.CANARY or not images
    assert present >= (size_of(service.canary.share, len(images)) if images else 0)
    assert set(images) <= {service.spec.task.container.image, service.canary.stable.task.container.image}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_a_snapshot_survives_writing_and_reading(steps: list[Step]) -> None:
    cluster = new_cluster(forgetful=False)
    for step in steps:
        step(cluster)
    written = b"".join(dump(cluster.snapshot))
    read = load(written)
    assert b"".join(dump(read)) == written
    assert index_drift(read) == []


# The state machine under entries that nobody in his right mind proposes

NUMBERS = st.integers(0, 900)
IDS = st.sampled_from(("", "a", "b", "c"))


@st.composite
def wild_objects(draw: st.DrawFn) -> tuple[int, Object]:
    kind = draw(st.sampled_from(("task", "service", "network", "node", "secret", "stack", "cluster", "")))
    wrapped = Object()
    if not kind:
        return draw(st.integers(0, 12)), wrapped
    obj = getattr(wrapped, kind)
    obj.id = draw(IDS)
    if isinstance(obj, Task):
        obj.service_id, obj.node_id, obj.slot = draw(IDS), draw(IDS), draw(st.integers(0, 2))
        obj.desired_state, obj.status.state = draw(NUMBERS), draw(NUMBERS)  # type: ignore[assignment]  # any number
        for _ in range(draw(st.integers(0, 2))):
            obj.networks.add(network_id=draw(IDS), address=draw(st.sampled_from(("", "10.0.0.9", "nonsense"))))
    elif isinstance(obj, Service):
        obj.spec.annotations.name = draw(IDS)
        obj.pending_delete = draw(st.booleans())
        obj.spec.endpoint.ports.add(published_port=draw(st.integers(0, 3)))
        obj.spec.task.networks.add(target=draw(IDS))
        obj.endpoint.virtual_ips.add(network_id=draw(IDS), address=draw(st.sampled_from(("", "10.0.0.9"))))
    elif isinstance(obj, Network):
        obj.spec.annotations.name = draw(IDS)
        obj.pending_delete = draw(st.booleans())
        obj.gateways[draw(IDS)] = "10.0.0.9"
    return draw(st.one_of(st.just(KIND_NUMBERS[kind]), st.integers(0, 12))), wrapped


KIND_NUMBERS = {kind.lower(): number for kind, number in ObjectKind.items()}


@st.composite
def wild_entries(draw: st.DrawFn) -> ChangeSet:
    entry = ChangeSet(request_id=draw(IDS), schema_version=draw(st.sampled_from((0, 1, 1, 1, 2))))
    for _ in range(draw(st.integers(0, 4))):
        kind, wrapped = draw(wild_objects())
        change = Change(id=draw(IDS), object=wrapped, delete=draw(st.booleans()))
        if draw(st.booleans()) and (noun := wrapped.WhichOneof("kind")):
            change.id = getattr(wrapped, noun).id
        change.kind = kind  # type: ignore[assignment]  # any number
        if draw(st.booleans()):
            change.expected_version = draw(st.integers(0, 5))
        entry.changes.append(change)
    return entry


@settings(max_examples=10 * EXAMPLES, deadline=None)
@given(entries=st.lists(wild_entries(), max_size=12))
def test_apply_is_total_and_all_or_nothing(entries: list[ChangeSet]) -> None:
    snapshot = Snapshot()
    for index, entry in enumerate(entries, start=1):
        written = b"".join(dump(snapshot))
        after, outcome = apply(snapshot, index, entry)
        assert b"".join(dump(snapshot)) == written, "the snapshot before changed"
        assert after.index == index
        assert index_drift(after) == []
        if isinstance(outcome, Conflict):
            assert outcome.reason.endswith(".")
            assert after.tasks is snapshot.tasks
            assert after.services is snapshot.services
        else:
            assert isinstance(outcome, Committed)
        snapshot = after


@settings(max_examples=5 * EXAMPLES, deadline=None)
@given(entries=st.lists(wild_entries(), max_size=12))
def test_two_managers_that_apply_the_same_are_the_same(entries: list[ChangeSet]) -> None:
    one = other = Snapshot()
    for index, entry in enumerate(entries, start=1):
        one, first = apply(one, index, entry)
        other, second = apply(load(b"".join(dump(other))), index, entry)
        assert first == second
    assert b"".join(dump(one)) == b"".join(dump(other))
