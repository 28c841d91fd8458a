"""Managers that are cut off, stopped, demoted, moved and lost; what clients notice of it; reading without a quorum."""

import time

import pytest

from tests.e2e.writers import Writer
from tests.testbed import faults
from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.swarm import API_PORT, Document, Swarm

ANSWER_S = 15  # the contract says 5 s; the rest is what a loaded test machine may add


@pytest.fixture(scope="module")
def hosts(testbed: Testbed) -> list[Host]:
    """Three managers and a worker; no containers are needed."""
    return testbed.renew(4)


@pytest.fixture(scope="module")
def admin(swarm: Swarm) -> str:
    """A context of the client's own, on n4: what becomes of any manager does not touch it."""
    path = swarm.hosts[0].folder / "home" / "admin.tar"
    swarm.cli("context", "create", "admin", host=swarm.hosts[0])
    swarm.cli("context", "export", "admin", path, host=swarm.hosts[0])
    swarm.cli("context", "import", "admin", path, host=swarm.hosts[3])
    return "admin"


def managers(swarm: Swarm) -> dict[str, Document]:
    """The members of Raft by host name, as a manager that answers sees them."""
    names = {node["id"]: node["description"]["hostname"] for node in swarm.nodes()}
    return {names[one["node_id"]]: one for one in swarm.ask("info")["managers"]}


def all_vote(swarm: Swarm, *names: str) -> bool:
    found = managers(swarm)
    good = {name for name, one in found.items() if one["voter"] and one["reachability"] == "REACHABLE"}
    return good == found.keys() == set(names)


def test_a_manager_that_was_cut_off_deposes_nobody_when_it_returns(swarm: Swarm, testbed: Testbed) -> None:
    leader, term = swarm.leader(), swarm.ask("info")["term"]
    lonely = next(host for host in swarm.managers if host.name != leader.name)
    faults.partition(testbed.switch, [[lonely], [host for host in swarm.hosts if host.name != lonely.name]])
    swarm.wait(lambda: managers(swarm)[lonely.name]["reachability"] == "UNREACHABLE", "the loss to be seen", 20)
    assert managers(swarm)[lonely.name]["unreachable_since"]
    cut = time.monotonic()
    swarm.wait(lambda: time.monotonic() > cut + 3, "several elections' time", 10)
    faults.heal(testbed.switch)
    swarm.wait(lambda: all_vote(swarm, "n1", "n2", "n3"), "its return", 30)
    swarm.wait_ready()
    assert (swarm.leader().name, swarm.ask("info")["term"]) == (leader.name, term)


def test_planned_hand_overs_cost_clients_no_error(swarm: Swarm, admin: str) -> None:
    addresses = [f"{host.address}:{API_PORT}" for host in swarm.managers]
    writers = [
        Writer.start(swarm.hosts[3], f"w{n}", admin, [*addresses[n:], *addresses[:n]]) for n in range(len(addresses))
    ]
    first = swarm.leader()
    first.kill("swarm-manager", 15)
    swarm.wait(lambda: swarm.leader().name != first.name, "another leader", 20)
    for writer in writers:
        writer.wait_for(20)
    swarm.wait(lambda: all_vote(swarm, "n1", "n2", "n3"), "the return of the one that was stopped", 30)

    second = swarm.leader()
    said = swarm.cli("node", "demote", second.name, host=next(h for h in swarm.managers if h.name != second.name))
    assert "Warning: Two managers are worse than one" in said.stderr
    left = {"n1", "n2", "n3"} - {second.name}
    asked = Swarm(swarm.hosts, 3)
    asked.managers = [host for host in swarm.managers if host.name in left]
    asked.wait(lambda: all_vote(asked, *left), "two managers", 30)
    for writer in writers:
        writer.wait_for(20)
    assert [error for writer in writers for error in writer.stop()] == []
    asked.cli("node", "promote", second.name)
    asked.wait(lambda: all_vote(asked, "n1", "n2", "n3"), "three managers", 30)


def test_a_manager_at_another_address_is_back_with_one_command(swarm: Swarm) -> None:
    moved = next(host for host in swarm.managers if host.name != swarm.leader().name)
    ids = {node["id"] for node in swarm.nodes()}
    new = move(moved, 100)
    said = swarm.cli("rejoin", "--advertise-address", new, host=moved).stdout
    assert "is back in its cluster" in said
    address = f"{new}:{API_PORT}"
    swarm.wait(lambda: managers(swarm)[moved.name]["address"] == address, "the new address to be on record", 20)
    swarm.wait(lambda: all_vote(swarm, "n1", "n2", "n3"), "three managers", 20)
    swarm.wait_ready()
    assert {node["id"] for node in swarm.nodes()} == ids
    worker = swarm.hosts[3]
    swarm.wait(lambda: address in swarm.ask("info", host=worker)["managers"], "the worker to know it", 20)


