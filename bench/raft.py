"""Raft's own figures, beside etcd 3.4 on the same three hosts: `scripts/bench raft`.

Hosts      three of a testbed without engines: own network namespaces joined by a switch, own folders on one disk
Ours       the Raft layer (swarm_manager.raft.Replica): mutual TLS 1.3, every entry fdatasynced by a majority before it
           counts. Load is made in the leader's process by a thread of its own, as the manager's callers do, with
           entries of 1 KB and a state machine that keeps the last 1000 of them. gRPC and the store are not in it.
Peer       etcd with fsync, and TLS with client certificates between clients, peers and servers. Load comes from a
           lean HTTP/2 client (bench/etcd_client.py) in the leader's host: gRPC and etcd's store are in it. So
           etcd's figures hold a little more work than ours; their ratio is to be read with that in mind.
Rows       --rows speed: commits and reads, turns of both sides interleaved, --rounds each of --load-s seconds
           --rows api: configs of 1 KB created through the Control API of whole managers, by our Python client over
           the leader's local socket: gRPC, validation and the store are in it, on one asyncio loop in Python
           --rows faults: the leader killed, cut off, frozen, --fault-rounds each, until the next commit that was
           begun after the fault; etcd's leader killed --peer-rounds times
           --rows disk: restarts of a follower (from the start of its process until it has applied what it had), and
           compaction and installation of 50 MB of real objects under 500 writes a second (the manager's own store).
           A tick is all that the Raft thread does between two waits, messages, applying and syncing included.
           --rows compaction: of these, compaction alone, --rounds times; not run unless it is named
           --rows soak: --soak-minutes of 500 writes a second; not run without that option
Checked    nothing fails under load; no election where none must be; memory and disk do not grow
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bench import raft_api, raft_disk, raft_faults, raft_soak, raft_speed
from bench.arena import parser
from bench.figures import Report
from bench.raft_hosts import BareHosts, bare_hosts

ROWS = ("speed", "faults", "disk", "api", "soak")
PARTS_OF_ROWS = ("compaction",)


def main(argv: Sequence[str] | None = None) -> int:
    options_of = parser(__doc__, rounds=3, fault_rounds=10, peer_rounds=3)
    options_of.add_argument("--rows", nargs="*", choices=ROWS + PARTS_OF_ROWS, default=ROWS, help="default: all")
    options_of.add_argument("--load-s", type=float, default=4.0, help="default: 4")
    options_of.add_argument("--soak-minutes", type=float, default=0.0, help="default: 0, no soak")
    options = options_of.parse_args(argv)
    report = Report("raft")
    parts: dict[str, Callable[[BareHosts], None]] = {
        "speed": lambda bare: raft_speed.measure(report, bare, options.rounds, options.load_s),
        "faults": lambda bare: raft_faults.measure(report, bare, options.fault_rounds, options.peer_rounds),
        "disk": lambda bare: raft_disk.measure(report, bare, options.rounds),
        "compaction": lambda bare: raft_disk.measure_compaction(report, bare, options.rounds),
        "soak": lambda bare: raft_soak.measure(report, bare, options.soak_minutes),
        "api": lambda bare: raft_api.measure(report, bare, options.rounds, options.load_s),
    }
    for name, measure in parts.items():
        if name in options.rows and (name != "soak" or options.soak_minutes):
            with bare_hosts(options.testbed) as bare:  # fresh ones for each
                measure(bare)
    report.print()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
