"""What each node is told: its tasks, and what it must know of networks, services, secrets and configs."""

from collections.abc import Iterable, Mapping

from swarm_api.dispatcher_pb2 import Assignment

from swarm_manager.core.diff import Event
from swarm_manager.core.snapshot import View


def assignments_for(view: View, node_id: str) -> dict[str, Assignment]:
    """All that a node is told, by key."""
    raise NotImplementedError


def affected_nodes(old: View, new: View, happened: Iterable[Event]) -> set[str]:
    """The nodes whose assignments may differ between two snapshots."""
    raise NotImplementedError


def difference(old: Mapping[str, Assignment], new: Mapping[str, Assignment]) -> tuple[list[Assignment], list[str]]:
    """What to set and which keys to remove to come from `old` to `new`."""
    raise NotImplementedError
