"""The disk under the journals fills up: a clear refusal, nothing half-applied, nothing lost; then room again."""

import pytest

from tests.testbed import faults
from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.swarm import Swarm

IMAGE = "busybox:local"
DISK_MIB = 48


@pytest.fixture(scope="module")
def cramped(testbed: Testbed, hosts: list[Host]) -> Swarm:
    """A cluster whose managers keep their state on small disks of their own, with a service of three running."""
    for host in hosts[:3]:
        host.power_off()
        faults.limit_disk(host, DISK_MIB)
        testbed.power_on(host)
    swarm = Swarm(hosts)
    swarm.form()
    swarm.cli("service", "create", "--name", "kept", "--replicas", "3", IMAGE, "sleep", "100000")
    return swarm


def services(swarm: Swarm) -> set[str]:
    return {s["spec"]["annotations"]["name"] for s in swarm.ask("service", "ls").get("services", [])}


def test_a_full_disk_refuses_writes_clearly_and_recovers(cramped: Swarm) -> None:
    before = {t["id"]: t["status"]["state"] for t in cramped.ask("service", "ps", "kept")["tasks"]}
    for host in cramped.managers:
        faults.fill_disk(host)

    acknowledged: set[str] = set()
    said = ""
    for number in range(200):  # the journal may have some room left in its own file
        name = f"squeezed-{number}"
        label = "x" * 20_000
        done = cramped.cli(
            "service",
            "create",
            "--detach",
            "--replicas",
            "0",
            "--label",
            f"l={label}",
            "--name",
            name,
            IMAGE,
            check=False,
        )
        assert "Traceback" not in done.stderr
        if done.returncode:
            said = done.stderr
            break
        acknowledged.add(name)
    assert said, "every write went through although the disks are full"
    assert len(said.strip().splitlines()) == 1
    assert "disk" in said or "space" in said or "quorum" in said, said

    # The containers run on, whatever the managers can write.
    running = [c for host in cramped.hosts for c in host.engine.containers()]
    assert sum(c["Labels"].get("swarm.service.name") == "kept" for c in running) == 3

    for host in cramped.managers:
        faults.free_disk(host)

    def writes_again() -> bool:
        words = ("service", "create", "--detach", "--replicas", "0", "--name", "afterwards", IMAGE)
        done = cramped.cli(*words, check=False)
        return done.returncode == 0 or "afterwards" in services(cramped)

    cramped.wait(writes_again, "writes to be taken again", 60)
    assert acknowledged <= services(cramped)
    after = {t["id"]: t["status"]["state"] for t in cramped.ask("service", "ps", "kept")["tasks"]}
    assert before.keys() <= after.keys()
