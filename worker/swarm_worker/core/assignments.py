"""The set of assignments as a session builds it, with the rules that keep an old leader's orders out.

A session's first message is full, every further one says what changed, and sequence numbers have no gap. Orders of a
lower term than one seen before come from a leader that was replaced: they are refused, whatever they say.
"""

from enum import Enum, auto

from swarm_api.dispatcher_pb2 import Assignment, ManagerPeer, SessionMessage
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import NodeSpec


class Verdict(Enum):
    """What became of a session's message."""

    APPLIED = auto()
    GAP = auto()  # something is missing: only a new session helps
    STALE = auto()  # from a leader that was replaced


class AssignmentSet:
    """Everything assigned to this node, by key. `generation` grows with every change."""

    def __init__(self, term: int = 0) -> None:
        self.items: dict[str, Assignment] = {}
        self.managers: tuple[ManagerPeer, ...] = ()
        self.node: NodeSpec | None = None
        self.term = term
        self.generation = 0
        self.confirmed = False  # a leader has sent the whole set since this process started
        self._session_id = ""
        self._sequence = 0

    def apply(self, message: SessionMessage) -> Verdict:
        """Take a message of a session, or say why not. Nothing changes unless the verdict is APPLIED."""
        if message.term < self.term:
            return Verdict.STALE
        if not self._follows(message):
            return Verdict.GAP
        self.term = message.term
        self._session_id, self._sequence = message.session_id, message.sequence
        if message.managers:
            self.managers = tuple(message.managers)
        if message.HasField("node"):
            self.node = message.node
        self._merge(message)
        self.confirmed = self.confirmed or message.full
        return Verdict.APPLIED

    def restore(self, saved: SessionMessage) -> None:
        """Take what an earlier process of this node saved: enough to adopt containers, not confirmed by any leader."""
        self.term = max(self.term, saved.term)
        self._merge(saved)

    def saved(self) -> SessionMessage:
        """What to keep over a restart: all but secrets and configs, which stay in memory only."""
        message = SessionMessage(term=self.term, full=True)
        kept = (item for item in self.items.values() if item.WhichOneof("item") not in ("secret", "config"))
        message.set.extend(kept)
        return message

    def tasks(self) -> dict[str, Task]:
        """The assigned tasks by id."""
        found = (item.task for item in self.items.values() if item.WhichOneof("item") == "task")
        return {task.id: task for task in found}

    def files(self) -> frozenset[str]:
        """Keys of the secrets and configs at hand."""
        return frozenset(key for key in self.items if key.startswith(("secret/", "config/")))

    def _follows(self, message: SessionMessage) -> bool:
        if message.full:
            return True
        return message.session_id == self._session_id and message.sequence == self._sequence + 1

    def _merge(self, message: SessionMessage) -> None:
        if not (message.full or message.set or message.removed):
            return
        if message.full:
            self.items = {}
        for key in message.removed:
            self.items.pop(key, None)
        for item in message.set:
            self.items[item.key] = item
        self.generation += 1
