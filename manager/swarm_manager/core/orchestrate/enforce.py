"""Whether a task may stay on its node."""

from enum import Enum

from swarm_api.constraints import Constraint, ConstraintError, parse_constraints
from swarm_api.objects_pb2 import Node, Service, Task
from swarm_api.specs_pb2 import TaskSpec
from swarm_api.types_pb2 import NodeAvailability, NodeState

from swarm_manager.core.draft import is_assigned
from swarm_manager.core.schedule.filters import platform_fits
from swarm_manager.core.snapshot import View


class Stay(Enum):
    """What is to become of a task on its node."""

    MAY_STAY = "may stay"
    LOST = "lost"  # the node is down or gone: replace at once, wait for nothing
    MUST_GO = "must go"  # the node works, but is not for this task any more


class NodeRules:
    """What a service asks of the nodes its tasks run on."""

    def __init__(self, service: Service) -> None:
        placement = service.spec.task.placement
        self._constraints = _parsed(list(placement.constraints))
        self._platforms = list(placement.platforms)
        self._keep_on_silence = service.spec.task.on_disconnect == TaskSpec.KEEP

    def admit(self, node: Node) -> bool:
        """Whether the service's constraints and platforms allow the node."""
        return all(c.soft or c.matches(node) for c in self._constraints) and platform_fits(node, self._platforms)

    def verdict(self, view: View, task: Task) -> Stay:
        """Whether a task of the service may stay where it is."""
        if not is_assigned(task):
            return Stay.MAY_STAY
        node = view.nodes.get(task.node_id)
        if node is None:
            return Stay.LOST
        if node.status.state == NodeState.DOWN:
            return Stay.MAY_STAY if self._keep_on_silence else Stay.LOST
        if node.spec.availability == NodeAvailability.DRAIN or not self.admit(node):
            return Stay.MUST_GO
        return Stay.MAY_STAY


def _parsed(constraints: list[str]) -> list[Constraint]:
    """The constraints; none at all when one of them cannot be read: nobody is evicted over a slip of the pen."""
    try:
        return parse_constraints(constraints)
    except ConstraintError:
        return []
