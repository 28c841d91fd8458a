from __future__ import annotations

import itertools

import pytest
from swarm_api.dispatcher_pb2 import Assignment, NetworkAssignment
from swarm_worker.net.plan import mac_of, reserved_range, wanted

from tests.worker.net.assignments import ME, OTHER, endpoint, gateway, network, plan, port, service


def test_the_order_of_assignments_makes_no_difference() -> None:
    items = [
        network("red", 1),
        network("blue", 2),
        gateway("red", "10.128.1.2"),
        endpoint("red", "web", 1, "10.128.1.11"),
        endpoint("red", "web", 2, "10.128.1.12", OTHER),
        service("red", "web", "10.128.1.100", "w", "www"),
    ]
    plans = [wanted(order, ME) for order in itertools.islice(itertools.permutations(items), 0, 720, 37)]
    assert all(one == plans[0] for one in plans)
    assert sorted(plans[0].networks) == ["blue", "red"]


def test_peers_are_what_is_on_other_nodes() -> None:
    red = plan(
        network("red", 1),
        gateway("red", "10.128.1.2"),
        endpoint("red", "web", 1, "10.128.1.11"),
        endpoint("red", "web", 2, "10.128.1.12", OTHER, serving=False),
    ).networks["red"]
    assert red.peers(ME) == {"10.128.1.2": "192.0.2.2", "10.128.1.12": "192.0.2.2"}
    assert red.peers(OTHER) == {"10.128.1.2": "192.0.2.2", "10.128.1.11": "192.0.2.1"}
    assert red.serving("web") == ("10.128.1.11",)


@pytest.mark.parametrize(("now_on", "before_on", "is_peer"), [(ME, OTHER, False), (OTHER, ME, True)])
def test_of_an_address_in_transit_the_serving_endpoint_counts(now_on: str, before_on: str, is_peer: bool) -> None:
    red = plan(
        network("red", 1),
        endpoint("red", "web", 1, "10.128.1.11", before_on, serving=False, task="old"),
        endpoint("red", "web", 1, "10.128.1.11", now_on, task="new"),
    ).networks["red"]
    assert ("10.128.1.11" in red.peers(ME)) is is_peer


def test_members_of_networks_this_node_is_not_in_are_left_out() -> None:
    assert plan(endpoint("red", "web", 1, "10.128.1.11"), service("red", "web"), gateway("red", "10.128.1.2")) == plan()


def test_ports_lead_to_the_serving_endpoints_in_the_ingress_network() -> None:
    items = [
        network("ing", 2, ingress=True),
        endpoint("ing", "web", 1, "10.128.2.11"),
        endpoint("ing", "web", 2, "10.128.2.12", OTHER),
        endpoint("ing", "web", 3, "10.128.2.13", serving=False),
        endpoint("ing", "db", 1, "10.128.2.14"),
        port("ing", "web", 8080, 80),
        port("ing", "web", 5353, 53, "UDP"),
        port("ing", "web", 9090, 90, mode="HOST"),
    ]
    found = [(p.protocol, p.published_port, p.target_port, p.targets) for p in plan(*items).ports]
    targets = ("10.128.2.11", "10.128.2.12")
    assert found == [("udp", 5353, 53, targets), ("tcp", 8080, 80, targets)]


def test_what_makes_no_sense_is_named_and_the_rest_is_planned() -> None:
    broken = NetworkAssignment(network_id="bad", subnet="10.128.1.5/24", gateway="10.128.1.1")
    too_small = NetworkAssignment(network_id="small", subnet="10.128.1.0/30", gateway="10.128.1.1")
    made = plan(
        Assignment(key="network/bad", network=broken),
        Assignment(key="network/small", network=too_small),
        network("red", 1, driver_opts={"com.docker.network.driver.mtu": "many"}),
        network("blue", 2),
        endpoint("blue", "web", 1, "10.128.2.300"),
        endpoint("blue", "web", 2, "10.128.2.12"),
    )
    assert sorted(made.networks) == ["blue"]
    assert made.networks["blue"].serving("web") == ("10.128.2.12",)
    assert [sentence.split()[2] for sentence in made.refused] == [
        "endpoint/blue/web1",
        "network/bad",
        "network/red",
        "network/small",
    ]


def test_a_task_is_known_by_all_its_networks() -> None:
    made = plan(
        network("red", 1),
        network("blue", 2),
        endpoint("red", "web", 1, "10.128.1.11"),
        endpoint("blue", "web", 1, "10.128.2.11"),
        endpoint("blue", "db", 1, "10.128.2.12"),
    )
    both = frozenset({"red", "blue"})
    assert made.addresses() == {"10.128.1.11": both, "10.128.2.11": both, "10.128.2.12": frozenset({"blue"})}


@pytest.mark.parametrize(
    ("subnet", "reserved"),
    [("10.128.1.0/24", "10.128.1.0/30"), ("10.128.0.0/16", "10.128.0.0/30"), ("10.0.0.16/29", "10.0.0.16/30")],
)
def test_the_reserve_is_the_begin_of_the_subnet(subnet: str, reserved: str) -> None:
    assert reserved_range(subnet) == reserved


def test_macs_follow_from_addresses() -> None:
    assert mac_of("10.128.1.255") == "02:42:0a:80:01:ff"
