"""What the worker needs of a container engine.

The adapter (`docker.py`) blocks and may be called from several threads at once; the shell calls it from its pools. What
it cannot do it says by one of these exceptions:

    EngineError(Exception)
      UnavailableError   the engine does not answer, or not in time: nobody knows whether it was done; try again later
      RefusedError       the engine will not do it, now or later; the text is for the user
      ImageMissingError        the image is not on this node
      NotThereError            there is no such thing (any more)
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from swarm_api.objects_pb2 import NodeDescription, Task

from swarm_worker.core.events import (
    Container,
    ContainerExited,
    ContainerGone,
    EngineDown,
    EngineUp,
    HealthChanged,
    ListingBegan,
)

RuntimeEvent = ListingBegan | EngineUp | EngineDown | ContainerExited | ContainerGone | HealthChanged


class EngineError(Exception):
    """The engine did not do what was asked; the text says why, in one sentence."""


class UnavailableError(EngineError):
    """The engine does not answer, or not in time."""


class RefusedError(EngineError):
    """The engine will not do it, now or later."""


class ImageMissingError(EngineError):
    """The image is not on this node."""


class NotThereError(EngineError):
    """There is no such thing (any more)."""


@dataclass(frozen=True, slots=True)
class FileMount:
    """A secret or config as a file of the node, to be seen read-only at `target` in the container."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class CreateOrder:
    """A task and all that is decided on the node about its container."""

    task: Task
    cluster_id: str
    node_id: str
    dns_servers: tuple[str, ...] = ()
    mac_addresses: tuple[str, ...] = ()  # one an attachment of the task, in their order
    files: tuple[FileMount, ...] = ()


class Runtime(Protocol):
    """A container engine, seen from the worker."""

    def watch(self, listener: Callable[[RuntimeEvent], None]) -> None:
        """Begin to tell `listener`, on a thread of the adapter's: first EngineUp or EngineDown, then what happens.

        Before it lists containers it says ListingBegan, so that a list is not taken for newer than it is.
        """

    def resync(self) -> None:
        """Tell the listener EngineUp (with a fresh list) or EngineDown, soon."""

    def describe(self) -> NodeDescription:
        """The machine and its engine; `engine_error` says why it can take no tasks. A missing engine never raises."""

    def create(self, order: CreateOrder) -> Container:
        """Make the task's container and connect its networks, without starting it; ImageMissingError: pull, retry.

        A container the task already has is adopted when it was started, and replaced when it was not.
        """

    def pull(self, image: str) -> None:
        """Fetch the image from its registry; may take minutes. RefusedError says why it failed."""

    def start(self, container_id: str) -> Container:
        """Start it; the container as it is right after."""

    def signal(self, container_id: str, signal: str) -> None:
        """Send a signal to its first process."""

    def remove(self, container_id: str) -> None:
        """Remove it with its anonymous volumes, also while it runs; nothing to do when it is gone."""

    def close(self) -> None:
        """Stop watching. Containers run on."""
