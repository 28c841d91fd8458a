"""Global services: one task on every node that may have one."""

from swarm_api.types_pb2 import (
    REMOVE,
)

from swarm_manager.core.orchestrate.enforce import NodeRules
from swarm_manager.core.orchestrate.slots import Desk


def cover_nodes(desk: Desk, rules: NodeRules) -> None:
    """Makes a task on each node that takes tasks, meets the constraints and has none.

    A slot whose task ended and is not to be replaced is not empty: it has a wanted task.
    """
    for node_id in sorted(desk.scratch.facts):
        facts = desk.scratch.facts[node_id]
        if facts.refusal or not rules.admit(facts.node):
            continue
        if not desk.slot((0, node_id)).wanted():
            desk.create(desk.slot((0, node_id)))


def forget_removed_nodes(desk: Desk) -> None:
    """The history of a node that was removed goes with it."""
    for slot in list(desk.slots.values()):
        if slot.key[1] not in desk.scratch.nodes:
            for task in list(slot.tasks.values()):
                desk.desire(slot, task, REMOVE)
