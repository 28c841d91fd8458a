"""The objects clients meet on, and what the clients last knew of each."""

import random
import threading
from dataclasses import dataclass, field

from swarm_api.objects_pb2 import Service

ACTIVE = 6
LONG_ENOUGH = 400  # operations on one object; a fresh one keeps histories quick to judge
DOUBTFUL_ENOUGH = 6  # unknown outcomes on one object


@dataclass
class Shared:
    """One object: used by all clients at a time, so that they get into each other's way."""

    name: str
    last_seen: list[Service] = field(default_factory=list)  # the newest last; a few, so that some are out of date
    operations: int = 0
    doubtful: int = 0

    def note(self, service: Service) -> None:
        """A client saw it so."""
        self.last_seen = [*self.last_seen[-2:], service]


class Pool:
    """A few objects at a time, replaced by new ones when they have been through enough.  For all threads."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._made = 0
        self._active: list[Shared] = []
        self._retired: list[str] = []

    def pick(self, rng: random.Random) -> Shared:
        """Any active object."""
        with self._lock:
            while len(self._active) < ACTIVE:
                self._made += 1
                self._active.append(Shared(f"{self._prefix}{self._made}"))
            chosen = rng.choice(self._active)
            chosen.operations += 1
            if chosen.operations > LONG_ENOUGH or chosen.doubtful > DOUBTFUL_ENOUGH:
                self._active.remove(chosen)
                self._retired.append(chosen.name)
            return chosen

    def names(self) -> list[str]:
        """All objects there ever were."""
        with self._lock:
            return [*self._retired, *(shared.name for shared in self._active)]
