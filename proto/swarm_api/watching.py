"""The stream of changes, without a gap across leader changes.

Each message of the stream carries the version it brings the reader to.  When the stream breaks, it is opened
again, on whichever manager answers, from that version on: nothing is lost and nothing comes twice.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import grpc

from swarm_api.channel import ManagerConnection, is_retried, refusal
from swarm_api.control_pb2 import Filter, WatchEvent, WatchMessage, WatchRequest
from swarm_api.errors import NoManagerError
from swarm_api.objects_pb2 import Cluster, Config, Network, Node, Object, ObjectKind, Secret, Service, Stack, Task

AnyObject = Node | Service | Task | Network | Secret | Config | Stack | Cluster

PATIENCE_S = 30.0
_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one object."""

    action: str  #: `create`, `update` or `remove`
    kind: str  #: `node`, `service`, `task`, `network`, `secret`, `config`, `stack` or `cluster`
    object: AnyObject  #: after the change; the last state when removed
    old_object: AnyObject | None  #: before an update
    version: int  #: to resume after this change's message
    at_s: float  #: Unix time of the commit


def kind_number(kind: str) -> "ObjectKind.ValueType":
    """The ObjectKind of `service`, `task`, ...; ValueError when there is none."""
    return ObjectKind.Value(kind.upper())


def inner_object(wrapped: Object) -> tuple[str, AnyObject] | None:
    """The kind and the object inside an Object; None when it is empty."""
    kind = wrapped.WhichOneof("kind")
    return None if kind is None else (kind, getattr(wrapped, kind))


class Watch:
    """An iterator over changes.  `version` is where it stands; `close` (from any thread) ends it.

    Raises OutdatedError when it cannot resume from so long ago (read anew, then watch), and NoManagerError
    when no manager has answered for `patience_s` seconds.
    """

    def __init__(
        self,
        connection: ManagerConnection,
        kinds: Iterable[str] = (),
        *,
        resume_from: int = 0,
        filter: Filter | None = None,  # noqa: A002 - the field's name in the API
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._connection = connection
        self._kinds = [kind_number(kind) for kind in kinds]
        self._filter = filter
        self._patience_s = patience_s
        self._call: grpc.CallIterator[WatchMessage] | None = None
        self._is_closed = False
        self.version = resume_from

    def __iter__(self) -> Iterator[Change]:
        for message in self.messages():
            yield from (change for event in message.events if (change := _change(event, message)))

    def messages(self) -> Iterator[WatchMessage]:
        """The raw messages; the first after each (re)connect has no events and says that the watch stands."""
        answered_at = time.monotonic()
        while not self._is_closed:
            index = self._connection.current()
            try:
                for message in self._open(index):
                    answered_at = time.monotonic()
                    self.version = max(self.version, message.version)
                    yield message
                time.sleep(_PAUSE_S)  # the manager ended the stream by itself: it is going down
            except grpc.RpcError as error:
                if self._is_closed:
                    return
                if not is_retried(error):
                    raise refusal(error) from None
                self._connection.failed(index)
                if time.monotonic() - answered_at > self._patience_s:
                    raise NoManagerError(
                        f"No manager answers since {self._patience_s:.0f} s; check them with 'swarm-cli info'."
                    ) from None
                time.sleep(_PAUSE_S)

    def _open(self, index: int) -> Iterator[WatchMessage]:
        request = WatchRequest(kinds=self._kinds, resume_from=self.version, filter=self._filter)
        self._call = self._connection.stub(index).Watch(request)
        return iter(self._call)

    def close(self) -> None:
        """End the iteration; a thread that waits in it returns."""
        self._is_closed = True
        if self._call is not None:
            with contextlib.suppress(ValueError):  # the channel was closed before us
                self._call.cancel()  # type: ignore[no-untyped-call]  # as grpc-stubs has it


def _change(event: WatchEvent, message: WatchMessage) -> Change | None:
    found = inner_object(event.object) or inner_object(event.old_object)
    if found is None:
        return None
    old = inner_object(event.old_object)
    action = WatchEvent.Action.Name(event.action).removesuffix("_OBJECT").lower()
    at_s = message.at.seconds + message.at.nanos / 1e9
    return Change(action, found[0], found[1], old[1] if old else None, message.version, at_s)
