"""SwarmKit's scheduler benchmarks, run against our planner, in memory.

Each case has a number of ready nodes and of new tasks of one service; timed is one plan that assigns all of them.
The peer's figures are the ones published with SwarmKit (manager/scheduler/scheduler_test.go on its authors' machine).

    python bench/scheduler.py [--quick]
"""

import argparse
import gc
import itertools
import statistics
import time

from swarm_api.objects_pb2 import Node, ObjectKind, Service, Task
from swarm_api.types_pb2 import NodeState, TaskState
from swarm_manager.core import planner
from swarm_manager.core.draft import Draft
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


def plan_ms(snapshot: Snapshot, tasks: int) -> float:
    """Milliseconds of one plan; that it assigned everything is checked."""
    ids = (f"new{number}" for number in itertools.count())
    gc.collect()
    began = time.perf_counter()
    made = planner.plan(snapshot, NOW, {"s" * 25}, ids)
    took_ms = (time.perf_counter() - began) * 1000
    assigned = sum(1 for change in made.changes if change.object.task.status.state == TaskState.ASSIGNED)
    assert assigned == tasks, (assigned, tasks)
    return took_ms


def main() -> None:
    """Runs the cases and prints the table."""
    parser = argparse.ArgumentParser(description="SwarmKit's scheduler benchmarks, run against our planner.")
    parser.add_argument("--quick", action="store_true", help="only the cases with up to 100,000 nodes times 1,000")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'nodes':>8} {'tasks':>9} {'constraint':>10} {'plan ms':>9} {'SwarmKit ms':>12}")
    for nodes, tasks, constrained, peer_ms in CASES:
        if arguments.quick and nodes * tasks > 100_000_000:
            continue
        rounds = 1 if tasks > 100_000 else arguments.rounds
        snapshot = snapshot_of(nodes, tasks, constrained=constrained)
        took_ms = statistics.median(plan_ms(snapshot, tasks) for _ in range(rounds))
        third = "1 of 3" if constrained else "-"
        print(f"{nodes:>8} {tasks:>9} {third:>10} {took_ms:>9.0f} {peer_ms or '-':>12}", flush=True)


if __name__ == "__main__":
    main()
