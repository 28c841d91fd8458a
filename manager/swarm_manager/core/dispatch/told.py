"""What one node is told, and what differs between two such sets.

Theory of operation
    Of each network, all its nodes are told the same: with a thousand nodes in the ingress network, a thousand times
    the thousand gateways.  So a node's set does not copy that part but refers to it (`Shared`), and what differs
    between two versions of it is found, and serialized, once and not once a node: the bytes of messages may be put one
    after the other, their repeated fields add up.  Only its own gateway a node is not told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from swarm_api.dispatcher_pb2 import Assignment, SessionMessage
from swarm_api.objects_pb2 import Task

Keyed = Mapping[str, Assignment]


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What all nodes of a network are told of it, and the parts of the state that it follows from."""

    keyed: Keyed
    follows_from: tuple[object, ...]

    def is_of(self, follows_from: tuple[object, ...]) -> bool:
        """Whether it would come out the same: nothing that it follows from was replaced."""
        return all(had is has for had, has in zip(self.follows_from, follows_from, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Told(Mapping[str, Assignment]):
    """All that a node is told, by key."""

    own: Keyed
    shared: Mapping[str, Shared]  # by network
    tasks: Mapping[str, Task]  # what the tasks in `own` were made from, by key
    left_out: frozenset[str]  # keys of the shared parts that this node is not told

    def __getitem__(self, key: str) -> Assignment:
        if key in self.own:
            return self.own[key]
        if key not in self.left_out:
            for part in self.shared.values():
                if key in part.keyed:
                    return part.keyed[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        for part in self.shared.values():
            yield from (key for key in part.keyed if key not in self.left_out)

    def __len__(self) -> int:
        return sum(1 for _ in self)


NOTHING = Told({}, {}, {}, frozenset())
_NO_PART = Shared({}, ())


class _Change(NamedTuple):
    """What to set and to remove of a shared part, by key, as the pieces of a message."""

    set: Mapping[str, bytes]
    removed: Mapping[str, bytes]


class Differences:
    """Finds what differs between two sets; each pair of shared parts is compared, and put into bytes, once."""

    def __init__(self) -> None:
        self._found: dict[tuple[Shared, Shared], _Change] = {}

    def between(self, old: Told, new: Told) -> bytes:
        """What leads from one set to the other: the fields `set` and `removed` of a SessionMessage; empty: nothing."""
        pieces = list(_pieces(*_compared(old.own, new.own)))
        for network_id in sorted(old.shared.keys() | new.shared.keys()):
            before, after = old.shared.get(network_id, _NO_PART), new.shared.get(network_id, _NO_PART)
            if before is not after:
                change = self._of_parts(before, after)
                pieces += (piece for key, piece in change.set.items() if key not in new.left_out)
                pieces += (piece for key, piece in change.removed.items() if key not in old.left_out)
        return b"".join(pieces)

    def _of_parts(self, old: Shared, new: Shared) -> _Change:
        if (found := self._found.get((old, new))) is None:
            changed, removed = _compared(old.keyed, new.keyed)
            found = _Change(
                {item.key: SessionMessage(set=[item]).SerializeToString() for item in changed},
                {key: SessionMessage(removed=[key]).SerializeToString() for key in removed},
            )
            self._found[old, new] = found
        return found


def _compared(old: Keyed, new: Keyed) -> tuple[list[Assignment], list[str]]:
    """What to set and which keys to remove, each in the order of keys."""
    changed = (key for key, item in new.items() if (had := old.get(key)) is not item and had != item)
    return [new[key] for key in sorted(changed)], sorted(key for key in old if key not in new)


def _pieces(changed: list[Assignment], removed: list[str]) -> Iterator[bytes]:
    if changed or removed:
        yield SessionMessage(set=changed, removed=removed).SerializeToString()
