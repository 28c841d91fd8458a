"""Where benchmarks take place: five hosts of a testbed, both orchestrators on them, the same image in every engine.

Engines run without live-restore, because Docker's swarm mode refuses to work with it. The two orchestrators stand
on the same hosts at once (their ports differ), so that their turns can be interleaved: what slows the machine down
for a while slows both.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bench.docker_swarm import DockerSwarm
from bench.raftswarm import Raftswarm
from tests.testbed import images, requirements
from tests.testbed.cluster import Testbed
from tests.testbed.engine import SWARM_MODE_OPTIONS
from tests.testbed.host import Host

HOSTS = 5
IMAGE = "busybox:local"


@dataclass(frozen=True)
class Arena:
    """A testbed with its hosts, and what stands on it."""

    testbed: Testbed
    hosts: list[Host]
    image_id: str  # by the image's name, Docker Swarm would first ask a registry that no host can reach


def parser(module_doc: str | None, **counts: int) -> argparse.ArgumentParser:
    """A command line with `--testbed` and a number option for each of `counts` (its default)."""
    result = argparse.ArgumentParser(description=module_doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("TESTBED_NAME", "bench")
    result.add_argument("--testbed", default=default, help=f"name of the testbed to use (default: {default})")
    for name, number in counts.items():
        result.add_argument(f"--{name.replace('_', '-')}", type=int, default=number, help=f"default: {number}")
    return result


@contextlib.contextmanager
def hosts_up(name: str, count: int = HOSTS) -> Iterator[Arena]:
    """Fresh hosts with engines and the image; nothing of them is left afterwards."""
    requirements.add_sbin_to_path()
    with Testbed(name) as testbed:
        testbed.down()  # what an interrupted run left
        hosts = testbed.up(count, SWARM_MODE_OPTIONS)
        images.load(hosts, [IMAGE])
        yield Arena(testbed, hosts, str(hosts[0].engine.request("GET", f"/images/{IMAGE}/json")["Id"]))


@contextlib.contextmanager
def both_up(name: str) -> Iterator[tuple[Arena, Raftswarm, DockerSwarm]]:
    """Fresh hosts with both orchestrators formed on them."""
    with hosts_up(name) as arena:
        ours, peer = Raftswarm(arena.hosts), DockerSwarm(arena.hosts)
        ours.form()
        ours.start_daemon_at_boot()
        peer.form()
        yield arena, ours, peer
