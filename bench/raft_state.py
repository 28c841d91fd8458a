"""A manager's state of a given size, of real objects: services of a hundred tasks each, spread over many nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from swarm_api.objects_pb2 import CONFIG, NODE, SERVICE, TASK, Config, Node, ObjectKind, Service, Task
from swarm_api.store_pb2 import Change, ChangeSet
from swarm_api.types_pb2 import NodeState, TaskState
from swarm_manager.core import codec
from swarm_manager.core.draft import Draft
from swarm_manager.core.kinds import KINDS, Stored, wrap
from swarm_manager.core.snapshot import Snapshot

NODES = 500
TASKS_PER_SERVICE = 100
CONFIGS = 200


def written(size_bytes: int) -> Iterator[bytes]:
    """A state of about this size, as a snapshot's body."""
    draft, made = Draft(Snapshot()), 0
    for kind, obj in _objects():
        draft.put(kind, obj)
        made += obj.ByteSize()
        if made >= size_bytes:
            return codec.dump(draft.snapshot(1))
    raise AssertionError("there is no end of objects")


def updates(size_bytes: int) -> Iterator[bytes]:
    """For ever, entries as the API proposes them: a request's id, and a config of this size, one of CONFIGS in turn."""
    data = bytes(range(256)) * (size_bytes // 256)
    for number in itertools.count():
        config = Config(id=f"config{number % CONFIGS:019d}")
        config.spec.annotations.name = f"config-{number % CONFIGS}"
        config.spec.data = data
        change = Change(kind=CONFIG, id=config.id, object=wrap(KINDS[CONFIG], config))
        yield ChangeSet(request_id=f"request{number:018d}", changes=[change]).SerializeToString()


def _objects() -> Iterator[tuple[ObjectKind.ValueType, Stored]]:
    for number in range(NODES):
        node = Node(id=f"node{number:021d}")
        node.description.hostname = f"host-{number}"
        node.status.state = NodeState.READY_STATE
        yield NODE, node
    number = 0
    while True:
        service = _service(number)
        yield SERVICE, service
        for slot in range(1, TASKS_PER_SERVICE + 1):
            yield TASK, _task(service, number, slot)
        number += 1


def _service(number: int) -> Service:
    service = Service(id=f"service{number:018d}")
    service.spec.annotations.name = f"service-{number}"
    service.spec.replicated.replicas = TASKS_PER_SERVICE
    container = service.spec.task.container
    container.image = "registry.example.com/team/application:1.2.3"
    container.command.extend(["/usr/bin/application", "--serve", "--port=8080"])
    container.env.extend(f"SETTING_{n}=the value of setting {n}" for n in range(12))
    return service


def _task(service: Service, number: int, slot: int) -> Task:
    task = Task(id=f"t{number:06d}{slot:018d}", service_id=service.id, slot=slot, spec=service.spec.task)
    task.node_id = f"node{(number + slot) % NODES:021d}"
    task.desired_state = TaskState.RUNNING
    task.status.state = TaskState.RUNNING
    return task
