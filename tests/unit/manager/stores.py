"""A store without Raft: the real state machine, applied at once."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from swarm_api.objects_pb2 import Cluster, Node
from swarm_api.store_pb2 import ChangeSet
from swarm_api.types_pb2 import NodeRole, NodeState
from swarm_manager.api.writes import Edit
from swarm_manager.core import diff, machine
from swarm_manager.core.kinds import Stored
from swarm_manager.core.machine import Committed, Outcome
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.errors import ManagerError
from swarm_manager.events import Batch, EventRing
from swarm_manager.ports import MemberStatus, RaftView

M = TypeVar("M", bound=Message)


class MemoryStore:
    """`ports.Store` for one manager that leads in term 1, unless told otherwise."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self.ring = EventRing()
        self.term = 1
        self.proposed: list[ChangeSet] = []
        self.before_propose: Callable[[], None] = lambda: None
        self.failures: list[ManagerError] = []  # raised by the next proposals, after they were applied
        self.members = {"m1": MemberStatus("m1", "10.0.0.1:2378", voter=True, reachable=True)}
        self.leads = True

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def raft(self) -> RaftView:
        index = self._snapshot.index
        leader = "m1" if self.leads else ""
        return RaftView("m1", leader, self.leads, self.term, index, index, self.members)

    async def read(self) -> Snapshot:
        return self._snapshot

    async def propose(self, change_set: ChangeSet, term: int | None = None) -> Outcome:
        assert term in (None, self.term)
        hook, self.before_propose = self.before_propose, lambda: None
        hook()
        outcome = self.apply(change_set)
        if self.failures:
            raise self.failures.pop(0)
        return outcome

    def apply(self, change_set: ChangeSet) -> Outcome:
        self.proposed.append(change_set)
        before = self._snapshot
        after, outcome = machine.apply(before, before.index + 1, change_set)
        self._snapshot = after
        self.ring.publish([Batch(after.index, 0, diff.events(before, after, change_set), after)])
        return outcome

    def put(self, *objects: Message) -> None:
        """Store objects, new or changed, whatever their version."""
        edit = Edit()
        for obj in objects:
            edit.create(obj)
        for change in edit.change_set.changes:
            change.ClearField("expected_version")
        assert isinstance(self.apply(edit.change_set), Committed)

    def follow(self, after: int) -> AsyncIterator[Sequence[Batch]]:
        return self.ring.follow(after)

    def object_at(self, kind: int, object_id: str, version: int) -> Stored | None:
        return self.ring.object_at(kind, object_id, version)


def cluster() -> Cluster:
    found = Cluster(id="c1")
    found.spec.annotations.name = "default"
    found.spec.subnet_prefix_length = 24
    found.spec.vxlan_port = 4790
    found.spec.address_pools.append("10.128.0.0/11")
    for duration, seconds in (("heartbeat_period", 1), ("node_down_after", 3), ("certificate_validity", 7776000)):
        getattr(found.spec, duration).FromSeconds(seconds)
    found.spec.orphan_after.FromSeconds(86400)
    found.spec.task_history_limit = 5
    return found


def node(node_id: str, role: "NodeRole.ValueType" = NodeRole.WORKER) -> Node:
    found = Node(id=node_id, role=role)
    found.spec.role = role
    found.description.hostname = f"host-{node_id}"
    found.status.state = NodeState.READY_STATE
    return found
