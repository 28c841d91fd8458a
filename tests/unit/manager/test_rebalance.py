"""The request to rebalance, on a store without Raft."""

import pytest
from swarm_api.control_pb2 import RebalanceRequest
from swarm_api.objects_pb2 import Service, Task
from swarm_api.specs_pb2 import Placement
from swarm_api.types_pb2 import NodeRole, NodeState, TaskState
from swarm_manager.api.control import ControlRpcs
from swarm_manager.errors import NotFoundError

from tests.unit.manager.stores import MemoryStore, cluster, node


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    machines = [node(name, NodeRole.WORKER) for name in ("n1", "n2")]
    for machine in machines:
        machine.status.state = NodeState.READY_STATE
    found.put(cluster(), *machines)
    return found


def put_service(store: MemoryStore, name: str, replicas: int, **placement: object) -> None:
    """A service all of whose tasks run on n1."""
    service = Service(id=f"s-{name}")
    service.spec.annotations.name = name
    service.spec.replicated.replicas = replicas
    service.spec.task.placement.MergeFrom(Placement(**placement))  # type: ignore[arg-type]  # its fields
    tasks = []
    for slot in range(1, replicas + 1):
        task = Task(id=f"t-{name}-{slot}", service_id=service.id, slot=slot, node_id="n1", spec=service.spec.task)
        task.desired_state = task.status.state = TaskState.RUNNING
        tasks.append(task)
    store.put(service, *tasks)


async def asked(store: MemoryStore, **fields: object) -> tuple[list[str], list[str]]:
    """The moves and the reasons of an answer."""
    answer = await ControlRpcs(store).Rebalance(RebalanceRequest(**fields), None)  # type: ignore[arg-type]  # its fields
    moves = [f"{m.service_name}.{m.slot} {m.from_node_id}->{m.to_node_id}" for m in answer.moves]
    return moves, [unmoved.reason for unmoved in answer.unmoved]


def marked(store: MemoryStore) -> list[str]:
    services = store.snapshot.services.values()
    return sorted(s.spec.annotations.name for s in services if s.HasField("rebalance_asked_at"))


async def test_a_dry_run_says_all_moves_and_marks_nothing(store: MemoryStore) -> None:
    put_service(store, "web", 4)
    assert await asked(store, services=["web"], dry_run=True) == (["web.4 n1->n2", "web.3 n1->n2"], [])
    assert marked(store) == []


async def test_only_services_that_have_something_to_move_are_marked(store: MemoryStore) -> None:
    put_service(store, "web", 4)
    put_service(store, "packed", 2, strategy=Placement.BINPACK)
    put_service(store, "bound", 2, constraints=["node.id == n1"])
    moves, reasons = await asked(store, services=["web", "packed", "bound"])
    assert moves == ["web.4 n1->n2", "web.3 n1->n2"]
    assert reasons == ["Service packed stays where it is: its strategy is not spread."]
    assert marked(store) == ["web"]


async def test_without_names_those_that_allow_it_or_all(store: MemoryStore) -> None:
    put_service(store, "web", 2)
    assert await asked(store) == ([], [])
    assert (await asked(store, all=True, dry_run=True))[0] == ["web.2 n1->n2"]


async def test_services_see_each_others_moves(store: MemoryStore) -> None:
    for name in ("a", "b", "c", "d"):
        put_service(store, name, 1)
        service = store.snapshot.services[f"s-{name}"]
        allowed = Service()
        allowed.CopyFrom(service)
        allowed.spec.rebalance = True
        allowed.spec.update.order = 1
        store.put(allowed)
    assert (await asked(store, dry_run=True))[0] == ["a.1 n1->n2", "b.1 n1->n2"]


async def test_a_service_that_is_not_there(store: MemoryStore) -> None:
    with pytest.raises(NotFoundError):
        await asked(store, services=["nothing"])
