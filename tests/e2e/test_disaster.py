"""The drills of docs/operating/disaster.md: a quorum is lost for good; all managers are.

n1, n2 and n3 are managers, n4 is a worker; n5 is a machine that is no node yet.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.swarm import API_PORT, READY, Document, Swarm

IMAGE = "busybox:local"
REPLICAS = 6


@pytest.fixture(scope="module")
def swarm(hosts: list[Host]) -> Swarm:
    cluster = Swarm(hosts[:4])
    cluster.form()
    cluster.cli("secret", "create", "pass", "/etc/hostname")
    options = ("--replicas", str(REPLICAS), "--stop-grace-period", "1s", "--secret", "pass", "-p", "8080:80")
    cluster.cli("service", "create", "--name", "web", *options, IMAGE, "httpd", "-f", "-p", "80", "-h", "/run/secrets")
    return cluster


def wanted(swarm: Swarm) -> list[Document]:
    return [t for t in swarm.ask("service", "ps", "web")["tasks"] if t["desired_state"] == "RUNNING"]


def containers(host: Host) -> dict[str, str]:
    """Task: container, of what runs on a host."""
    found = (c for c in host.engine.containers() if "swarm.task.id" in c["Labels"])
    return {c["Labels"]["swarm.task.id"]: c["Id"] for c in found}


def runs_once(swarm: Swarm, hosts: list[Host]) -> bool:
    """What is wanted runs, and on these hosts runs nothing else."""
    tasks = wanted(swarm)
    running = sorted(task for host in hosts for task in containers(host))
    done = all(t["status"]["state"] == "RUNNING" for t in tasks)
    return len(tasks) == REPLICAS and done and running == sorted(t["id"] for t in tasks)


def answers(host: Host) -> bool:
    """Whether the service answers on this host: with its secret, over the published port."""
    return host.run(["curl", "-sS", "-m", "5", "http://127.0.0.1:8080/pass"], check=False).stdout == "n1\n"


def roles(swarm: Swarm) -> dict[str, str]:
    """Host: its role, of those that are ready."""
    ready = (n for n in swarm.nodes() if n["status"]["state"] == READY)
    return {n["description"]["hostname"]: n.get("role", "WORKER") for n in ready}


def test_recover_is_refused_while_there_is_a_quorum(swarm: Swarm) -> None:
    n2 = swarm.hosts[1]
    before = wanted(swarm)
    done = n2.run(["swarm-cli", "recover", "--force-new-cluster", "--yes"], check=False)
    assert (done.returncode, "has a quorum" in done.stderr) == (1, True), done.stdout + done.stderr
    assert swarm.hosts[3].run(["swarm-cli", "recover", "--force-new-cluster", "--yes"], check=False).returncode == 1
    assert wanted(swarm) == before


def test_the_last_of_three_managers_goes_on_and_the_others_come_back(swarm: Swarm, testbed: Testbed) -> None:
    n1, n2, n3, n4 = swarm.hosts
    kept = containers(n1) | containers(n4)
    swarm.cli("config", "create", "last-write", "/etc/hostname")
    for host in (n2, n3):
        host.power_off()

    survivor = Swarm([n1, n4, n2, n3], managers=1)
    assert survivor.cli("config", "create", "no-quorum", "/etc/hostname", host=n1, check=False).returncode == 3
    for program in ("swarm-worker", "swarm-manager"):  # whether they run or not: the command sees to it
        n1.kill(program)
    said = survivor.cli("recover", "--force-new-cluster", "--yes", host=n1).stdout
    assert "n2, n3" in said

    assert "last-write" in survivor.cli("config", "ls", host=n1).stdout
    survivor.wait(lambda: runs_once(survivor, [n1, n4]), "what ran on n2 and n3 to run on n1 and n4", 60)
    assert kept.items() <= (containers(n1) | containers(n4)).items()  # what ran there runs on
    survivor.wait(lambda: answers(n1) and answers(n4), "the service to answer", 30)

    for host in (n2, n3):
        testbed.power_on(host)
    survivor.wait(lambda: {"n2", "n3"} <= roles(survivor).keys(), "n2 and n3 to be back", 60)
    survivor.cli("node", "promote", "n2", "n3")  # at once, whatever they have done about their old role by now
    survivor.wait(lambda: sum(m["voter"] for m in survivor.ask("info")["managers"]) == 3, "three managers", 60)
    survivor.wait(lambda: runs_once(survivor, swarm.hosts), "every task to run once", 60)


@pytest.fixture
def passphrase_file(hosts: list[Host]) -> Iterator[Path]:
    """On a folder that all hosts share with this machine."""
    path = hosts[0].folder.parent / "passphrase"
    path.write_text("correct horse battery\n")
    yield path
    path.unlink()


class Writer:
    """Creates configs, one after the other, until told to stop; `acknowledged` are those that were answered."""

    def __init__(self, swarm: Swarm) -> None:
        self.acknowledged: list[str] = []
        self._swarm = swarm
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._swarm.wait(lambda: len(self.acknowledged) > 2, "the first writes", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            name = f"write-{len(self.acknowledged)}"
            if self._swarm.cli("config", "create", name, "/etc/hostname", check=False).returncode == 0:
                self.acknowledged.append(name)


def test_all_managers_are_lost_and_a_backup_becomes_a_cluster(
    swarm: Swarm, hosts: list[Host], testbed: Testbed, passphrase_file: Path
) -> None:
    n1, n2, n3, n4, n5 = hosts
    backup, passphrase = n1.folder.parent / "cluster.backup", ("--passphrase-file", passphrase_file)
    with Writer(swarm) as writer:
        before = list(writer.acknowledged)
        follower = next(h for h in swarm.managers if h.name != swarm.leader().name)
        swarm.cli("backup", backup, *passphrase, host=follower)
    assert b"write-0" not in backup.read_bytes()
    assert "is whole: cluster default" in n5.run(["swarm-cli", "backup", "--check", backup, *passphrase]).stdout

    kept, token = containers(n4), swarm.cli("join-token", "-q", "worker").stdout.strip()
    assert kept
    for host in (n1, n2, n3):
        host.power_off()
    words = ["swarm-cli", "restore", backup, *passphrase, "--advertise-addr", n5.address, "--wait-for-nodes", "12s"]
    n5.run(words)
    restored = Swarm([n5, n4, n1, n2, n3], managers=1)
    names = {c["spec"]["annotations"]["name"] for c in restored.ask("config", "ls")["configs"]}
    assert set(before) <= names  # no acknowledged write of before the backup is missing
    n4.run(["swarm-cli", "rejoin", f"{n5.address}:{API_PORT}"])
    restored.wait(lambda: "n4" in roles(restored), "n4 to be back", 30)
    restored.wait(lambda: runs_once(restored, [n4, n5]), "what ran on n1, n2 and n3 to run on n4 and n5", 90)
    assert kept.items() <= containers(n4).items()  # adopted: the very containers
    restored.wait(lambda: answers(n5) and answers(n4), "the service to answer", 30)

    # Two of the old managers are a quorum of theirs. They do no harm to the new cluster, and come over when told to.
    for host in (n1, n2):
        testbed.power_on(host)
    old = Swarm([n1, n2], managers=2)
    old.wait(lambda: bool(old.ask("info", host=n1).get("leader_id")), "the old managers to lead", 60)
    assert runs_once(restored, [n4, n5])
    for host in (n1, n2):
        host.run(["swarm-cli", "rejoin", f"{n5.address}:{API_PORT}"])
    wanted_roles = {"n1": "WORKER", "n2": "WORKER", "n4": "WORKER", "n5": "MANAGER"}
    restored.wait(lambda: wanted_roles.items() <= roles(restored).items(), "n1 and n2 to be workers", 60)
    restored.wait(lambda: runs_once(restored, [n1, n2, n4, n5]), "every task to run once", 60)

    # n3 does not come back as it was: the old node is removed, and the machine joins anew with the token of before.
    (gone,) = (n for n in restored.nodes() if n["description"]["hostname"] == "n3")
    assert gone["status"]["state"] == "DOWN"
    restored.cli("node", "rm", gone["id"])
    testbed.power_on(n3)
    n3.run(["swarm-cli", "leave", "--force"])
    n3.run(["swarm-cli", "join", "--token", token, f"{n5.address}:{API_PORT}"])
    restored.wait(lambda: roles(restored).get("n3") == "WORKER", "n3 to be a new node", 30)
