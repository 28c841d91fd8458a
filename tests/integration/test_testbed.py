"""The testbed keeps what it promises: faults do what their names say, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import cgroup, faults
from tests.testbed.cluster import Testbed, all_names
from tests.testbed.errors import CommandFailed, HostUnavailable, NotReached, TestbedError
from tests.testbed.host import Host
from tests.testbed.process import ProcessRef, wait_until

NAME = f"it{os.getpid()}"
# Connects to a port nothing listens on: "refused" proves that packets go there and back.
KNOCK = """
import socket, sys
try: socket.create_connection((sys.argv[1], 9), 0.5)
except ConnectionRefusedError: print("reached")
except OSError: print("lost")
"""


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with Testbed(NAME) as bed:
        bed.up(3)
        yield bed
    assert NAME not in all_names()


@pytest.fixture
def hosts(testbed: Testbed) -> Iterator[list[Host]]:
    yield testbed.hosts
    faults.heal(testbed.switch)
    for host in testbed.hosts:
        host.cgroup.thaw()
        testbed.power_on(host)


def reaches(source: Host, target: Host) -> bool:
    return source.run(["python3", "-c", KNOCK, target.address]).stdout.strip() == "reached"


def test_a_host_is_a_machine_of_its_own(hosts: list[Host]) -> None:
    n1, n2, _ = hosts
    assert n1.run(["hostname"]).stdout.strip() == "n1"
    n1.run(["sh", "-c", "touch /run/raftswarm.test /etc/raftswarm/test /var/lib/raftswarm/test"])
    for path in ("/run/raftswarm.test", "/etc/raftswarm/test", "/var/lib/raftswarm/test"):
        assert not Path(path).exists()
        assert n2.run(["test", "-e", path], check=False).returncode == 1
    assert n1.run(["docker", "info", "--format", "{{.Name}}"]).stdout.strip() == "n1"


def test_up_again_changes_nothing(testbed: Testbed, hosts: list[Host]) -> None:
    before = [(host.init(), host.engine.pid()) for host in hosts]
    testbed.up(3)
    assert [(host.init(), host.engine.pid()) for host in hosts] == before


def test_a_program_that_does_not_end_is_killed_in_the_host(hosts: list[Host]) -> None:
    with pytest.raises(CommandFailed, match="did not end within"):
        hosts[0].run(["tail", "-f", "/dev/null"], timeout_s=0.3)
    wait_until(lambda: "tail" not in {process.name for process in hosts[0].processes()}, "its end", 5)


def test_power_loss_keeps_the_disk_and_empties_run(testbed: Testbed, hosts: list[Host]) -> None:
    n2 = hosts[1]
    n2.run(["sh", "-c", "echo kept > /var/lib/raftswarm/disk; echo kept > /etc/raftswarm/disk; touch /run/volatile"])
    inside = ProcessRef.of(n2.processes()[0].pid)
    n2.power_off()
    assert inside is not None
    assert not inside.alive()
    assert not reaches(hosts[0], n2)
    with pytest.raises(HostUnavailable, match="not powered on"):
        n2.run(["true"])
    testbed.power_on(n2)
    assert n2.run(["cat", "/var/lib/raftswarm/disk", "/etc/raftswarm/disk"]).stdout == "kept\nkept\n"
    assert n2.run(["test", "-e", "/run/volatile"], check=False).returncode == 1
    assert reaches(hosts[0], n2)


def test_boot_commands_run_at_every_boot(testbed: Testbed, hosts: list[Host]) -> None:
    n3 = hosts[2]
    n3.at_boot(["sh", "-c", "echo booted >> /var/lib/raftswarm/boots"])
    for expected in ("booted\n", "booted\nbooted\n"):
        n3.power_off()
        testbed.power_on(n3)
        boots = Path(f"{n3.folder}/raftswarm/boots")
        wait_until(lambda: boots.exists() and boots.read_text() == expected, "the boot command", 5)  # noqa: B023 - used at once
    n3.forget_boot_commands()


def test_an_engine_crash_is_survived_by_its_host(hosts: list[Host]) -> None:
    n1 = hosts[0]
    n1.engine.crash()
    assert not n1.engine.answers()
    assert n1.powered()
    n1.engine.start()
    assert n1.engine.answers()


def test_a_partition_keeps_groups_apart_until_healed(testbed: Testbed, hosts: list[Host]) -> None:
    n1, n2, n3 = hosts
    faults.partition(testbed.switch, [[n1], [n2]])
    assert not reaches(n1, n2)
    assert not reaches(n2, n1)
    assert reaches(n1, n3)
    assert reaches(n3, n2)
    faults.heal(testbed.switch)
    assert reaches(n1, n2)


def test_a_partition_needs_two_sides_that_do_not_overlap(testbed: Testbed, hosts: list[Host]) -> None:
    with pytest.raises(TestbedError, match="both sides"):
        faults.partition(testbed.switch, [hosts[:2], hosts[1:]])
    with pytest.raises(TestbedError, match="two sides"):
        faults.partition(testbed.switch, [hosts])


def test_a_cut_cable_takes_the_carrier(testbed: Testbed, hosts: list[Host]) -> None:
    n1, n2, _ = hosts
    testbed.switch.set_port(n2.name, up=False)
    wait_until(lambda: n2.run(["cat", "/sys/class/net/eth0/carrier"]).stdout == "0\n", "the loss of carrier", 5)
    assert not reaches(n1, n2)
    faults.heal(testbed.switch)
    wait_until(lambda: reaches(n1, n2), "reaching n2 again", 5)


def test_lost_packets(testbed: Testbed, hosts: list[Host]) -> None:
    faults.lose(testbed.switch, hosts[:1], 100)
    assert not reaches(hosts[0], hosts[1])
    assert reaches(hosts[2], hosts[1])
    faults.lose(testbed.switch, hosts[:1], 0)
    assert reaches(hosts[0], hosts[1])


def test_a_frozen_host_does_nothing_and_can_still_lose_power(testbed: Testbed, hosts: list[Host]) -> None:
    n1 = hosts[0]
    n1.cgroup.freeze()
    assert not n1.engine.answers()
    with pytest.raises(HostUnavailable, match="frozen"):
        n1.run(["true"])
    n1.cgroup.thaw()
    wait_until(n1.engine.answers, "the engine's answer after the thaw", 5)
    n1.cgroup.freeze()
    n1.power_off()
    assert not n1.powered()


def test_a_limited_disk_fills_and_survives_power_loss(testbed: Testbed, hosts: list[Host]) -> None:
    n2 = hosts[1]
    (n2.folder / "raftswarm" / "before").write_text("kept")
    with pytest.raises(HostUnavailable, match="powered on"):
        faults.limit_disk(n2, 16)
    n2.power_off()
    faults.limit_disk(n2, 16)
    testbed.power_on(n2)
    assert n2.run(["cat", "/var/lib/raftswarm/before"]).stdout == "kept"
    faults.fill_disk(n2)
    write = ["python3", "-c", "import pathlib; pathlib.Path('/var/lib/raftswarm/x').write_text('x' * 5000)"]
    full = n2.run(write, check=False)
    assert "No space left on device" in full.stderr
    faults.free_disk(n2)
    n2.run(write)


def test_killing_a_program_by_name(hosts: list[Host]) -> None:
    with pytest.raises(HostUnavailable, match="no swarm-manager runs on n1"):
        hosts[0].kill("swarm-manager")
    assert hosts[0].kill("containerd", signal.SIGSTOP) == 1
    assert hosts[0].kill("containerd", signal.SIGCONT) == 1


def test_the_status_tells_what_is_wrong(testbed: Testbed, hosts: list[Host]) -> None:
    hosts[0].engine.crash()
    hosts[1].power_off()
    testbed.switch.set_port("n3", up=False)
    told = {status.name: (status.power, status.link, status.engine) for status in testbed.status()}
    assert told == {"n1": ("on", "in", "down"), "n2": ("off", "none", "down"), "n3": ("on", "cut", "up")}


def test_down_cleans_up_after_its_maker_was_killed() -> None:
    """The maker dies by kill -9 in the middle of its work; a fresh process finds everything by the name alone."""
    name = f"{NAME}-orphan"
    script = f"from tests.testbed.cluster import Testbed; Testbed({name!r}).up(1); print('up', flush=True); input()"
    with subprocess.Popen(["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "up\n"
        maker.kill()
    (host,) = Testbed(name).hosts
    host.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
    (host.folder / "init").unlink()  # even what was written down may be lost
    pids = host.cgroup.all_pids()
    assert pids
    Testbed(name).down()
    assert name not in all_names()
    assert not Path("/run/netns", f"testbed-{name}").exists()
    assert not host.folder.exists()
    assert cgroup.hosts_of(name) == []
    assert name not in Path("/proc/self/mountinfo").read_text()
    wait_until(lambda: not any(ProcessRef.of(pid) for pid in pids), "the end of every process", 5)


def test_names_that_would_not_do() -> None:
    with pytest.raises(TestbedError, match="is no name for a testbed"):
        Testbed("../etc")
    with pytest.raises(TestbedError, match="is no host"):
        Testbed(NAME).host("m1")


def test_waiting_has_an_end() -> None:
    with pytest.raises(NotReached, match=r"pigs flying did not happen within 0\.02 s"):
        wait_until(lambda: False, "pigs flying", timeout_s=0.02)
