"""SwarmKit's scheduler benchmarks, run against our planner, in memory.

Measured   milliseconds to place the waiting tasks of one service: the scheduling alone, which is what SwarmKit times,
           and a whole plan, which also orchestrates the service and allocates what its tasks need
Cases      SwarmKit's ten: so many ready nodes, so many new tasks; in four a constraint that every third node meets
Peer       SwarmKit's own figures, as published with it, of their authors' machine: BenchmarkScheduler* in
           manager/scheduler/scheduler_test.go; it published none for the last five
Garbage    the snapshot is left out of the collector's searches, as a manager leaves out what it has loaded
Rounds     --rounds each, one where a million tasks are placed. --most-tasks leaves larger cases out
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence

from swarm_api.objects_pb2 import Node, ObjectKind, Service, Task
from swarm_api.store_pb2 import Change
from swarm_api.types_pb2 import NodeState, TaskState
from swarm_manager import garbage
from swarm_manager.core import planner
from swarm_manager.core.draft import Draft
from swarm_manager.core.schedule.pipeline import place
from swarm_manager.core.scratch import Scratch
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import SECOND_NS, timestamp

from bench.figures import Figure, Limit, Report

NOW = timestamp(1_700_000_000 * SECOND_NS)

# nodes, tasks, whether a constraint every third node meets is asked for, SwarmKit's published milliseconds
CASES = (
    (1_000, 1_000, False, 98),
    (1_000, 10_000, False, 548),
    (1_000, 100_000, False, 6_160),
    (100_000, 1_000, False, 311),
    (100_000, 100_000, False, 6_670),
    (100_000, 1_000_000, False, None),
    (1_000, 1_000, True, None),
    (1_000, 10_000, True, None),
    (1_000, 100_000, True, None),
    (5_000, 100_000, True, None),
)


def snapshot_of(nodes: int, tasks: int, *, constrained: bool) -> Snapshot:
    """Ready nodes, and a service whose tasks were created and wait for nodes."""
    draft = Draft(Snapshot())
    for number in range(nodes):
        node = Node(id=f"node{number:021d}")
        node.status.state = NodeState.READY_STATE
        node.spec.annotations.labels["third"] = "yes" if number % 3 == 0 else "no"
        draft.put(ObjectKind.NODE, node)
    service = Service(id="s" * 25)
    service.spec.annotations.name = "bench"
    service.spec.replicated.replicas = tasks
    service.spec.task.container.image = "app"
    if constrained:
        service.spec.task.placement.constraints.append("node.labels.third == yes")
    service.spec_version.index = 1
    draft.put(ObjectKind.SERVICE, service)
    for number in range(tasks):
        task = Task(id=f"task{number:021d}", service_id=service.id, slot=number + 1, spec=service.spec.task)
        task.spec_version.index = 1
        task.desired_state = TaskState.RUNNING
        task.status.state = TaskState.PENDING
        draft.put(ObjectKind.TASK, task)
    return draft.snapshot(1)


def place_ms(snapshot: Snapshot, tasks: int) -> float:
    """Milliseconds of what SwarmKit's scheduler does: read the waiting tasks, place them, write the decisions down."""

    def place_all() -> list[Change]:
        scratch = Scratch(snapshot, NOW, iter(()))
        place(scratch, list(scratch.unassigned.values()))
        return scratch.changes()

    return _timed_ms(place_all, tasks)


def plan_ms(snapshot: Snapshot, tasks: int) -> float:
    """Milliseconds of a whole plan: orchestration, allocation and scheduling."""
    return _timed_ms(lambda: planner.plan(snapshot, NOW, {"s" * 25}, iter(())).changes, tasks)


def _timed_ms(work: Callable[[], list[Change]], tasks: int) -> float:
    garbage.settle()
    began = time.perf_counter()
    changes = work()
    took_ms = (time.perf_counter() - began) * 1000
    assigned = sum(1 for change in changes if change.object.task.status.state == TaskState.ASSIGNED)
    assert assigned == tasks, (assigned, tasks)
    return took_ms


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--most-tasks", type=int, default=1_000_000, help="default: 1000000")
    options = parser.parse_args(argv)
    report = Report("scheduler")
    for nodes, tasks, constrained, peer_ms in CASES:
        if tasks <= options.most_tasks:
            rounds = 1 if tasks > 100_000 else options.rounds
            report.figures += _figures(nodes, tasks, constrained, peer_ms, rounds)
    report.print()
    return 0


def _figures(nodes: int, tasks: int, constrained: bool, peer_ms: int | None, rounds: int) -> list[Figure]:
    snapshot = snapshot_of(nodes, tasks, constrained=constrained)
    placed = [place_ms(snapshot, tasks) for _ in range(rounds)]
    planned = [plan_ms(snapshot, tasks) for _ in range(rounds)]
    gc.unfreeze()
    what = f"{nodes} nodes, {tasks} tasks{', 1 of 3 fits' if constrained else ''}"
    print(f"  {what}: {min(placed):.0f} ms, whole plan {min(planned):.0f} ms", file=sys.stderr, flush=True)
    peer, limits = ([peer_ms], (Limit("ratio", 1.0),)) if peer_ms else ([], ())
    return [
        Figure(f"{what}: schedule", "ms", placed, peer, "SwarmKit, published", limits),
        Figure(f"{what}: whole plan", "ms", planned, peer, "SwarmKit, schedule alone"),
    ]


if __name__ == "__main__":
    sys.exit(main())
