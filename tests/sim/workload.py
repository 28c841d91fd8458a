"""What clients do in a simulation, and how it is judged."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from swarm_manager.raft.machine import StateMachine

if TYPE_CHECKING:
    from tests.sim.world import World


class Machine(StateMachine, Protocol):
    """A state machine whose states can be compared."""

    def content(self) -> object:
        """Equal for equal states."""


class Workload(Protocol):
    """Clients of one kind, what they were told, and the state machine they write to."""

    acked: int  # writes
    newest_ack: int  # the highest index that was acknowledged

    def machine(self, node_id: str) -> Machine:
        """An empty machine for this member; a Violation where it applies what it must not."""

    def write(self, world: "World") -> None:
        """A client asks for something."""

    def finish(self, world: "World") -> None:
        """After healing: whoever still wants something gets it."""

    def check_end(self, machines: Mapping[str, Machine]) -> None:
        """All members agree: a Violation unless what was promised is there, once."""
