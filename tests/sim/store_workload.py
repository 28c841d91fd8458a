"""The real state machine under clients that retry: each request must take effect exactly once.

A request is "create a config", "delete one" or "count one up".  A client keeps its request id through every
retry, whatever it was told or was not told before, and decides anew on the state of the member it asks, as the
API does.  That member may be behind: expected versions have to notice.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_api.objects_pb2 import CONFIG, Config
from swarm_api.store_pb2 import Change, ChangeSet
from swarm_manager.core import codec, machine
from swarm_manager.core.kinds import KINDS, wrap
from swarm_manager.core.machine import Committed, Conflict
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.raft.errors import NotCommitted

from tests.sim.oracle import Violation
from tests.sim.workload import Machine

if TYPE_CHECKING:
    from tests.sim.world import World

PATIENCE_S = 5.0  # then a client asks again: whom it asked may be dead
COUNTERS = 3
FINISH_S = 120.0


class StoreMachine:
    """`core.machine.apply` as a member runs it."""

    def __init__(self, node_id: str, workload: "StoreWorkload") -> None:
        self._node_id = node_id
        self._workload = workload
        self.current = Snapshot()

    def apply(self, index: int, term: int, payload: bytes) -> object:
        entry = ChangeSet.FromString(payload)
        if index <= self.current.index:
            raise Violation(f"{self._node_id} applies {index} after {self.current.index}")
        self.current, outcome = machine.apply(self.current, index, entry)
        if isinstance(outcome, Committed) and not outcome.repeated:
            self._workload.on_effect(self._node_id, entry.reply, index)
        return outcome

    def snapshot(self) -> object:
        return self.current

    def dump(self, image: object) -> Iterator[bytes]:
        assert isinstance(image, Snapshot)
        return codec.dump(image)

    def read(self, data: bytes | memoryview) -> object:
        return codec.load(bytes(data))

    def load(self, image: object, index: int) -> None:
        assert isinstance(image, Snapshot)
        self.current = image

    def parts(self, image: object) -> list[object]:
        assert isinstance(image, Snapshot)
        return list(codec.in_order(image))

    def content(self) -> object:
        return b"".join(codec.dump(self.current))


@dataclass
class _Request:
    number: int
    kind: str
    name: str
    asked_at: float = float("-inf")
    attempts: int = 0
    is_done: bool = False

    @property
    def id(self) -> str:
        """What stays the same through every retry."""
        return f"r{self.number}"


class StoreWorkload:
    """`request_ids` and `versions`: send them, or see what happens without."""

    def __init__(self, *, request_ids: bool = True, versions: bool = True) -> None:
        self.acked = 0
        self.newest_ack = 0
        self._request_ids = request_ids
        self._versions = versions
        self._requests: list[_Request] = []
        self._effects: dict[bytes, int] = {}  # request id: the index where it took effect
        self._created: list[str] = []  # names whose creation was acknowledged and that nobody was asked to delete

    def machine(self, node_id: str) -> StoreMachine:
        return StoreMachine(node_id, self)

    # -------------------------------------------------------------------------------------- clients

    def write(self, world: "World") -> None:
        waiting = self._waiting(world)
        request = world.rng.choice(waiting) if waiting and world.rng.random() < 0.7 else self._new(world)
        self._ask(world, request)

    def _waiting(self, world: "World") -> list[_Request]:
        since = world.clock.now - PATIENCE_S
        return [request for request in self._requests if not request.is_done and request.asked_at < since]

    def _new(self, world: "World") -> _Request:
        rng, number = world.rng, len(self._requests)
        draw = rng.random()
        if draw < 0.5:
            request = _Request(number, "count", f"counter{rng.randrange(COUNTERS)}")
        elif draw < 0.7 and self._created:
            request = _Request(number, "delete", self._created.pop(rng.randrange(len(self._created))))
        else:
            request = _Request(number, "create", f"c{number}")
        self._requests.append(request)
        return request

    def _ask(self, world: "World", request: _Request) -> None:
        member = world.somebody_to_ask()
        if member is None:
            return
        assert isinstance(member.machine, StoreMachine)
        change = self._decide(member.machine.current, request)
        if change is None:
            return
        request.asked_at = world.clock.now
        request.attempts += 1
        world.stats["retries"] += request.attempts > 1
        entry = ChangeSet(
            schema_version=codec.SCHEMA_VERSION,
            request_id=request.id if self._request_ids else "",
            changes=[change],
            reply=request.id.encode(),
        )
        future = world.propose(member, entry.SerializeToString())
        future.add_done_callback(lambda done: self._outcome(world, request, done))

    def _decide(self, state: Snapshot, request: _Request) -> Change | None:
        """The change to ask for; None when this member does not know yet what it is about."""
        old = state.configs.get(state.names.get(f"config/{request.name}", ""))
        if request.kind == "delete" and old is None and request.id not in state.requests:
            return None
        new = Config(id=old.id if old else f"{request.name}-{request.attempts}")
        new.spec.annotations.name = request.name
        if request.kind == "count":
            new.spec.data = b"%d" % (int(old.spec.data if old else 0) + 1)
        change = Change(kind=CONFIG, id=new.id, delete=request.kind == "delete", object=wrap(KINDS[CONFIG], new))
        if self._versions:
            change.expected_version = old.meta.version.index if old else 0
        return change

    def _outcome(self, world: "World", request: _Request, done: "Future[object]") -> None:
        if (error := done.exception()) is not None:
            world.stats["outcomes unknown"] += not isinstance(error, NotCommitted)
            request.asked_at = float("-inf")  # it may be asked again at once
            return
        result = done.result()
        if isinstance(result, Committed):
            self._on_ack(request, result)
        elif isinstance(result, Conflict):
            world.stats["conflicts"] += 1
            request.asked_at = float("-inf")
        else:
            raise Violation(f"{request.id} was answered {result!r}")

    # ---------------------------------------------------------------------------------------- judging

    def on_effect(self, who: str, request_id: bytes, index: int) -> None:
        """A request took effect on this member."""
        if self._effects.setdefault(request_id, index) != index:
            raise Violation(f"{who}: {request_id!r} takes effect at {index}, after {self._effects[request_id]}")

    def _on_ack(self, request: _Request, result: Committed) -> None:
        if result.reply != request.id.encode() or self._effects.get(result.reply) != result.index:
            raise Violation(f"{request.id} was answered {result}, but took effect at {self._effects.get(result.reply)}")
        if not request.is_done:
            request.is_done = True
            self.acked += 1
            if request.kind == "create":
                self._created.append(request.name)
        self.newest_ack = max(self.newest_ack, result.index)

    def finish(self, world: "World") -> None:
        end = world.clock.now + FINISH_S
        while waiting := [request for request in self._requests if not request.is_done]:
            if world.clock.now > end:
                raise Violation(f"{waiting[0].id} to {waiting[0].kind} {waiting[0].name} never succeeds")
            for request in waiting:
                if request.asked_at < world.clock.now - PATIENCE_S:
                    self._ask(world, request)
            world.advance()

    def check_end(self, machines: Mapping[str, Machine]) -> None:
        for node_id, member in machines.items():
            assert isinstance(member, StoreMachine)
            have = {config.spec.annotations.name: config.spec.data for config in member.current.configs.values()}
            if have != self._wanted():
                raise Violation(f"{node_id} ends with {have}, not {self._wanted()}")

    def _wanted(self) -> dict[str, bytes]:
        """What is left when every request was done once."""
        counted = [request.name for request in self._requests if request.kind == "count"]
        created = {request.name for request in self._requests if request.kind == "create"}
        deleted = {request.name for request in self._requests if request.kind == "delete"}
        return dict.fromkeys(created - deleted, b"") | {name: b"%d" % counted.count(name) for name in counted}
