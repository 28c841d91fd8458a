"""SwarmKit's scheduler benchmarks, run against our planner, in memory.

Each case has a number of ready nodes and of new tasks of one service.  Timed are the scheduling alone, which is what
SwarmKit times, and a whole plan that also orchestrates the service and allocates what its tasks need.
The peer's figures are the ones published with SwarmKit (manager/scheduler/scheduler_test.go on its authors' machine).

    python bench/scheduler.py [--quick]
"""

import argparse
import gc
import statistics
import time

from swarm_api.objects_pb2 import Node, ObjectKind, Service, Task
from swarm_api.store_pb2 import Change
from swarm_api.types_pb2 import NodeState, TaskState
from swarm_manager.core import planner
from swarm_manager.core.draft import Draft
from swarm_manager.core.schedule.pipeline import place
from swarm_manager.core.scratch import Scratch
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import SECOND_NS, timestamp

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
    _settle_garbage()
    began = time.perf_counter()
    scratch = Scratch(snapshot, NOW, iter(()))
    place(scratch, list(scratch.unassigned.values()))
    changes = scratch.changes()
    took_ms = (time.perf_counter() - began) * 1000
    _check(changes, tasks)
    return took_ms


def plan_ms(snapshot: Snapshot, tasks: int) -> float:
    """Milliseconds of a whole plan: orchestration, allocation and scheduling."""
    _settle_garbage()
    began = time.perf_counter()
    made = planner.plan(snapshot, NOW, {"s" * 25}, iter(()))
    took_ms = (time.perf_counter() - began) * 1000
    _check(made.changes, tasks)
    return took_ms


def _settle_garbage() -> None:
    """Leaves the snapshot out of garbage collection, as a manager does with what it has loaded."""
    gc.collect()
    gc.freeze()


def _check(changes: list[Change], tasks: int) -> None:
    assigned = sum(1 for change in changes if change.object.task.status.state == TaskState.ASSIGNED)
    assert assigned == tasks, (assigned, tasks)


def main() -> None:
    """Runs the cases and prints the table."""
    parser = argparse.ArgumentParser(description="SwarmKit's scheduler benchmarks, run against our planner.")
    parser.add_argument("--quick", action="store_true", help="only the cases with up to 100,000 nodes times 1,000")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'nodes':>8} {'tasks':>9} {'constraint':>10} {'schedule ms':>11} {'whole plan ms':>13} {'SwarmKit ms':>12}")
    for nodes, tasks, constrained, peer_ms in CASES:
        if arguments.quick and nodes * tasks > 100_000_000:
            continue
        rounds = 1 if tasks > 100_000 else arguments.rounds
        snapshot = snapshot_of(nodes, tasks, constrained=constrained)
        placed_ms = statistics.median(place_ms(snapshot, tasks) for _ in range(rounds))
        planned_ms = statistics.median(plan_ms(snapshot, tasks) for _ in range(rounds))
        third = "1 of 3" if constrained else "-"
        print(
            f"{nodes:>8} {tasks:>9} {third:>10} {placed_ms:>11.0f} {planned_ms:>13.0f} {peer_ms or '-':>12}", flush=True
        )
        gc.unfreeze()


if __name__ == "__main__":
    main()
