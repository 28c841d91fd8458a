"""How long a person waits for the command line itself.

Measured   wall seconds of `swarm-cli --help` and of `swarm-cli node ls` (five nodes), run on a manager's host
Clock      around the whole process, with what it takes to enter the host, which the floor has too
Floor      `python -c pass` with the interpreter that swarm-cli runs on; peer: `docker --help`, `docker node ls`
Order      all commands in turn, --rounds times, so that what slows the machine down slows all
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from bench.arena import both_up, parser
from bench.figures import Figure, Limit, Report
from bench.side import wait_healthy
from tests.testbed.host import Host

SETTLE_S = 2.0
COMMANDS: Mapping[str, Sequence[str]] = {
    "swarm-cli --help": ["swarm-cli", "--help"],
    "swarm-cli node ls": ["swarm-cli", "node", "ls"],
    "python -c pass": [sys.executable, "-c", "pass"],
    "docker --help": ["docker", "--help"],
    "docker node ls": ["docker", "node", "ls"],
}
# What is ours, what it is compared with, and its aim.
ROWS = (
    ("swarm-cli --help", "python -c pass", (Limit("median", 0.25),)),
    ("swarm-cli --help", "docker --help", ()),
    ("swarm-cli node ls", "python -c pass", (Limit("median", 0.5),)),
    ("swarm-cli node ls", "docker node ls", ()),
)


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, rounds=10).parse_args(argv)
    report = Report("cli")
    with both_up(options.testbed) as (_, ours, peer):
        wait_healthy(ours)
        wait_healthy(peer)
        time.sleep(SETTLE_S)
        times = _times(ours.hosts[0], options.rounds)
    report.figures += [Figure(what, "s", times[what], times[other], other, limits) for what, other, limits in ROWS]
    report.print()
    return 0


def _times(host: Host, rounds: int) -> dict[str, list[float]]:
    for argv in COMMANDS.values():
        host.run(argv)  # so that all find their files in memory
    times: dict[str, list[float]] = {what: [] for what in COMMANDS}
    for _ in range(rounds):
        for what, argv in COMMANDS.items():
            start = time.monotonic()
            host.run(argv)
            times[what].append(time.monotonic() - start)
    return times


if __name__ == "__main__":
    sys.exit(main())
