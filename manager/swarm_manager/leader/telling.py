"""Wakes the sessions of those nodes whose assignments may have changed with a commit."""

import contextlib
from collections.abc import Sequence

from swarm_api.objects_pb2 import Node, ObjectKind

from swarm_manager.api.sessions import Sessions
from swarm_manager.core.diff import Event
from swarm_manager.core.dispatch import affected_nodes, stops_serving
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import DeniedError, TooOldError
from swarm_manager.events import Batch
from swarm_manager.ports import Store


class Telling:
    """Follows the commits on behalf of all sessions."""

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions

    async def run(self, term: int) -> None:  # noqa: ARG002 - a loop of the leader
        """Follow until cancelled."""
        while True:
            before = self._store.snapshot
            self._sessions.wake_all()
            with contextlib.suppress(TooOldError):  # we fell behind: look at all nodes, follow from now on
                async for fresh in self._store.follow(before.index):
                    events = [event for batch in fresh for event in batch.events]
                    self._about_tasks(before, fresh[-1].snapshot, events)
                    self._about_nodes(fresh)
                    before = fresh[-1].snapshot

    def _about_tasks(self, before: Snapshot, after: Snapshot, events: Sequence[Event]) -> None:
        self._sessions.wake(affected_nodes(before, after, events))
        urgent = [event for event in events if stops_serving(event)]
        self._sessions.wake(affected_nodes(before, after, urgent), urgent=True)

    def _about_nodes(self, fresh: Sequence[Batch]) -> None:
        for batch in fresh:
            for event in batch.events:
                if event.kind == ObjectKind.NODE:
                    self._about_node(event)
                elif event.kind == ObjectKind.CLUSTER:
                    self._sessions.wake_all()

    def _about_node(self, event: Event) -> None:
        if event.new is None:
            self._sessions.drop(event.id, DeniedError(f"Node {event.id} was removed from the cluster."))
        if _manager_address(event.old) != _manager_address(event.new):
            self._sessions.wake_all()  # everybody knows all managers
        else:
            self._sessions.wake([event.id])


def _manager_address(node: object) -> str:
    return node.manager_address if isinstance(node, Node) else ""
