"""What clients asked for and were told, one `Operation` a request.

Every write carries a tag that no other write has, so that whoever reads knows which write it saw.
"""

import enum
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


class Verb(enum.StrEnum):
    """What was asked for."""

    CREATE = "create"
    UPDATE = "update"  # on condition that the object is as the write `expected` left it
    DELETE = "delete"
    READ = "read"


class Outcome(enum.StrEnum):
    """What became of it, as the client was told."""

    OK = "ok"
    TAKEN = "taken"  # create: there is one
    CONFLICT = "conflict"  # update: it is not as expected
    ABSENT = "absent"  # update, delete, read: there is none
    LEAVING = "leaving"  # update: it was removed, and is about to go
    UNKNOWN = "unknown"  # it may take effect at any time from its call on, or never


@dataclass(frozen=True, slots=True)
class Operation:
    """One request: times in seconds of one monotonic clock; `returned` is infinite for an unknown outcome.

    Requests that failed for certain had no effect and are in no history: a read of their tag condemns it.
    """

    name: str  # of the object
    verb: Verb
    outcome: Outcome
    invoked: float
    returned: float
    tag: str = ""  # what was written, or was read
    expected: str = ""  # update: the tag it was decided on
    version: int = 0  # of the tag, where anybody learnt it; 0: nobody did
    client: str = ""

    @property
    def is_definite(self) -> bool:
        """Whether the client knows that it took place."""
        return self.outcome is not Outcome.UNKNOWN

    @property
    def writes(self) -> bool:
        """Whether it may have changed the object."""
        return self.verb is not Verb.READ and self.outcome in (Outcome.OK, Outcome.UNKNOWN)

    def weakened(self) -> "Operation | None":
        """The same with less said: a write that may never have happened; an observation that was not made."""
        if not self.writes or not self.is_definite:
            return None
        return Operation(
            self.name, self.verb, Outcome.UNKNOWN, self.invoked, math.inf, self.tag, self.expected, self.version
        )


def by_object(history: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Objects are independent: a history is linearizable when the part of each is (P-compositionality)."""
    parts: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        parts[operation.name].append(operation)
    return dict(parts)
