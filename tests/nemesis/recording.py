"""What a run writes down, one line of JSON each, and how it is read back.

operation   a request and what became of it (linearizability.history)
stale       all objects, as one manager showed them from its own copy
complaint   a request that had no answer of any kind within its deadline, or one that nobody should get
end         the clients ended in order, and read every object once more after the last fault
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from tests.linearizability.history import Operation, Outcome, Verb
from tests.linearizability.prefix import StaleRead


@dataclass(frozen=True, slots=True)
class Complaint:
    """A request that was not treated as promised."""

    manager: str
    what: str
    invoked: float
    returned: float
    is_late: bool  # it had no answer; else it had one that nobody should get


class Recorder:
    """Writes lines, from any thread."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def operation(self, operation: Operation) -> None:
        """A request that ended."""
        self._write("operation", asdict(operation))

    def stale(self, read: StaleRead) -> None:
        """A stale look at everything."""
        self._write("stale", asdict(read))

    def complaint(self, complaint: Complaint) -> None:
        """A request that was not treated as promised."""
        self._write("complaint", asdict(complaint))

    def end(self) -> None:
        """Nothing is missing."""
        self._write("end", {})

    def _write(self, kind: str, body: Mapping[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps({"kind": kind} | dict(body)) + "\n")
            self._file.flush()


@dataclass
class Recording:
    """Everything a run's clients wrote down."""

    operations: list[Operation] = field(default_factory=list)
    stale: list[StaleRead] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    is_complete: bool = False

    @classmethod
    def read(cls, path: Path) -> "Recording":
        """Read back what a `Recorder` wrote."""
        found = cls()
        for line in path.read_text().split("\n")[:-1]:  # the last one was not finished, if anything
            body = json.loads(line)
            match body.pop("kind"):
                case "operation":
                    body |= {"verb": Verb(body["verb"]), "outcome": Outcome(body["outcome"])}
                    found.operations.append(Operation(**body))
                case "stale":
                    body["seen"] = {name: (tag, version) for name, (tag, version) in body["seen"].items()}
                    found.stale.append(StaleRead(**body))
                case "complaint":
                    found.complaints.append(Complaint(**body))
                case _:
                    found.is_complete = True
        return found
