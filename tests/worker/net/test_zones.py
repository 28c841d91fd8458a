from __future__ import annotations

import json

import pytest
from swarm_worker.net.dns import zones_of
from swarm_worker.net.zones import Finding, Verdict, Zones

from tests.worker.net.assignments import OTHER, endpoint, network, plan, service


@pytest.fixture
def zones() -> Zones:
    """Two networks, with a task (10.128.1.11, 10.128.2.11) in both; sent through the file as in reality."""
    made = zones_of(
        plan(
            network("red", 1),
            service("red", "Shop_Web", "10.128.1.100", "web", "db"),
            service("red", "rr", "", "web"),
            service("red", "empty", ""),
            endpoint("red", "Shop_Web", 1, "10.128.1.11"),
            endpoint("red", "Shop_Web", 2, "10.128.1.12", OTHER),
            endpoint("red", "Shop_Web", 3, "10.128.1.13", serving=False),
            endpoint("red", "rr", 0, "10.128.1.20"),
            network("blue", 2),
            service("blue", "db", "10.128.2.100"),
            endpoint("blue", "Shop_Web", 1, "10.128.2.11"),
        )
    )
    return Zones.from_json(json.loads(json.dumps(made.as_json())))


def red(zones: Zones, name: str, asker: str = "10.128.1.99") -> list[str] | Verdict:
    finding = zones.find("10.128.1.1", asker, name)
    return list(finding.addresses) if finding.verdict is Verdict.ANSWER else finding.verdict


def test_a_service_is_its_virtual_address_or_all_who_serve(zones: Zones) -> None:
    assert red(zones, "shop_web") == ["10.128.1.100"]
    assert red(zones, "tasks.shop_web") == ["10.128.1.11", "10.128.1.12"]
    assert red(zones, "rr") == red(zones, "tasks.rr") == ["10.128.1.20"]
    assert red(zones, "empty") == red(zones, "tasks.empty") == []


def test_an_alias_may_be_shared_but_never_takes_a_services_name(zones: Zones) -> None:
    assert red(zones, "web") == ["10.128.1.100", "10.128.1.20"]
    assert red(zones, "tasks.web") == ["10.128.1.11", "10.128.1.12", "10.128.1.20"]
    assert zones.find("10.128.2.1", "10.128.2.9", "db").addresses == ["10.128.2.100"]


def test_a_task_has_a_name_and_its_address_leads_back(zones: Zones) -> None:
    assert red(zones, "shop_web.2") == ["10.128.1.12"]
    assert red(zones, "rr.node1") == ["10.128.1.20"]
    found = zones.find("10.128.1.1", "10.128.1.99", "12.1.128.10.in-addr.arpa")
    assert found == Finding(Verdict.POINTER, pointer="shop_web.2")


def test_an_asker_in_two_networks_sees_both_the_asked_one_first(zones: Zones) -> None:
    assert red(zones, "db", asker="10.128.1.11") == ["10.128.1.100"]
    assert zones.find("10.128.2.1", "10.128.2.11", "shop_web").addresses == ["10.128.1.100"]
    assert zones.find("10.128.2.1", "10.128.2.12", "shop_web").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("nobody", Verdict.UNKNOWN),
        ("tasks.nobody", Verdict.UNKNOWN),
        ("13.1.128.10.in-addr.arpa", Verdict.UNKNOWN),
        ("example.com", Verdict.FOREIGN),
        ("shop_web.9", Verdict.FOREIGN),
        ("1.2.0.192.in-addr.arpa", Verdict.FOREIGN),
        ("x.in-addr.arpa", Verdict.FOREIGN),
        ("", Verdict.UNKNOWN),
    ],
)
def test_what_is_nobodys_here(zones: Zones, name: str, verdict: Verdict) -> None:
    assert red(zones, name) is verdict


def test_a_stranger_is_refused_and_the_node_itself_is_not(zones: Zones) -> None:
    assert red(zones, "rr", asker="10.128.2.9") is Verdict.REFUSED
    assert red(zones, "rr", asker="10.128.1.1") == ["10.128.1.20"]
    assert zones.find("10.128.9.1", "10.128.9.2", "rr").verdict is Verdict.REFUSED
