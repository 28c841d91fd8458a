"""Global services: one task on every node that may have one."""

from swarm_api.types_pb2 import (
    REMOVE,
)

from swarm_manager.core.orchestrate.enforce import NodeRules
from swarm_manager.core.orchestrate.healing import take_up
from swarm_manager.core.orchestrate.slots import Desk


def cover_nodes(desk: Desk, rules: NodeRules) -> None:
    """Makes a task on each node that takes tasks, meets the constraints and has none.

    A slot whose task ended and is not to be replaced is not empty: it has a wanted task. One that was given up, because
    its node was drained or by a leader that died before it made the new task, is taken up where it was.
    """
    for node_id in sorted(desk.scratch.facts):
        facts = desk.scratch.facts[node_id]
        if facts.refusal or not rules.admit(facts.node):
            continue
        slot = desk.slot((0, node_id))
        if slot.tasks and not slot.wanted():
            take_up(desk, slot)
        elif not slot.tasks:
            desk.create(slot)


def forget_removed_nodes(desk: Desk) -> None:
    """The history of a node that was removed goes with it."""
    for slot in list(desk.slots.values()):
        if slot.key[1] not in desk.scratch.nodes:
            for task in list(slot.tasks.values()):
                desk.desire(slot, task, REMOVE)
