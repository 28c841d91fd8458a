"""Whether anybody notices a rolling update: requests that fail while 20 tasks are replaced under load.

Measured   requests that failed, of those that a client on each host made through the published port of its host
           (--pace a second each, each over a new connection, answered within 5 s), from just before the update until
           it is completed; beside them the requests that were late, whose first packet got no answer
Orders     stop-first and start-first, --parallelism tasks at once
Service    20 tasks on five hosts, each ready a second after its start; its health check sees that every three seconds
Floor      the same load for --floor-s seconds without an update: what fails there is not the update's. Docker Swarm is
           no peer here: on a kernel without IPVS its mesh answers nothing at all
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from swarm_api.objects_pb2 import UpdateStatus
from swarm_api.types_pb2 import UpdateConfig

from bench.arena import HOSTS, hosts_up, parser
from bench.figures import Check, Figure, Limit, Report
from bench.raftswarm import Raftswarm
from bench.serving import ServingWatch
from bench.website import PORT, next_version, wait_running, website
from tests.testbed.load import Fared, Load
from tests.testbed.process import wait_until

SERVICE = "rolling"
SETTLE_S = 3.0
UPDATE_S = 240.0
ORDERS = {"stop first": UpdateConfig.STOP_FIRST, "start first": UpdateConfig.START_FIRST}
LIMITS = (Limit("worst", 0),)


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, replicas=20, parallelism=4, pace=20, floor_s=15, hosts=HOSTS).parse_args(argv)
    report = Report("rolling")
    with hosts_up(options.testbed, options.hosts) as arena:
        side = Raftswarm(arena.hosts)
        side.form()
        with side.client() as client:
            client.services.create(website(SERVICE, arena.image_id, options.replicas))
        wait_running(side, SERVICE, options.replicas, timeout_s=90)
        time.sleep(SETTLE_S)
        with Load(arena.hosts, PORT, options.pace) as load:
            time.sleep(options.floor_s)
            floor = load.stop()
        for what, order in ORDERS.items():
            _note(report, what, _update(side, order, options.parallelism, options.pace, report), floor)
    report.print()
    return 1 if report.failed else 0


def _update(
    side: Raftswarm, order: UpdateConfig.Order.ValueType, parallelism: int, pace: int, report: Report
) -> dict[str, Fared]:
    watch = ServingWatch(side.hosts, f"{side.service_label}={SERVICE}")
    with watch, Load(side.hosts, PORT, pace) as load, side.client() as client:
        time.sleep(SETTLE_S)
        began = time.monotonic()
        client.services.edit(SERVICE, lambda spec: next_version(spec, order, parallelism))

        def completed() -> bool:
            return client.services.get(SERVICE).update_status.state == UpdateStatus.COMPLETED

        wait_until(completed, "the end of the update", UPDATE_S, 0.1)
        took_s = time.monotonic() - began
        time.sleep(SETTLE_S)
        fared = load.stop()
        wanted = int(client.services.get(SERVICE).spec.replicated.replicas)
    least = wanted - (parallelism if order == UpdateConfig.STOP_FIRST else 0)
    fewest = watch.fewest()
    what = f"{UpdateConfig.Order.Name(order).lower()}: never fewer than {least} healthy tasks"
    report.checks.append(Check(what, fewest >= least, f"{fewest} at the fewest, in {took_s:.1f} s"))
    return fared


def _note(report: Report, what: str, fared: dict[str, Fared], floor: dict[str, Fared]) -> None:
    requests, base = sum(one.requests for one in fared.values()), sum(one.requests for one in floor.values())
    failed = [float(len(one.failures)) for one in fared.values()]
    failed_at_rest = [float(len(one.failures)) for one in floor.values()]
    rows = {"failed": (failed, failed_at_rest, LIMITS), "late": _counts(fared, floor)}
    for kind, (ours, peer, limits) in rows.items():
        name = f"no update, {base} requests"
        report.figures.append(Figure(f"{what}: {kind} of {requests}, a host", "requests", ours, peer, name, limits))
    report.checks.append(Check(f"{what}: no request failed", sum(failed) == 0, f"{sum(failed):.0f} failed"))
    for host, one in fared.items():
        for reason, count in Counter(reason for _, reason in one.failures).items():
            print(f"  {what}: {host}: {count} times: {reason}", file=sys.stderr, flush=True)


def _counts(
    fared: dict[str, Fared], floor: dict[str, Fared]
) -> tuple[Sequence[float], Sequence[float], tuple[Limit, ...]]:
    return [float(one.late) for one in fared.values()], [float(one.late) for one in floor.values()], ()


if __name__ == "__main__":
    sys.exit(main())