def test_machines_that_get_other_addresses_are_back_by_themselves(swarm: Swarm, testbed: Testbed) -> None:
    """The leader's, and a worker's, while they run; then the leader's machine wakes up with the first one again."""
    ids, moved, worker = {node["id"] for node in swarm.nodes()}, swarm.leader(), swarm.hosts[3]
    new = {host.name: move(host, 60) for host in (moved, worker)}
    wait_for_address(swarm, moved, new[moved.name])
    swarm.wait(lambda: known_at(swarm, worker) == new[worker.name], "the worker's new address to be known", 20)
    swarm.wait_ready()
    moved.power_off()
    testbed.power_on(moved)
    wait_for_address(swarm, moved, moved.address)
    swarm.wait_ready()
    assert {node["id"] for node in swarm.nodes()} == ids


def wait_for_address(swarm: Swarm, moved: Host, address: str) -> None:
    others = Swarm(swarm.hosts)
    others.managers = [host for host in swarm.managers if host.name != moved.name]
    at = f"{address}:{API_PORT}"
    others.wait(lambda: managers(others)[moved.name]["address"] == at, f"{moved.name} to be known at {at}", 40)
    others.wait(lambda: all_vote(others, "n1", "n2", "n3"), "three managers", 20)


def known_at(swarm: Swarm, host: Host) -> str:
    return next(node["status"]["address"] for node in swarm.nodes() if node["description"]["hostname"] == host.name)


def test_a_dead_manager_is_shown_taken_out_and_comes_back_as_a_worker(swarm: Swarm, testbed: Testbed) -> None:
    fourth = swarm.hosts[3]
    swarm.cli("node", "promote", fourth.name)
    swarm.wait(lambda: all_vote(swarm, "n1", "n2", "n3", "n4"), "four managers", 30)
    swarm.cli("cluster", "update", "--autopilot", "8s")
    fourth.power_off()
    swarm.wait(lambda: managers(swarm)["n4"].get("unreachable_since") is not None, "the loss to be shown", 20)
    swarm.wait(lambda: managers(swarm).keys() == {"n1", "n2", "n3"}, "it to be taken out", 30)
    testbed.power_on(fourth)
    swarm.wait_ready()

    def is_a_worker() -> bool:
        node = next(node for node in swarm.nodes() if node["description"]["hostname"] == "n4")
        return bool(node["role"] == node["spec"]["role"] == "WORKER") and not _has(fourth, "swarm-manager")

    swarm.wait(is_a_worker, "it to go on as a worker", 30)
    assert "members.json" not in fourth.run(["ls", "/var/lib/raftswarm/manager"], check=False).stdout
    swarm.cli("cluster", "update", "--autopilot", "off")


def test_managers_that_all_moved_at_once_are_together_again_by_commands(swarm: Swarm) -> None:
    ids, worker = {node["id"] for node in swarm.nodes()}, swarm.hosts[3]
    addresses = [move(host, 150) for host in swarm.managers]
    for place, host in enumerate(swarm.managers):  # each is told of those before it
        swarm.cli("rejoin", "--advertise-address", addresses[place], *addresses[:place], host=host)
    swarm.wait(lambda: all_vote(swarm, "n1", "n2", "n3"), "three managers", 30)
    new = {f"{address}:{API_PORT}" for address in addresses}
    swarm.wait(lambda: {one["address"] for one in managers(swarm).values()} == new, "their new addresses", 10)
    assert "is back in its cluster" in swarm.cli("rejoin", addresses[1], host=worker).stdout
    swarm.wait_ready()
    assert {node["id"] for node in swarm.nodes()} == ids


def move(host: Host, offset: int) -> str:
    """Give a host another address in place of those it has, as a machine that was moved to another network."""
    new = f"{host.address.rpartition('.')[0]}.{offset + host.index}"
    host.run(["ip", "addr", "flush", "dev", "eth0"])
    host.run(["ip", "addr", "add", f"{new}/24", "dev", "eth0"])
    return new


def _has(host: Host, program: str) -> bool:
    return any(process.name == program for process in host.processes())


def test_without_a_quorum_reads_fail_soon_unless_they_may_be_stale(swarm: Swarm, testbed: Testbed) -> None:
    lonely, *down = swarm.managers
    swarm.hosts[0].run(["sh", "-c", "echo x | swarm-cli config create remembered -"])
    swarm.wait(lambda: "remembered" in swarm.cli("config", "ls", "--stale", host=lonely).stdout, "it to arrive", 10)
    for host in down:
        host.power_off()
    try:
        began = time.monotonic()
        done = swarm.cli("config", "ls", host=lonely, check=False)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (3, 1), done.stdout + done.stderr
        assert time.monotonic() - began < ANSWER_S
        stale = swarm.cli("config", "ls", "--stale", host=lonely)
        assert "remembered" in stale.stdout
        assert stale.stderr.startswith("Stale: as manager ")
        assert "it knows no leader" in stale.stderr
    finally:
        for host in down:
            testbed.power_on(host)
    swarm.wait_ready()
