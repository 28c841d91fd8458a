"""Constraints, filters, strategies, addresses and the restart policy's arithmetic."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_api.constraints import ConstraintError, parse_constraint
from swarm_api.objects_pb2 import Cluster, Network, Node, ObjectKind, Task
from swarm_api.specs_pb2 import Placement
from swarm_api.types_pb2 import NodeRole, Platform, RestartPolicy, TaskState
from swarm_manager.core.allocate.addresses import address_number, address_range, address_text, free_address
from swarm_manager.core.allocate.subnets import free_subnet
from swarm_manager.core.allocate.vxlan_ids import FIRST_VNI, LAST_VNI, free_vni
from swarm_manager.core.draft import Draft
from swarm_manager.core.orchestrate.restart import earliest_start_ns, verdict
from swarm_manager.core.orchestrate.slots import Slot
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import SECOND_NS, timestamp

from tests.core.simulated import SimulatedCluster, service_spec


def node() -> Node:
    made = Node(id="abc")
    made.description.hostname = "box1"
    made.status.address = "192.168.0.1"
    made.description.platform.os = "linux"
    made.description.platform.architecture = "amd64"
    made.description.engine.labels["storage"] = "nvme"
    made.spec.annotations.labels["disk"] = "ssd"
    made.spec.role = NodeRole.MANAGER
    return made


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("node.id == abc", True),
        ("node.id != abc", False),
        ("node.hostname==box1", True),
        ("node.ip == 192.168.0.1", True),
        ("node.role == manager", True),
        ("node.role != Manager", False),
        ("node.platform.os == Linux", True),
        ("node.platform.arch == x86_64", True),
        ("node.labels.disk == ssd", True),
        ("node.labels.disk == hdd", False),
        ("node.labels.none == x", False),
        ("node.labels.none != x", True),
        ("engine.labels.storage == nvme", True),
    ],
)
def test_constraints(text: str, met: bool) -> None:
    assert parse_constraint(text).matches(node()) is met


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node.id",
        "node.id = a",
        "node.id ==",
        "== a",
        "node.colour == red",
        "node.labels. == a",
        "node.role == king",
    ],
)
def test_constraints_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConstraintError, match=r"\.$"):
        parse_constraint(text)


# Addresses


@given(st.integers(0, 2**32 - 1))
def test_addresses_are_written_as_others_write_them(number: int) -> None:
    text = address_text(number)
    assert text == str(ipaddress.IPv4Address(number))
    assert address_number(text) == number


def test_the_engines_slice_and_the_broadcast_address_are_not_given_out() -> None:
    span = address_range("10.0.0.0/24")
    assert (address_text(span[0]), address_text(span[-1])) == ("10.0.0.4", "10.0.0.254")
    assert len(address_range("10.0.0.0/29")) == 3


def networked(*used: str, **ipam: str) -> tuple[Draft, Network]:
    draft = Draft(Snapshot())
    network = Network(id="net", subnet="10.0.0.0/29")
    network.spec.annotations.name = "net"
    if ipam:
        network.spec.ipam.add(**ipam)
    draft.put(ObjectKind.NETWORK, network)
    for number, address in enumerate(used):
        put_task(draft, f"t{number}", address)
    return draft, network


def put_task(draft: Draft, task_id: str, address: str, state: int = TaskState.PENDING) -> None:
    task = Task(id=task_id, service_id="s", slot=1)
    task.status.state = state
    task.networks.add(network_id="net", address=address)
    draft.put(ObjectKind.TASK, task)


def test_an_address_that_has_just_become_free_is_the_last_to_be_used_again() -> None:
    draft, network = networked("10.0.0.4")
    put_task(draft, "t0", "10.0.0.4", TaskState.FAILED)
    assert free_address(draft, network) == "10.0.0.5"
    put_task(draft, "t1", "10.0.0.5")
    put_task(draft, "t2", "10.0.0.6")
    assert free_address(draft, network) == "10.0.0.4"
    put_task(draft, "t3", "10.0.0.4")
    assert free_address(draft, network) is None


def test_reserved_addresses_and_ranges_are_kept() -> None:
    draft, network = networked(subnet="10.0.0.0/29", gateway="10.0.0.4", ip_range="10.0.0.4/31")
    assert free_address(draft, network) == "10.0.0.5"


def test_some_addresses_are_kept_for_gateways() -> None:
    draft, network = networked("10.0.0.4")
    assert free_address(draft, network, keep_free=1) == "10.0.0.5"
    assert free_address(draft, network, keep_free=2) is None


def with_pools(*pools: str, prefix: int = 24) -> Draft:
    draft = Draft(Snapshot())
    cluster = Cluster(id="c")
    cluster.spec.address_pools.extend(pools)
    cluster.spec.subnet_prefix_length = prefix
    draft.put(ObjectKind.CLUSTER, cluster)
    return draft


def add_network(draft: Draft, name: str, *, asked: str = "", ingress: bool = False) -> str | None:
    network = Network(id=name)
    network.spec.annotations.name = name
    network.spec.ingress = ingress
    if asked:
        network.spec.ipam.add(subnet=asked)
    subnet = free_subnet(draft, network)
    network.subnet = subnet or ""
    draft.put(ObjectKind.NETWORK, network)
    return subnet


def test_subnets_fill_the_pools_without_overlap() -> None:
    draft = with_pools("10.0.0.0/23", "10.8.0.0/24")
    assert add_network(draft, "own", asked="10.0.0.128/25") == "10.0.0.128/25"
    assert [add_network(draft, f"n{i}") for i in range(3)] == ["10.0.1.0/24", "10.8.0.0/24", None]
    assert add_network(draft, "clash", asked="10.0.1.0/28") is None
    draft.delete(ObjectKind.NETWORK, "n0")
    assert add_network(draft, "again") == "10.0.1.0/24"


def test_a_subnet_never_holds_a_nodes_own_address() -> None:
    draft = with_pools("10.0.0.0/23")
    machine = node()
    machine.status.address = "10.0.0.77"
    draft.put(ObjectKind.NODE, machine)
    assert add_network(draft, "a") == "10.0.1.0/24"


@pytest.mark.parametrize(
    ("pool", "subnet"), [("10.0.0.0/8", "10.0.0.0/16"), ("10.0.0.0/16", "10.0.0.0/20"), ("10.0.0.0/24", "10.0.0.0/24")]
)
def test_the_ingress_network_is_large_but_leaves_most_of_the_pool(pool: str, subnet: str) -> None:
    assert add_network(with_pools(pool), "ingress", ingress=True) == subnet


def test_vxlan_ids_rest_before_they_are_used_again() -> None:
    draft = Draft(Snapshot())
    assert free_vni(draft) == FIRST_VNI
    draft.put(ObjectKind.NETWORK, Network(id="a", vni=FIRST_VNI + 5))
    assert free_vni(draft) == FIRST_VNI + 6
    draft.put(ObjectKind.NETWORK, Network(id="b", vni=LAST_VNI))
    assert free_vni(draft) == FIRST_VNI


# Choosing


def test_binpack_fills_one_node_first() -> None:
    cluster = SimulatedCluster("n1", "n2")
    spec = service_spec("web", replicas=4)
    spec.task.placement.strategy = Placement.BINPACK
    spec.task.resources.reservations.memory_bytes = 2 * 2**30
    cluster.create(spec)
    cluster.run()
    assert cluster.nodes_of("web") == ["n1"] * 4


def test_spread_looks_at_the_service_first_and_at_the_load_then() -> None:
    cluster = SimulatedCluster("n1", "n2", "n3")
    busy = service_spec("busy", replicas=5)
    busy.task.placement.constraints.append("node.id == n1")
    cluster.create(busy)
    cluster.create(service_spec("web", replicas=4))
    cluster.run()
    assert cluster.nodes_of("web") == ["n1", "n2", "n2", "n3"] or cluster.nodes_of("web") == ["n1", "n2", "n3", "n3"]


def test_a_node_that_rejected_a_service_is_avoided() -> None:
    cluster = SimulatedCluster("n1", "n2")
    cluster.workers["n1"].broken_images["app:1"] = TaskState.REJECTED
    cluster.create(service_spec("web", replicas=2))
    cluster.run(30)
    assert cluster.nodes_of("web") == ["n2", "n2"]


def test_platforms_and_generic_resources() -> None:
    cluster = SimulatedCluster("n1", "n2")
    spec = service_spec("arm")
    spec.task.placement.platforms.append(Platform(os="linux", architecture="aarch64"))
    gpu = service_spec("gpu")
    gpu.task.resources.reservations.generic["gpu"] = 1
    cluster.create(spec)
    cluster.create(gpu)
    cluster.run()
    assert cluster.tasks("arm")[0].status.err == "No suitable node: 2 nodes are not of linux/aarch64."
    assert cluster.tasks("gpu")[0].status.err == "No suitable node: 2 nodes lack gpu for a reservation of 1."


def test_an_empty_cluster_says_so() -> None:
    cluster = SimulatedCluster()
    cluster.create(service_spec("web"))
    cluster.run()
    assert cluster.tasks("web")[0].status.err == "No suitable node: the cluster has none."


def test_a_node_without_an_engine_takes_nothing_and_is_named() -> None:
    cluster = SimulatedCluster("n1")
    broken = Node()
    broken.CopyFrom(cluster.snapshot.nodes["n1"])
    broken.description.engine_error = "Docker is not running."
    cluster.put(broken)
    cluster.create(service_spec("web"))
    cluster.run()
    assert cluster.tasks("web")[0].status.err == "No suitable node: 1 node is without a usable engine."


# Restarts


def failed_slot(*ends_s: float) -> Slot:
    slot = Slot((1, ""))
    for number, end_s in enumerate(ends_s):
        task = Task(id=f"t{number}", slot=1)
        task.status.state = TaskState.FAILED
        task.status.timestamp.CopyFrom(timestamp(int(end_s * SECOND_NS)))
        slot.tasks[task.id] = task
    return slot


def last(slot: Slot) -> Task:
    return list(slot.tasks.values())[-1]


def current(_: Task) -> bool:
    return False


@pytest.mark.parametrize(
    ("ends_s", "delay_s"), [((0,), 5), ((0, 10), 5), ((0, 10, 20), 5), ((0, 10, 20, 30), 10), ((0, 10, 20, 30, 40), 20)]
)
def test_a_row_of_failures_is_retried_more_and_more_slowly(ends_s: tuple[float, ...], delay_s: float) -> None:
    slot = failed_slot(*ends_s)
    assert verdict(slot, last(slot), RestartPolicy(), current) == (True, int((ends_s[-1] + delay_s) * SECOND_NS))


def test_the_longest_delay_is_a_minute_and_long_health_ends_the_row() -> None:
    slot = failed_slot(*range(0, 200, 10))
    assert verdict(slot, last(slot), RestartPolicy(), current).not_before_ns == (190 + 60) * SECOND_NS
    slot = failed_slot(0, 10, 20, 30, 5000)
    assert verdict(slot, last(slot), RestartPolicy(), current).not_before_ns == 5005 * SECOND_NS


def test_attempts_are_counted_within_the_window() -> None:
    policy = RestartPolicy(max_attempts=2)
    assert verdict(failed_slot(0, 10), last(failed_slot(0, 10)), policy, current).replace
    slot = failed_slot(0, 10, 20)
    assert not verdict(slot, last(slot), policy, current).replace
    policy.window.seconds = 15
    assert verdict(slot, last(slot), policy, current).replace
    assert earliest_start_ns(slot, policy, current) is not None
    assert earliest_start_ns(slot, RestartPolicy(max_attempts=2), current) is None


def test_attempts_of_another_spec_do_not_count() -> None:
    slot = failed_slot(0, 10, 20)
    assert verdict(slot, last(slot), RestartPolicy(max_attempts=1), lambda _: True).replace


def test_conditions() -> None:
    slot = failed_slot(0)
    complete = last(slot)
    complete.status.state = TaskState.COMPLETE
    assert verdict(slot, complete, RestartPolicy(condition=RestartPolicy.ANY), current).replace
    assert not verdict(slot, complete, RestartPolicy(condition=RestartPolicy.ON_FAILURE), current).replace
    assert not verdict(
        failed_slot(0), last(failed_slot(0)), RestartPolicy(condition=RestartPolicy.NONE), current
    ).replace


def test_a_task_that_is_never_restarted_ends_with_its_node() -> None:
    cluster = SimulatedCluster("n1", "n2")
    spec = service_spec("once")
    spec.task.restart.condition = RestartPolicy.NONE
    cluster.create(spec)
    cluster.run()
    node_id = cluster.nodes_of("once")[0]
    cluster.lose(node_id)
    cluster.run()
    assert [task.status.state for task in cluster.wanted("once")] == [TaskState.RUNNING]
    cluster.remove_node(node_id)
    cluster.run()
    assert [task.status.state for task in cluster.wanted("once")] == [TaskState.ORPHANED]
