"""What each node is told, computed from a snapshot; and whom a commit concerns."""

from swarm_manager.core.dispatch.affected import affected_nodes, stops_serving
from swarm_manager.core.dispatch.assignments import Assignments, assignments_for
from swarm_manager.core.dispatch.told import NOTHING, Differences, Told

__all__ = ["NOTHING", "Assignments", "Differences", "Told", "affected_nodes", "assignments_for", "stops_serving"]
