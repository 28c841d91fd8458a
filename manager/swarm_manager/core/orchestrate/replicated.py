"""Replicated services: so many slots, wherever there is room."""

from swarm_api.objects_pb2 import Service
from swarm_api.types_pb2 import (
    REMOVE,
    RUNNING,
)

from swarm_manager.core.draft import is_live
from swarm_manager.core.orchestrate.healing import take_up
from swarm_manager.core.orchestrate.slots import Desk, Slot


def replicas_of(service: Service) -> int:
    """How many tasks the service wants; one when its spec does not say."""
    return int(service.spec.replicated.replicas) if service.spec.HasField("replicated") else 1


def scale(desk: Desk) -> None:
    """Adds slots from the lowest free number on, or removes the ones that are missed least."""
    live = [slot for slot in desk.in_order() if slot.wanted()]
    missing = replicas_of(desk.service) - len(live)
    if missing > 0:
        abandoned = [slot for slot in desk.in_order() if _is_abandoned(slot)][:missing]
        for slot in abandoned:
            take_up(desk, slot)
        _add(desk, missing - len(abandoned))
    elif missing < 0:
        for slot in by_removal_order(desk, live)[:-missing]:
            remove(desk, slot)


def _is_abandoned(slot: Slot) -> bool:
    """Whether its last task was given up to be replaced, and the leader died before it made the new one."""
    return not slot.wanted() and any(task.desired_state < REMOVE for task in slot.tasks.values())


def _add(desk: Desk, count: int) -> None:
    taken = {slot.key[0] for slot in desk.slots.values() if any(_occupies(desk, slot))}
    number = 0
    while count:
        number += 1
        if number not in taken:
            desk.create(desk.slot((number, "")))
            count -= 1


def _occupies(desk: Desk, slot: Slot) -> list[bool]:
    return [
        True
        for task in slot.tasks.values()
        if task.desired_state <= RUNNING or (is_live(task) and not desk.scratch.node_is_gone(task.node_id))
    ]


def remove(desk: Desk, slot: Slot) -> None:
    """Gives a slot up: all its tasks are to be stopped and forgotten."""
    for task in list(slot.tasks.values()):
        desk.desire(slot, task, REMOVE)


def by_removal_order(desk: Desk, slots: list[Slot]) -> list[Slot]:
    """The slots, the first to be removed first: those that do not run, then those on the fullest nodes."""
    per_node: dict[str, int] = {}
    keyed = []
    for slot in sorted(slots, key=lambda s: (not _runs(s), s.key)):
        task = slot.newest()
        node_id = "" if task is None else task.node_id
        position = per_node[node_id] = per_node.get(node_id, 0) + 1
        load = desk.scratch.load_of(node_id).tasks
        keyed.append(((_runs(slot), -position, -load, -slot.key[0]), slot))
    return [slot for _, slot in sorted(keyed, key=lambda item: item[0])]


def _runs(slot: Slot) -> bool:
    return any(task.status.state == RUNNING for task in slot.wanted())
