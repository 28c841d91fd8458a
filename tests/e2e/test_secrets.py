"""Secrets and configs end to end: who gets them, how they look inside, what stays on disk, and updates in place."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.e2e.test_bad_input import refused
from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.process import wait_until
from tests.testbed.swarm import STATE_DIR, Document, Swarm

IMAGE = "busybox:local"


@pytest.fixture(scope="module")
def hosts(testbed: Testbed) -> list[Host]:
    return testbed.renew(3, (IMAGE,))


@pytest.fixture(scope="module")
def swarm(hosts: list[Host]) -> Swarm:
    """n1 is the manager, n2 and n3 are workers."""
    cluster = Swarm(hosts, managers=1)
    cluster.form()
    return cluster


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file with bytes that are nowhere else in the world."""
    file = tmp_path / "data"
    file.write_text(f"hush-{secrets.token_hex(16)}")
    return file


def create(swarm: Swarm, name: str, *flags: str, node: str = "n2") -> None:
    where = ("--constraint", f"node.hostname == {node}")
    swarm.cli("service", "create", "--name", name, *where, *flags, IMAGE, "sleep", "100000")


def containers(host: Host, service: str) -> list[str]:
    return [
        str(found["Id"]) for found in host.engine.containers() if found["Labels"].get("swarm.service.name") == service
    ]


def shell(host: Host, service: str, command: str) -> str:
    (container,) = containers(host, service)
    return host.run(["docker", "exec", container, "sh", "-c", command]).stdout.strip()


def places_of(host: Host, text: str) -> list[str]:
    """Files of the host's disk that hold the text: the worker's state and logs, and all of the engine's."""
    folders = [str(STATE_DIR), "/var/lib/docker"]
    said = host.run(["sh", "-c", f"grep -rlaF --devices=skip -e {text} {' '.join(folders)} 2>/dev/null"], check=False)
    return said.stdout.split()


def test_a_secret_is_in_memory_on_the_nodes_that_need_it_and_nowhere_else(swarm: Swarm, data: Path) -> None:
    text = data.read_text()
    swarm.cli("secret", "create", "--label", "team=red", "key", data)
    create(swarm, "user", "--secret", "source=key,target=the.key,uid=1000,gid=1001,mode=0440")
    n1, n2, n3 = swarm.hosts
    assert shell(n2, "user", "cat /run/secrets/the.key") == text
    assert shell(n2, "user", "stat -c '%u %g %a' /run/secrets/the.key") == "1000 1001 440"
    assert shell(n2, "user", "grep ' /run/secrets/the.key ' /proc/mounts | cut -d' ' -f1,3").endswith("tmpfs")
    assert shell(n2, "user", "touch /run/secrets/the.key 2>/dev/null || echo refused") == "refused"
    (container,) = containers(n2, "user")
    assert text not in str(n2.engine.request("GET", f"/containers/{container}/json"))
    assert places_of(n2, text) == []
    (there,) = n2.run(["sh", "-c", f"grep -rlF -e {text} /run/raftswarm"]).stdout.split()
    assert n2.run(["stat", "-f", "-c", "%T", there]).stdout.strip() == "tmpfs"
    assert n3.run(["sh", "-c", f"grep -rlF -e {text} /run/raftswarm {STATE_DIR}"], check=False).stdout == ""
    for words in (("secret", "inspect", "key"), ("secret", "ls"), ("service", "inspect", "user")):
        assert text not in swarm.cli(*words, "--format", "json").stdout
    assert swarm.ask("secret", "inspect", "key")["spec"]["annotations"]["labels"] == {"team": "red"}
    assert "in use by user" in refused(swarm, "secret", "rm", "key")
    log = n1.run(["sh", "-c", f"grep -laF -e {text} {STATE_DIR}/log/*"], check=False).stdout
    assert log == ""


def test_it_leaves_the_node_with_its_last_task(swarm: Swarm, data: Path) -> None:
    text = data.read_text()
    swarm.cli("secret", "create", "brief", data)
    create(swarm, "short", "--secret", "brief", "--stop-grace-period", "1s", node="n3")
    n3 = swarm.hosts[2]
    assert shell(n3, "short", "cat /run/secrets/brief") == text
    swarm.cli("service", "rm", "short")
    wait_until(
        lambda: n3.run(["sh", "-c", f"grep -rlF -e {text} /run/raftswarm"], check=False).stdout == "",
        "the secret's end on the node",
        20,
    )
    assert places_of(n3, text) == []
    swarm.cli("secret", "rm", "brief")
    assert "brief" not in swarm.cli("secret", "ls", "--all").stdout


