"""Certificates that live for seconds: nobody notices their renewal, and who let them end comes back by a command."""

import pytest

from tests.e2e.writers import Writer
from tests.testbed.cluster import Testbed, in_parallel
from tests.testbed.host import Host
from tests.testbed.swarm import STATE_DIR, Swarm

VALID_S = 14
RENEWALS = 2


@pytest.fixture(scope="module")
def hosts(testbed: Testbed) -> list[Host]:
    """Four hosts; no containers are needed."""
    return testbed.renew(4)


@pytest.fixture(scope="module")
def hasty(swarm: Swarm) -> Swarm:
    """The cluster, all of whose nodes have certificates of a few seconds. n1 has a context of long validity."""
    swarm.cli("context", "create", "lasting", host=swarm.hosts[0])
    swarm.cli("cluster", "update", "--cert-expiry", f"{VALID_S}s")
    for host in swarm.hosts:
        swarm.cli("rejoin", "--token", token(swarm, host), host=host)
    swarm.wait_ready()
    return swarm


def token(swarm: Swarm, host: Host) -> str:
    role = "manager" if host in swarm.managers else "worker"
    return swarm.cli("join-token", "-q", role).stdout.strip()


def log(host: Host, name: str = "worker") -> str:
    return host.run(["cat", STATE_DIR / "log" / f"{name}.log"]).stdout


def node_ids(swarm: Swarm) -> dict[str, str]:
    return {node["description"]["hostname"]: node["id"] for node in swarm.nodes()}


def test_all_certificates_are_renewed_on_live_links_without_a_failed_write(hasty: Swarm) -> None:
    writers = [Writer.start(host, f"local-{host.name}") for host in hasty.managers]
    writers.append(Writer.start(hasty.hosts[0], "remote", "lasting"))
    before = {host.name: log(host).count("certificate renewed") for host in hasty.hosts}

    def all_renewed() -> bool:
        return all(log(h).count("certificate renewed") >= before[h.name] + RENEWALS for h in hasty.hosts)

    hasty.wait(all_renewed, f"{RENEWALS} renewals on each node", (RENEWALS + 1) * VALID_S)
    for writer in writers:
        writer.wait_for(20)
    assert [error for writer in writers for error in writer.stop()] == []
    for host in hasty.managers:
        assert "certificate has ended" not in log(host, "manager"), "a link outlived its certificate"
    hasty.wait_ready()


def test_a_cluster_that_was_off_until_all_certificates_ended_is_recovered_by_commands(
    hasty: Swarm, testbed: Testbed
) -> None:
    before, names = node_ids(hasty), [f"kept-{number}" for number in range(3)]
    for name in names:
        hasty.hosts[0].run(["sh", "-c", f"echo {name} | swarm-cli config create {name} -"])
    assert hasty.ask("info", host=hasty.hosts[-1])["certificate_ends"]
    in_parallel(lambda host: host.power_off(), hasty.hosts)
    hasty.hosts[0].power_on(None)
    first, second, third, worker = hasty.hosts
    hasty.wait(lambda: "certificate ended" in _info(first), "the end of the certificate", VALID_S + 10)
    in_parallel(testbed.power_on, hasty.hosts)
    hasty.wait(lambda: "certificate ended" in _info(worker), "the worker to say so", VALID_S + 10)
    assert "swarm-cli rejoin --token" in _info(worker)
    done = hasty.cli("node", "ls", host=first, check=False)
    assert done.returncode == 3, done.stdout + done.stderr

    for host in (first, second):  # two of three are a quorum
        hasty.cli("rejoin", "--from-own-data", host=host)
    hasty.cli("rejoin", "--token", token(hasty, third), host=third)
    hasty.cli("rejoin", "--token", token(hasty, worker), host=worker)
    hasty.wait_ready()
    assert node_ids(hasty) == before, "the same nodes"
    assert [m["voter"] for m in hasty.ask("info")["managers"]] == [True, True, True]
    found = {c["spec"]["annotations"]["name"] for c in hasty.ask("config", "ls")["configs"]}
    assert set(names) <= found


def _info(host: Host) -> str:
    return " ".join(host.run(["swarm-cli", "info"], check=False).stdout.split())
