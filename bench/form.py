"""How long it takes to make a cluster of five nodes.

Measured   seconds for `init` on the first host and `join` on four more (two managers, two workers), one after the
           other, until every node is ready and all three managers take part
Clock      starts right before the first command; stops when a manager tells that all is ready (asked every 20 ms).
           The start of the commands themselves and of the node's daemon is part of it
Peer       `docker swarm init` and `join`, the same way; its daemon runs before the clock starts
Hosts      fresh ones for every round and side; the sides take turns
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from bench.arena import hosts_up, parser
from bench.docker_swarm import DockerSwarm
from bench.figures import Figure, Limit, Report
from bench.raftswarm import Raftswarm
from bench.side import Side
from tests.testbed.host import Host

LIMITS = (Limit("median", 5.0),)
SETTLE_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, rounds=5).parse_args(argv)
    report = Report("form")
    ours: list[float] = []
    peer: list[float] = []
    for _ in range(options.rounds):
        taken_s, _ = _form(options.testbed, Raftswarm)
        ours.append(taken_s)
        taken_s, peer_name = _form(options.testbed, DockerSwarm)
        peer.append(taken_s)
        print(f"  ours {ours[-1]:.2f} s, {peer_name} {peer[-1]:.2f} s", file=sys.stderr, flush=True)
    report.figures.append(Figure("init and four joins, all ready", "s", ours, peer, peer_name, LIMITS))
    report.print()
    return 0


def _form(testbed: str, make: Callable[[Sequence[Host]], Side]) -> tuple[float, str]:
    with hosts_up(testbed) as arena:
        side = make(arena.hosts)
        time.sleep(SETTLE_S)
        start = time.monotonic()
        side.form()
        return time.monotonic() - start, side.name


if __name__ == "__main__":
    sys.exit(main())