COMPOSE = """
services:
  web:
    image: busybox:local
    command: sleep 100000
    secrets:
      - from_file
      - {source: from_env, target: env.txt, mode: 0o400}
      - {source: outside, target: /etc/outside}
    configs:
      - {source: content, target: /etc/app.conf, uid: "7", gid: "8", mode: 0o640}
      - plain
    deploy: {placement: {constraints: ["node.hostname == n3"]}}
secrets:
  from_file: {file: ./data}
  from_env: {environment: TOKEN}
  outside: {external: true, name: key}
configs:
  content: {content: "port = 80\\n"}
  plain: {file: ./plain.conf}
"""


def test_a_compose_file_s_secrets_and_configs(swarm: Swarm, data: Path) -> None:
    folder = data.parent
    (folder / "compose.yml").write_text(COMPOSE)
    (folder / "plain.conf").write_text("plain")
    (folder / ".env").write_text("TOKEN=from-the-environment\n")
    swarm.cli("stack", "deploy", "-c", folder / "compose.yml", "shop")
    n3 = swarm.hosts[2]
    assert shell(n3, "shop_web", "cat /run/secrets/from_file") == data.read_text()
    assert shell(n3, "shop_web", "cat /run/secrets/env.txt") == "from-the-environment"
    assert shell(n3, "shop_web", "stat -c %a /run/secrets/env.txt") == "400"
    assert shell(n3, "shop_web", "cat /etc/outside").startswith("hush-")
    assert shell(n3, "shop_web", "cat /etc/app.conf; stat -c '%u %g %a' /etc/app.conf") == "port = 80\n7 8 640"
    assert shell(n3, "shop_web", "cat /plain") == "plain"
    assert data.read_text() not in swarm.cli("stack", "ls", "--format", "json").stdout
    data.write_text("another")  # the file changes: the next deploy brings it to the containers
    swarm.cli("stack", "deploy", "-c", folder / "compose.yml", "shop")
    assert shell(n3, "shop_web", "cat /run/secrets/from_file") == "another"
    swarm.cli("stack", "rm", "shop")
    swarm.wait(lambda: "shop_" not in swarm.cli("secret", "ls", "--all").stdout, "no secret of the stack", 20)


def running(swarm: Swarm, service: str) -> list[Document]:
    found: list[Document] = swarm.ask("service", "ps", service)["tasks"]
    return [task for task in found if task["desired_state"] == "RUNNING" and task["status"]["state"] == "RUNNING"]


@pytest.mark.parametrize(("noun", "path"), [("secret", "/run/secrets/live"), ("config", "/live")])
def test_an_update_reaches_the_users_one_after_the_other_and_can_be_rolled_back(
    swarm: Swarm, data: Path, noun: str, path: str
) -> None:
    name = f"rolling-{noun}"
    swarm.cli(noun, "create", "live", data)
    first = data.read_text()
    flags = ["--replicas", "2", "--stop-grace-period", "1s", "--update-order", "start-first", "--update-monitor", "1s"]
    create(swarm, name, f"--{noun}", "live", *flags)
    create(swarm, f"by-{noun}")
    before, bystander = {task["id"] for task in running(swarm, name)}, running(swarm, f"by-{noun}")[0]["id"]
    data.write_text(f"new-{secrets.token_hex(8)}")
    swarm.cli(noun, "update", "live", data)
    host = swarm.hosts[1]
    seen = {host.run(["docker", "exec", c, "cat", path]).stdout for c in _settled(swarm, host, name)}
    assert seen == {data.read_text()}
    assert not before & {task["id"] for task in running(swarm, name)}
    assert running(swarm, f"by-{noun}")[0]["id"] == bystander  # who does not use it is left alone
    assert len(swarm.ask(noun, "ls")[f"{noun}s"]) == len(swarm.ask(noun, "ls", "--all")[f"{noun}s"]) - 1
    swarm.cli("service", "rollback", name)
    seen = {host.run(["docker", "exec", c, "cat", path]).stdout for c in _settled(swarm, host, name)}
    assert seen == {first}
    for service in (name, f"by-{noun}"):
        swarm.cli("service", "rm", service)
    swarm.cli(noun, "rm", "live")


def _settled(swarm: Swarm, host: Host, service: str) -> list[str]:
    """The service's two containers, once the old ones have stopped."""
    swarm.wait(lambda: len(containers(host, service)) == 2, f"two containers of {service}", 20)
    return containers(host, service)
