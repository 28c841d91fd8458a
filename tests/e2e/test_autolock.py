"""Autolock as an operator meets it: made at init, a manager that died waits for the key, its containers do not."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.e2e.test_bad_input import refused
from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.process import wait_until
from tests.testbed.swarm import STATE_DIR, Swarm

IMAGE = "busybox:local"


@pytest.fixture(scope="module")
def host(testbed: Testbed) -> Host:
    return testbed.renew(1, (IMAGE,))[0]


def containers(host: Host) -> list[str]:
    return [str(found["Id"]) for found in host.engine.containers() if "swarm.service.name" in found["Labels"]]


def is_locked(host: Host) -> bool:
    return "This manager is locked" in host.run(["swarm-cli", "info"], check=False).stderr


def test_a_manager_that_died_waits_for_the_key_and_its_containers_run_on(host: Host) -> None:
    swarm = Swarm([host], managers=1)
    made = host.run(["swarm-cli", "init", "--advertise-addr", host.address, "--autolock", "--format", "json"])
    key = str(json.loads(made.stdout)["unlock_key"])
    text, name = f"hush-{secrets.token_hex(16)}", f"service-{secrets.token_hex(8)}"
    host.run(["swarm-cli", "secret", "create", "key", "-"], stdin=text)
    swarm.cli("service", "create", "--name", name, "--secret", "key", IMAGE, "sleep", "100000")
    before = containers(host)
    keys = STATE_DIR / "manager/keys/keys"
    wait_until(lambda: "wrapped_by" in host.run(["cat", keys]).stdout, "wrapped keys", 10)

    host.kill("swarm-manager")
    wait_until(lambda: is_locked(host), "a manager that waits for the key", 20)
    for words in (("node", "ls"), ("service", "create", "--name", "x", IMAGE)):
        said = refused(swarm, *words)
        assert said.startswith("Error: This manager is locked since it was started: run 'swarm-cli unlock'"), said
    assert containers(host) == before
    for wrong, sentence in (
        ("SWMKEY-1-" + "0" * 50, "This is not the key that unlocks this manager"),
        ("swordfish", "This is no unlock key"),
    ):
        answer = host.run(["swarm-cli", "unlock"], stdin=wrong, check=False)
        assert (answer.returncode, answer.stderr.startswith(f"Error: {sentence}")) == (1, True), answer.stderr
    for hidden in (text, name, key):
        found = host.run(["grep", "-rlaF", "-e", hidden, STATE_DIR / "manager"], check=False)
        assert (found.returncode, found.stdout) == (1, "")

    assert host.run(["swarm-cli", "unlock"], stdin=f"{key}\n").stdout == "The manager is unlocked, and starts.\n"
    swarm.wait_ready()
    tasks = swarm.ask("service", "ps", name)["tasks"]
    assert [task["status"]["state"] for task in tasks] == ["RUNNING"]
    assert containers(host) == before
    taken = ("--force-new-cluster", "--even-with-quorum", "--yes")
    assert "with --unlock-key you are asked for it" in refused(swarm, "recover", *taken)
    wait_until(lambda: is_locked(host), "a manager that waits for the key", 20)
    host.run(["swarm-cli", "recover", *taken, "--unlock-key"], stdin=key)
    swarm.wait_ready()
    assert containers(host) == before
    own = ("rejoin", "--from-own-data")
    certificate = host.run(["cat", STATE_DIR / "node/node.crt"]).stdout
    assert "--unlock-key" in refused(swarm, *own)
    wrong = host.run(["swarm-cli", *own, "--unlock-key"], stdin="SWMKEY-1-" + "0" * 50, check=False)
    assert (wrong.returncode, "not the key that unlocks" in wrong.stderr) == (1, True), wrong.stderr
    assert host.run(["cat", STATE_DIR / "node/node.crt"]).stdout == certificate
    wait_until(lambda: is_locked(host), "a manager that waits for the key", 20)
    host.run(["swarm-cli", *own, "--unlock-key"], stdin=key)
    assert host.run(["cat", STATE_DIR / "node/node.crt"]).stdout != certificate
    swarm.wait_ready()
    assert containers(host) == before
    rotated = swarm.cli("unlock-key", "--rotate", "-q").stdout.strip()
    assert rotated not in (key, "")
    assert swarm.cli("cluster", "update", "--autolock", "off").stdout == "The cluster's settings are changed.\n"
    assert "Autolock is off" in refused(swarm, "unlock-key")
