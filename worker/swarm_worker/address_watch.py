"""Notices that this machine has another address than the one its cluster knows it by.

A machine that gets its address from elsewhere may wake up with another one. Nobody reaches its node then, though the
node reaches the others: its manager could even come to lead, and no node would find the leader. So the node goes back
into its cluster at the address it has now (`Node.watch_address`), provided that

    nothing forwards the old address to this machine: who has that says where its manager listens (`--listen-addr`)
    the old address was missing for GRACE_S: an interface that is down for a moment, or comes up late, is no move
    a manager of the cluster answers from the new one: an interface beside the cluster's network leads nowhere
"""

import contextlib
import enum
from collections.abc import Callable

from swarm_worker.addresses import is_ip, is_on_this_machine, local_address_towards, split, with_port
from swarm_worker.errors import JoinError
from swarm_worker.storage import NodeFile

GRACE_S = 10.0


class Place(enum.Enum):
    """Where this machine is, compared to where the others know it."""

    SAME = "it has the address"
    UNSURE = "the address has not been missing for long"
    OTHER = "the address is missing"


class AddressWatch:
    """Looks at one node's address whenever asked; told apart by how long it has been missing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._missing_since: float | None = None

    def look(self, node: NodeFile) -> Place:
        """Where this machine is now."""
        if is_here(node):
            self._missing_since = None
            return Place.SAME
        if self._missing_since is None:
            self._missing_since = self._clock()
        return Place.OTHER if self._clock() - self._missing_since >= GRACE_S else Place.UNSURE

    def begin_anew(self) -> None:
        """Ask for as much patience again."""
        self._missing_since = self._clock()


def is_here(node: NodeFile) -> bool:
    """Whether the others reach this machine by the node's address, as far as can be told from here."""
    host = split(node.advertise_address)[0]
    is_name = not is_ip(host)
    may_be_forwarded = bool(node.listen_address) and split(node.listen_address)[0] != host
    return is_name or may_be_forwarded or is_on_this_machine(node.advertise_address)


def other_managers(node: NodeFile) -> tuple[str, ...]:
    """The managers' addresses it knows, without its own."""
    return tuple(address for address in node.managers if address != node.advertise_address)


def address_towards(node: NodeFile, managers: tuple[str, ...]) -> str | None:
    """`host:port` with the address from which packets to the first of these leave; None when there is no way."""
    port = split(node.advertise_address)[1]
    for manager in managers:
        with contextlib.suppress(JoinError):
            found = local_address_towards(*split(manager))
            return with_port(f"[{found}]:{port}", "advertise address")
    return None
