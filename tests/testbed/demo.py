"""The main job, shown: `scripts/demo`.

Four hosts on this machine, three of them managers; nginx in front of Node.js workers that count visits in Redis:
eight containers in one overlay network, published on every host. `--check` asserts every step, kills the leading
manager in the middle, asserts again, and removes all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path

from tests.testbed import cgroup, requirements
from tests.testbed.cluster import Testbed
from tests.testbed.engine import EngineError
from tests.testbed.errors import TestbedError
from tests.testbed.host import Host
from tests.testbed.images.catalogue import EXAMPLE_IMAGES, build
from tests.testbed.layout import CHECKOUT
from tests.testbed.process import wait_until
from tests.testbed.swarm import Swarm

DESCRIPTION = """\
Runs the main job on this machine: four hosts, three of them managers, and the compose file examples/rnn on them.

  scripts/demo           bring it up (or find it running), show that it works, leave it running
  scripts/demo down      remove every trace of it
  scripts/demo --check   do all of it on hosts of its own, assert every step, kill the leading manager in between,
                         clean up; exit code 0, or 1 and what failed
"""
DEFAULT_NAME = "demo"
HOSTS = 4
STACK = "rnn"
COMPOSE = CHECKOUT / "examples" / "rnn" / "docker-compose.yml"
REPLICAS = {"front": 2, "worker": 5, "redis": 1}
PORT = 8080
# Runs on a host: asks every address once and prints what came back, a JSON document a line.
_ASK = """
import json, sys, urllib.request
for address in sys.argv[1:]:
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
            told = json.load(answer) | {"front": answer.headers.get("X-Front")}
    except (OSError, ValueError) as error:
        told = {"error": f"{error} {getattr(error, 'read', bytes)().decode().strip()}"}
    print(json.dumps({"address": address, **told}), flush=True)
