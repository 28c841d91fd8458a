"""Whether draining a node costs capacity: the healthy tasks of a service while one node gives up ten of them.

Measured   the fewest tasks that were able to serve at once: healthy, and not asked to stop yet, as their engines tell
           (nothing is sampled: every moment between two of the engines' events counts); and the seconds until the
           node has none left
Service    20 tasks, health-checked, ten each on two workers; the three other hosts take tasks from the drain on
Checked    never fewer than 20 serve; no request of a client on each host fails meanwhile (--pace a second each)
Peer       none: Docker Swarm stops a drained node's tasks before it starts others (moby#34139)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from swarm_api.specs_pb2 import NodeSpec
from swarm_api.types_pb2 import NodeAvailability

from bench.arena import hosts_up, parser
from bench.figures import Check, Figure, Report
from bench.raftswarm import Raftswarm
from bench.serving import ServingWatch
from bench.side import remove_wholly
from bench.website import PORT, wait_running, website
from tests.testbed.load import Load
from tests.testbed.process import wait_until

SERVICE = "drained"
REPLICAS = 20
SETTLE_S = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, rounds=2, pace=20).parse_args(argv)
    report, fewest, taken_s = Report("drain"), [], []
    with hosts_up(options.testbed) as arena:
        side = Raftswarm(arena.hosts)
        side.form()
        for number in range(options.rounds):
            few, took = _round(side, f"{SERVICE}{number}", arena.image_id, options.pace, report)
            fewest.append(few)
            taken_s.append(took)
    report.figures.append(Figure(f"drain of 10 of {REPLICAS} tasks: fewest healthy", "tasks", fewest))
    report.figures.append(Figure("drain of 10 tasks, to none left on the node", "s", taken_s))
    report.print()
    return 1 if report.failed else 0


def _round(side: Raftswarm, name: str, image: str, pace: int, report: Report) -> tuple[float, float]:
    others, goes = side.hosts[:-2], side.hosts[-1]
    for host in others:
        _set(side, host.name, NodeAvailability.PAUSE)
    with side.client() as client:
        client.services.create(website(name, image, REPLICAS))
    wait_running(side, name, REPLICAS, timeout_s=90)
    share = sum(task.host == goes.name for task in side.tasks(name))
    for host in others:
        _set(side, host.name, NodeAvailability.ACTIVE)
    time.sleep(SETTLE_S)
    with ServingWatch(side.hosts, f"{side.service_label}={name}") as watch, Load(side.hosts, PORT, pace) as load:
        time.sleep(SETTLE_S)
        began = time.monotonic()
        _set(side, goes.name, NodeAvailability.DRAIN)
        label = f"{side.service_label}={name}"
        wait_until(lambda: not goes.engine.containers(label=label), "the end of the node's tasks", 120, 0.05)
        took_s = time.monotonic() - began
        time.sleep(SETTLE_S)
        failed = [reason for one in load.stop().values() for _, reason in one.failures]
    fewest = watch.fewest()
    report.checks.append(
        Check(f"{share} tasks left, never fewer than {REPLICAS} served", fewest >= REPLICAS, str(fewest))
    )
    report.checks.append(Check("no request failed", not failed, ", ".join(failed[:3]) or "none"))
    _set(side, goes.name, NodeAvailability.ACTIVE)
    remove_wholly(side, name)
    return float(fewest), took_s


def _set(side: Raftswarm, name: str, availability: NodeAvailability.ValueType) -> None:
    def change(spec: NodeSpec) -> None:
        spec.availability = availability

    with side.client() as client:
        client.nodes.edit(name, change)


if __name__ == "__main__":
    sys.exit(main())
