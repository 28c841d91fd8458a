"""Decides what to change next: orchestrate, allocate, schedule."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.store_pb2 import Change

from swarm_manager.core.snapshot import View


class All:
    """The dirty set of somebody who does not know what changed: everything is looked at."""


ALL = All()
Dirty = Collection[str] | All


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes to propose in this order, and when to look again though nothing changes.

    `wakes`: for each id that was looked at and waits for a time, that time. `wake_at` is the earliest of them.
    """

    changes: list[Change] = field(default_factory=list)
    wake_at: Timestamp | None = None
    wakes: Mapping[str, Timestamp] = field(default_factory=dict)

    def batches(self, max_size_bytes: int) -> Iterator[list[Change]]:
        """The changes in order, in lists small enough for one entry each. Each beginning of them is a valid state."""
        raise NotImplementedError


def plan(snapshot: View, now: Timestamp, dirty: Dirty, ids: Iterator[str]) -> Plan:
    """What has to change in `snapshot` because of what is dirty (ids of services, nodes, networks, or ALL)."""
    raise NotImplementedError
