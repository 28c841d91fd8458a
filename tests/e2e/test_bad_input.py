"""What people get wrong: each is refused or explained in a sentence, with the exit code of the contract."""

import time
from pathlib import Path

import pytest

from tests.testbed.host import Host
from tests.testbed.swarm import API_PORT, Swarm

IMAGE = "busybox:local"


def refused(swarm: Swarm, *words: str | Path, code: int = 1, host: Host | None = None) -> str:
    """Run a command that must fail: its one sentence on stderr. Nothing that looks like a traceback may appear."""
    done = swarm.cli(*words, check=False, host=host)
    assert done.returncode == code, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    *progress, said = done.stderr.strip().splitlines()
    assert not progress or code == 4, progress  # only who waits is told how it goes; the error itself is one line
    assert said.startswith("Error: ") and said.endswith((".", ")", "?")), said
    return said


def create(swarm: Swarm, name: str, *flags: str) -> None:
    swarm.cli("service", "create", "--name", name, *flags, IMAGE, "sleep", "100000")


def test_an_image_that_does_not_exist_is_named_in_service_ps(swarm: Swarm) -> None:
    said = refused(swarm, "service", "create", "--name", "noimage", "--timeout", "6", "no-such-image:9", code=4)
    assert "noimage" in said
    tasks = swarm.ask("service", "ps", "noimage")["tasks"]
    assert any("no-such-image:9" in task["status"].get("err", "") for task in tasks)
    assert "no-such-image:9" in swarm.cli("service", "ps", "noimage").stdout
    swarm.cli("service", "rm", "noimage")


def test_a_port_already_published_is_refused_and_names_its_owner(swarm: Swarm) -> None:
    create(swarm, "owner", "--publish", "8099:80")
    said = refused(swarm, "service", "create", "--name", "second", "--publish", "8099:80", IMAGE)
    assert "8099" in said and "owner" in said
    assert "second" not in swarm.cli("service", "ls").stdout  # nothing half-applied


def test_a_constraint_nobody_meets_says_which_nodes_failed_which_test(swarm: Swarm) -> None:
    constraint = "node.labels.disk==ssd"
    said = refused(
        swarm, "service", "create", "--name", "nowhere", "--constraint", constraint, "--timeout", "2", IMAGE, code=4
    )
    assert "nowhere" in said
    (task,) = swarm.ask("service", "ps", "nowhere")["tasks"]
    assert task["status"]["state"] == "PENDING"
    assert "disk" in task["status"]["err"] and str(len(swarm.hosts)) in task["status"]["err"]
    swarm.cli("node", "update", "--label-add", "disk=ssd", swarm.nodes()[-1]["id"])
    swarm.wait(lambda: swarm.ask("service", "ps", "nowhere")["tasks"][0]["status"]["state"] != "PENDING", "a node", 10)
    swarm.cli("service", "rm", "nowhere")


@pytest.mark.parametrize("name", ["-web", "we b", "web/1", "w" * 64, "ünicode"])
def test_names_docker_would_refuse(swarm: Swarm, name: str) -> None:
    done = swarm.cli("service", "create", f"--name={name}", IMAGE, check=False)
    assert done.returncode in (1, 2) and done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_a_name_that_is_taken(swarm: Swarm) -> None:
    create(swarm, "twice")
    assert "twice" in refused(swarm, "service", "create", "--name", "twice", IMAGE)


def test_zero_replicas_are_fine_and_a_million_are_not(swarm: Swarm) -> None:
    create(swarm, "many", "--replicas", "1")
    swarm.cli("service", "scale", "many=0")
    assert not [t for t in swarm.ask("service", "ps", "many")["tasks"] if t["desired_state"] == "RUNNING"]
    assert "1000000" in refused(swarm, "service", "scale", "many=1000000").replace(",", "").replace(" ", "")
    assert swarm.ask("service", "inspect", "many")  # still there, unharmed


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("services:\n  web:\n image: x\n   y: [", "compose.yml:3:2"),
        ("just a string\n", "compose"),
        ("services: [1, 2]\n", "services"),
        ("services:\n  web: {}\n", "image"),
        ("services:\n  web:\n    image: busybox:local\n    imagge: x\n", "imagge"),
    ],
)
def test_files_that_are_no_compose_file(swarm: Swarm, tmp_path: Path, text: str, hint: str) -> None:
    file = tmp_path / "compose.yml"
    file.write_text(text)
    assert hint in refused(swarm, "stack", "deploy", "-c", file, "bad")
    assert swarm.ask("stack", "ls").get("stacks", []) == []


