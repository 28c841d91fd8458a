"""nft takes our rules, and a table that was changed step by step is the table that is written at once."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from swarm_worker.net import balance, ingress
from swarm_worker.net.errors import ProgramError
from swarm_worker.net.programs import run
from swarm_worker.net.tables import Rules, Table

pytestmark = pytest.mark.integration

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000

ADDRESS = st.integers(1, 6).map("10.128.1.{}".format)
TARGETS = st.lists(ADDRESS, min_size=1, max_size=4, unique=True).map(tuple)
VIPS = st.builds(
    balance.VirtualIps,
    addresses=st.frozensets(ADDRESS),
    services=st.dictionaries(
        st.sampled_from([("sw-a", "10.0.0.1"), ("sw-b", "10.0.0.2"), ("sw-a", "10.0.0.3")]), TARGETS
    ),
    hairpins=st.dictionaries(ADDRESS, st.sampled_from(["10.128.1.8", "10.128.1.9"])),
)
PORTS = st.builds(
    ingress.Ports,
    targets=st.dictionaries(
        st.tuples(st.sampled_from(["tcp", "udp"]), st.integers(80, 82)),
        st.lists(ADDRESS.map("{} . 80".format), min_size=1, max_size=3, unique=True).map(tuple),
    ),
    subnets=st.frozensets(st.sampled_from(["10.128.1.0/24", "10.128.2.0/24", "10.128.4.0/22"])),
    bridges=st.frozensets(st.sampled_from(["sw-a", "sw-b"])),
)


def alone(work: Callable[[], T]) -> T:
    """Do it in a network namespace of its own (a thread's, so that it vanishes with the thread)."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def contents(table: str) -> Any:
    """The table as nft has it, without handles; elements and objects in no order, rules in theirs."""
    listed = json.loads(run(["nft", "-j", "-s", "list", "table", "ip", table]))["nftables"]
    rules: dict[str, list[str]] = {}
    others = []
    for item in listed:
        (kind, body), *_ = item.items()
        body.pop("handle", None)
        if kind == "rule":
            rules.setdefault(body["chain"], []).append(json.dumps(body["expr"], sort_keys=True))
        elif kind != "metainfo":
            body["elem"] = sorted(json.dumps(element, sort_keys=True) for element in body.get("elem", []))
            others.append(json.dumps({kind: body}, sort_keys=True))
    return rules, sorted(others)


def changed_step_by_step(name: str, states: list[Rules]) -> tuple[Any, Any]:
    changing, written = Table(name), Table(name)
    for state in states:
        changing.apply(state)
    by_steps = contents(name)
    written.apply(states[-1])
    return by_steps, contents(name)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VIPS, min_size=2, max_size=4))
def test_steps_lead_to_the_same_virtual_addresses(states: list[Rules]) -> None:
    by_steps, at_once = alone(lambda: changed_step_by_step(balance.TABLE, states))
    assert by_steps == at_once


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PORTS, min_size=2, max_size=4))
def test_steps_lead_to_the_same_published_ports(states: list[Rules]) -> None:
    by_steps, at_once = alone(lambda: changed_step_by_step(ingress.TABLE, states))
    assert by_steps == at_once


def test_a_table_that_is_gone_or_bent_is_written_anew() -> None:
    rules = balance.VirtualIps(frozenset({"10.0.0.1"}), {("sw-a", "10.0.0.1"): ("10.0.0.7",)}, {})
    more = balance.VirtualIps(frozenset({"10.0.0.1"}), {("sw-a", "10.0.0.1"): ("10.0.0.7", "10.0.0.8")}, {})

    def work() -> None:
        table = Table(balance.TABLE)
        table.apply(rules)
        table.verify()
        whole = contents(balance.TABLE)
        for damage in ("flush ruleset", f"flush chain ip {balance.TABLE} input"):
            run(["nft", damage])
            table.verify()
            assert contents(balance.TABLE) == whole
        run(["nft", "flush ruleset"])
        table.apply(more)  # the change alone would be refused
        assert "10.0.0.8" in str(contents(balance.TABLE))
        table.remove()
        assert not table.exists()
        table.apply(rules)
        assert contents(balance.TABLE) == whole

    alone(work)


def test_a_refused_change_changes_nothing() -> None:
    good = balance.VirtualIps(frozenset({"10.0.0.1"}), {}, {})
    bad = balance.VirtualIps(frozenset({"10.0.0.1", "nonsense"}), {}, {})

    def work() -> None:
        table = Table(balance.TABLE)
        table.apply(good)
        whole = contents(balance.TABLE)
        with pytest.raises(ProgramError, match="nft"):
            table.apply(bad)
        assert contents(balance.TABLE) == whole
        table.apply(good)
        assert contents(balance.TABLE) == whole

    alone(work)