"""


class DemoFailed(TestbedError):
    """The demo did not do what it promises."""


@dataclass(frozen=True)
class Answer:
    """One visit: who asked whom, who answered, and the count."""

    asker: str
    address: str
    visits: int
    front: str
    worker: str
    node: str  # as the worker knows it: the orchestrator told it, by a template in the compose file


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit code. What failed is one sentence on stderr."""
    options = _parser().parse_args(argv)
    requirements.add_sbin_to_path()
    try:
        if options.action == "down":
            _down(Testbed(options.name))
        elif options.check:
            _check(Testbed(f"{options.name}-check"))
        else:
            _show(Testbed(options.name))
    except (TestbedError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; run it again to go on, or `scripts/demo down` to remove all", file=sys.stderr)
        return 130
    return 0


# -- the three ways to run it


def _show(testbed: Testbed) -> None:
    swarm = _bring_up(testbed)
    _ask_everywhere(testbed, swarm)
    _print_what_next(testbed, swarm)


def _check(testbed: Testbed) -> None:
    """All of it, asserted. The hosts are removed in the end, whatever happened."""
    try:
        swarm = _bring_up(testbed)
        before = _ask_everywhere(testbed, swarm)
        _kill_the_leader(swarm)
        after = _ask_everywhere(testbed, swarm)
        _expect(after[0].visits > before[-1].visits, "the count went on after the leader's death")
        _scale(swarm, REPLICAS["worker"] + 2)
        _ask_everywhere(testbed, swarm)
        _remove_the_stack(swarm)
    except (TestbedError, OSError):
        print(Swarm(testbed.hosts).describe(), file=sys.stderr)
        raise
    finally:
        _down(testbed)
    _expect_no_trace(testbed)
    print("demo: all checks passed")


def _down(testbed: Testbed) -> None:
    requirements.check()
    with _step(f"removing the hosts of {testbed.layout.name}"):
        testbed.down()


# -- the steps


def _bring_up(testbed: Testbed) -> Swarm:
    requirements.check_machine()
    with _step("installing what is missing"):
        _install()
    requirements.check()
    with _step("making the images, from Debian's packages"):
        build(EXAMPLE_IMAGES)
    with _step(f"bringing up {HOSTS} hosts with engines of their own"):
        hosts = testbed.up(HOSTS, images=EXAMPLE_IMAGES)
    swarm = Swarm(hosts)
    with _step("forming the cluster: n1, n2, n3 are managers and workers, n4 is a worker"):
        swarm.form()
    with _step(f"deploying {COMPOSE.relative_to(CHECKOUT)}"):
        swarm.cli("stack", "deploy", "-c", COMPOSE, STACK, timeout_s=180)
    with _step(f"waiting for {sum(REPLICAS.values())} containers"):
        _wait_for_replicas(swarm, sum(REPLICAS.values()))
    _print_containers(swarm)
    return swarm


def _install() -> None:
    done = subprocess.run([CHECKOUT / "scripts" / "setup", "run"], check=False)
    if done.returncode != 0:
        raise DemoFailed("what is needed could not be installed: the message above says what")


def _wait_for_replicas(swarm: Swarm, count: int) -> None:
    """All tasks run, none more than wanted; and each host's engine agrees."""
    swarm.wait_running(STACK, count, timeout_s=120)
    wait_until(
        lambda: sum(len(_containers(host)) for host in swarm.hosts) == count,
        f"{count} containers in the hosts' engines",
        timeout_s=30,
    )


def _ask_everywhere(testbed: Testbed, swarm: Swarm) -> list[Answer]:
    """Ask from every host through every host; show who answered; the count goes up with every answer."""
    with _step("asking from every host through every host"):
        _wait_for_first_answer(swarm.hosts)
        answers = [answer for host in swarm.hosts for answer in _ask(host, swarm.hosts)]
    places = _places(swarm.hosts)
    _print_answers(answers, places)
    counts = [answer.visits for answer in answers]
    rises = all(earlier < later for earlier, later in pairwise(counts))
    _expect(rises, f"the count goes up with every visit: {counts}")
    workers = {answer.worker for answer in answers}
    _expect(len(workers) > 1, f"several workers answer ({len(workers)} did)")
    misplaced = [answer for answer in answers if answer.node != places.get(answer.worker)]
    _expect(not misplaced, f"every worker names the node it is on: {misplaced}")
    return answers


def _wait_for_first_answer(hosts: Sequence[Host]) -> None:
    """Nothing is wrong with a first answer that is late: a published port follows its first healthy task."""

    def answered() -> bool:
        return all("visits" in told for host in hosts for told in _told(host, hosts))

    wait_until(answered, "an answer through every host", timeout_s=30, period_s=0.2)


def _kill_the_leader(swarm: Swarm) -> None:
    leader = swarm.leader()
    with _step(f"killing the leading manager (kill -9 of swarm-manager on {leader.name})"):
        leader.kill("swarm-manager")
    with _step("waiting for the managers to have a leader and all nodes ready again"):
        swarm.wait(lambda: bool(swarm.leader()), "a new leader", timeout_s=30)
        swarm.wait_ready()
        _wait_for_replicas(swarm, sum(REPLICAS.values()))
    print(f"    {swarm.leader().name} leads now")


def _scale(swarm: Swarm, replicas: int) -> None:
    with _step(f"scaling the workers to {replicas}, by the new leader"):
        swarm.cli("service", "scale", f"{STACK}_worker={replicas}")
        _wait_for_replicas(swarm, sum(REPLICAS.values()) - REPLICAS["worker"] + replicas)


def _remove_the_stack(swarm: Swarm) -> None:
    with _step("removing the stack"):
        swarm.cli("stack", "rm", STACK)
        wait_until(lambda: not any(_containers(host) for host in swarm.hosts), "the end of its containers", 60)


def _expect_no_trace(testbed: Testbed) -> None:
    name = testbed.layout.name
    _expect(not testbed.layout.folder.exists(), f"{testbed.layout.folder} is gone")
    _expect(not testbed.switch.exists(), f"the network namespace {testbed.switch.namespace} is gone")
    _expect(name not in cgroup.testbeds(), f"the control groups of {name} are gone")
    _expect(f"/{name}/" not in Path("/proc/self/mountinfo").read_text(), f"the mounts of {name} are gone")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise DemoFailed(f"this should be so and is not: {what}")


# -- asking and showing


def _ask(asker: Host, hosts: Sequence[Host]) -> list[Answer]:
    """Ask through every host, from one of them."""
    answers = []
    for told in _told(asker, hosts):
        if "visits" not in told:
            raise DemoFailed(f"{asker.name} asked {told['address']} and got no count: {told.get('error')}")
        who = (asker.name, str(told["address"]))
        answers.append(
            Answer(*who, int(str(told["visits"])), *(str(told.get(key)) for key in ("front", "worker", "node")))
        )
    return answers


def _told(asker: Host, hosts: Sequence[Host]) -> list[dict[str, object]]:
    addresses = [f"{host.address}:{PORT}" for host in hosts]
    said = asker.run(["python3", "-c", _ASK, *addresses]).stdout
    return [json.loads(line) for line in said.splitlines()]


def _places(hosts: Sequence[Host]) -> dict[str, str]:
    """Each container's hostname, and the host it is on."""
    return {str(config["Hostname"]): host.name for host in hosts for config in _containers(host)}


def _containers(host: Host) -> list[dict[str, object]]:
    """The settings of the containers of our stack that a host's engine runs."""
    found = (_settings(host, str(container["Id"])) for container in host.engine.containers())
    return [settings for settings in found if str(settings.get("Image")).startswith(f"{STACK}-")]


def _settings(host: Host, container_id: str) -> dict[str, object]:
    """A container's; empty when it was removed since it was listed."""
    try:
        config: dict[str, object] = host.engine.request("GET", f"/containers/{container_id}/json")["Config"]
    except EngineError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return {}
    return config


def _print_containers(swarm: Swarm) -> None:
    for host in swarm.hosts:
        images = sorted(str(config["Image"]) for config in _containers(host))
        print(f"    {host.name}  {'  '.join(images)}")


def _print_answers(answers: Sequence[Answer], places: dict[str, str]) -> None:
    line = "    {:<5} {:<20} {:<19} {:<19} {:>6}"
    print(line.format("FROM", "ASKED", "NGINX", "WORKER", "VISITS"))
    for answer in answers:
        front, worker = f"{answer.front[:12]} {places.get(answer.front, '?')}", f"{answer.worker[:12]} {answer.node}"
        print(line.format(answer.asker, answer.address, front, worker, answer.visits))


def _print_what_next(testbed: Testbed, swarm: Swarm) -> None:
    name = testbed.layout.name
    on = f"scripts/testbed --name {name}"
    down = "scripts/demo down" if name == DEFAULT_NAME else f"scripts/demo down --name {name}"
    print(f"""
It is running. Try:

    {on} exec n1 swarm-cli node ls
    {on} exec n1 swarm-cli stack ps {STACK}
    {on} exec n4 curl -s http://{swarm.hosts[0].address}:{PORT}/
    {on} exec n2 swarm-cli service scale {STACK}_worker=9
    {on} kill {swarm.leader().name} swarm-manager     # the leading manager; then ask again
    {on} poweroff n4              # its containers move; `poweron n4` brings it back
    {on} --help                   # more faults

    {down:<30}# removes all of it
""")


@contextmanager
def _step(what: str) -> Iterator[None]:
    print(f"==> {what} ...", flush=True)
    start = time.monotonic()
    yield
    print(f"    {time.monotonic() - start:.1f} s", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", nargs="?", choices=["up", "down"], default="up", help="up (the default) or down")
    parser.add_argument("--check", action="store_true", help="assert every step, with a fault in between, and clean up")
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of the testbed (default: %(default)s)")
    return parser
