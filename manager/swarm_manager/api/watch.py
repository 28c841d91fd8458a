"""The stream of changes, from now on or from a version on.

It is served from this manager's own copy, follower or leader: a watcher sees every commit, in order, once.
"""

from collections.abc import AsyncIterator
from typing import Any

from swarm_api.control_pb2 import WatchEvent, WatchMessage, WatchRequest
from swarm_api.objects_pb2 import Object

from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import matches
from swarm_manager.api.redact import redacted
from swarm_manager.core.diff import Action, Event
from swarm_manager.core.kinds import KINDS, wrap
from swarm_manager.core.times import timestamp
from swarm_manager.events import Batch

_ACTIONS = {
    Action.CREATE: WatchEvent.CREATE,
    Action.UPDATE: WatchEvent.UPDATE,
    Action.REMOVE: WatchEvent.REMOVE_OBJECT,
}


class WatchRpcs(Desk):
    """Watch."""

    async def Watch(self, request: WatchRequest, context: Any) -> AsyncIterator[WatchMessage]:  # noqa: N802, ARG002 - gRPC's
        """First the version the watch starts at, then one message a commit that changed what is watched."""
        start = request.resume_from or self._store.snapshot.index
        batches = self._store.follow(start)
        yield WatchMessage(version=start)
        async for fresh in batches:
            for batch in fresh:
                events = [_shown(event) for event in batch.events if _is_wanted(request, event)]
                if events:
                    yield _message(batch, events)


def _message(batch: Batch, events: list[WatchEvent]) -> WatchMessage:
    return WatchMessage(version=batch.index, events=events, at=timestamp(batch.at_ns))


def _is_wanted(request: WatchRequest, event: Event) -> bool:
    if request.kinds and event.kind not in request.kinds:
        return False
    if not request.HasField("filter"):
        return True
    return any(matches(request.filter, thing) for thing in (event.new, event.old) if thing is not None)


def _shown(event: Event) -> WatchEvent:
    current = event.new if event.new is not None else event.old
    shown = WatchEvent(action=_ACTIONS[event.action], object=_wrapped(event.kind, current))
    if event.action is Action.UPDATE:
        shown.old_object.CopyFrom(_wrapped(event.kind, event.old))
    return shown


def _wrapped(kind: int, obj: Any) -> Object:
    return wrap(KINDS[kind], redacted(obj))
