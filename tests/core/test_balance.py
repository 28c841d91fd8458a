"""Rebalancing comes to an end, evens out, and keeps to every rule of placing - whatever the cluster looks like."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_api.objects_pb2 import Node, ObjectKind, Service, Task
from swarm_api.types_pb2 import NodeAvailability, NodeState, TaskState
from swarm_manager.core.draft import Draft
from swarm_manager.core.schedule.balance import Balance
from swarm_manager.core.snapshot import Snapshot

NODES = tuple(f"n{number}" for number in range(6))


def put_nodes(draft: Draft, zones: list[int], drained: int) -> None:
    for node_id, zone in zip(NODES, zones, strict=True):
        node = Node(id=node_id)
        node.status.state = NodeState.READY_STATE
        node.spec.annotations.labels["zone"] = f"z{zone}"
        node.spec.availability = NodeAvailability.DRAIN if node_id == NODES[drained] else NodeAvailability.ACTIVE
        draft.put(ObjectKind.NODE, node)


def put_service(draft: Draft, name: str, homes: list[int], *, spread: bool, limit: int) -> Service:
    service = Service(id=name)
    service.spec.annotations.name = name
    service.spec.replicated.replicas = len(homes)
    service.spec.task.placement.max_replicas = limit
    if spread:
        service.spec.task.placement.preferences.add(descriptor="node.labels.zone")
    draft.put(ObjectKind.SERVICE, service)
    for slot, home in enumerate(homes, 1):
        task = Task(id=f"{name}-{slot}", service_id=name, slot=slot, node_id=NODES[home], spec=service.spec.task)
        task.desired_state = task.status.state = TaskState.RUNNING
        draft.put(ObjectKind.TASK, task)
    return service


HOMES = st.lists(st.integers(0, 5), max_size=14)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(HOMES, st.booleans(), st.integers(0, 4)), min_size=1, max_size=3), st.data())
def test_moves_come_to_an_end_and_even_out(services: list[tuple[list[int], bool, int]], data: st.DataObject) -> None:
    draft = Draft(Snapshot())
    zones = data.draw(st.lists(st.integers(0, 2), min_size=6, max_size=6))
    drained = data.draw(st.integers(0, 5))
    put_nodes(draft, zones, drained)
    made = [
        put_service(draft, f"s{i}", homes, spread=spread, limit=limit)
        for i, (homes, spread, limit) in enumerate(services)
    ]
    for _ in range(30):
        if sum(_move_all(draft, service, NODES[drained]) for service in made) == 0:
            break
    else:
        raise AssertionError("it moves for ever")
    for service, (homes, spread, limit) in zip(made, services, strict=True):
        if not spread and not limit:
            counts = Counter(t.node_id for t in draft.tasks_of_service(service.id).values())
            open_nodes = [counts[node_id] for node_id in NODES if node_id != NODES[drained]]
            assert max(open_nodes) - min(open_nodes) <= 1, (homes, counts)


def _move_all(draft: Draft, service: Service, drained: str) -> bool:
    tasks = list(draft.tasks_of_service(service.id).values())
    moves = list(Balance(draft).moves(service, tasks, 2, lambda _: True))
    assert len(moves) <= len(tasks)
    limit = service.spec.task.placement.max_replicas
    for task, to_node_id in moves:
        assert to_node_id not in (drained, task.node_id)
        moved = Task()
        moved.CopyFrom(task)
        moved.node_id = to_node_id
        draft.put(ObjectKind.TASK, moved)
    counts = Counter(t.node_id for t in draft.tasks_of_service(service.id).values())
    assert not limit or all(counts[to] <= limit for _, to in moves)
    return bool(moves)