def test_a_key_that_is_not_supported_is_named_in_a_warning(swarm: Swarm, tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text(
        "services:\n  one:\n    image: busybox:local\n    command: sleep 100000\n    mac_address: 02:42:00:00:00:01\n"
    )
    done = swarm.cli("stack", "deploy", "-c", file, "warned")
    assert "services.one.mac_address" in done.stderr
    swarm.cli("stack", "rm", "warned")


def test_a_manager_address_that_is_no_manager(swarm: Swarm) -> None:
    began = time.monotonic()
    said = refused(swarm, "--manager", f"{swarm.hosts[0].address}:22", "node", "ls", code=3)
    assert f"{swarm.hosts[0].address}:22" in said
    assert time.monotonic() - began < 20


@pytest.fixture(scope="class")
def stranger(swarm: Swarm) -> Host:
    """A machine that has just left the cluster."""
    host = swarm.hosts[-1]
    host.run(["swarm-cli", "leave", "--force"])
    return host


class TestJoining:
    """The last host leaves, so that it can knock at the door in every wrong way."""

    def join(self, swarm: Swarm, host: Host, token: str, address: str | None = None) -> str:
        where = address or f"{swarm.hosts[0].address}:{API_PORT}"
        return refused(swarm, "join", "--token", token, where, host=host)

    def token(self, swarm: Swarm) -> str:
        return swarm.cli("join-token", "-q", "worker").stdout.strip()

    def test_a_truncated_token(self, swarm: Swarm, stranger: Host) -> None:
        assert "token" in self.join(swarm, stranger, self.token(swarm)[:-3])

    def test_a_token_with_another_secret(self, swarm: Swarm, stranger: Host) -> None:
        token = self.token(swarm)
        wrong = token[:-5] + ("00000" if not token.endswith("00000") else "11111")
        assert "token" in self.join(swarm, stranger, wrong)

    def test_a_token_of_another_cluster(self, swarm: Swarm, stranger: Host) -> None:
        prefix, version, digest, secret = self.token(swarm).split("-")
        other = digest[:-4] + ("0000" if not digest.endswith("0000") else "1111")
        assert "cluster" in self.join(swarm, stranger, "-".join((prefix, version, other, secret)))

    def test_a_token_that_was_rotated_away(self, swarm: Swarm, stranger: Host) -> None:
        old = self.token(swarm)
        swarm.cli("join-token", "--rotate", "-q", "worker")
        assert self.token(swarm) != old
        swarm.wait(lambda: bool(self.join(swarm, stranger, old)), "the old token to be refused", 10)

    def test_an_address_where_nobody_listens(self, swarm: Swarm, stranger: Host) -> None:
        said = self.join(swarm, stranger, self.token(swarm), f"{swarm.hosts[1].address}:9")
        assert f"{swarm.hosts[1].address}:9" in said

    def test_a_foreign_certificate_is_refused_at_the_handshake(self, swarm: Swarm, stranger: Host) -> None:
        """A node of another cluster, with a good certificate of that one, asks this cluster's managers."""
        stranger.run(["swarm-cli", "init", "--advertise-addr", stranger.address])
        managers = f"{swarm.hosts[0].address}:{API_PORT}"
        said = refused(swarm, "--manager", managers, "node", "ls", host=stranger, code=3)
        assert managers in said
        stranger.run(["swarm-cli", "leave", "--force"])

    def test_and_the_right_token_still_opens(self, swarm: Swarm, stranger: Host) -> None:
        address = f"{swarm.hosts[0].address}:{API_PORT}"
        stranger.run(["swarm-cli", "join", "--token", self.token(swarm), address])
        swarm.wait(
            lambda: [n["status"]["state"] for n in swarm.nodes()].count("READY_STATE") == len(swarm.hosts),
            "all ready",
            20,
        )
        again = refused(swarm, "join", "--token", self.token(swarm), address, host=stranger)
        assert "already" in again or "part of" in again
