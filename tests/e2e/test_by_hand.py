"""What a user does with the command line and the Python client, on a real cluster."""

import sys
from pathlib import Path

import pytest

from tests.testbed.cluster import Testbed
from tests.testbed.layout import CHECKOUT
from tests.testbed.swarm import Swarm

COMPOSE = """\
services:
  web:
    image: busybox:local
    command: sleep 100000
    deploy:
      replicas: 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "shop"
    project.mkdir()
    (project / "compose.yml").write_text(COMPOSE)
    return project


def test_up_ps_scale_and_down_in_a_folder(swarm: Swarm, folder: Path) -> None:
    def here(words: str) -> str:
        return swarm.hosts[0].run(["sh", "-c", f"cd {folder} && swarm-cli {words}"], timeout_s=120).stdout

    here("up")
    assert swarm.running("shop") == 2
    assert "shop_web.1" in here("ps") and "shop_web.2" in here("ps")
    here("scale web=5")
    assert swarm.running("shop") == 5
    here("down")
    assert "shop_web" not in swarm.cli("service", "ls").stdout


def test_the_python_client_example(swarm: Swarm) -> None:
    python = Path(sys.executable)
    done = swarm.hosts[0].run([python, CHECKOUT / "examples" / "client.py", "--image", "rnn-redis:1"], timeout_s=120)
    assert done.stdout
    assert swarm.ask("service", "ls").get("services", []) == []


def test_a_manager_without_an_engine_says_why_it_takes_no_tasks(swarm: Swarm, testbed: Testbed) -> None:
    """A machine with no Docker at all is a manager like any other; its node carries the reason."""
    host = swarm.managers[-1]
    host.power_off()
    host.power_on(engine_options=None)
    swarm.wait(lambda: bool(_described(swarm, host.name).get("engine_error")), "the reason", 40)
    assert "Docker" in _described(swarm, host.name)["engine_error"]
    assert "Docker" in swarm.cli("node", "ls").stdout
    swarm.wait(lambda: len(_reachable(swarm)) == 3, "three managers", 20)
    swarm.cli("service", "create", "--name", "elsewhere", "--replicas", "4", "busybox:local", "sleep", "100000")
    (node_id,) = [n["id"] for n in swarm.nodes() if n["description"]["hostname"] == host.name]
    assert all(t["node_id"] != node_id for t in swarm.ask("service", "ps", "elsewhere")["tasks"])
    swarm.cli("service", "rm", "elsewhere")
    host.engine.start(testbed.engine_options())
    swarm.wait(lambda: not _described(swarm, host.name).get("engine_error"), "the engine", 30)


def _described(swarm: Swarm, name: str) -> dict[str, str]:
    return next(n["description"] for n in swarm.nodes() if n["description"]["hostname"] == name)


def _reachable(swarm: Swarm) -> list[str]:
    return [m["node_id"] for m in swarm.ask("info")["managers"] if m["reachability"] == "REACHABLE"]
