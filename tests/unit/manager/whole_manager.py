"""All of a leading manager but the wire and Raft: the real gate, servicers, state machine and planner."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api import identity
from swarm_api.ca_pb2_grpc import add_CaServicer_to_server
from swarm_api.control_pb2_grpc import add_ControlServicer_to_server
from swarm_api.dispatcher_pb2_grpc import add_DispatcherServicer_to_server
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Config, Network, Secret, Service
from swarm_api.raft_pb2_grpc import add_RaftMembershipServicer_to_server
from swarm_api.types_pb2 import NodeRole
from swarm_manager import pki
from swarm_manager.api.auth import Caller
from swarm_manager.api.ca import CaRpcs
from swarm_manager.api.control import ControlRpcs
from swarm_manager.api.dispatcher import DispatcherRpcs
from swarm_manager.api.gate import Gate
from swarm_manager.api.membership import MembershipRpcs
from swarm_manager.api.proposing import change_set
from swarm_manager.api.reports import Reports
from swarm_manager.api.rules import Rule, read_rules
from swarm_manager.api.sessions import Sessions
from swarm_manager.core import codec
from swarm_manager.core.dispatch import Assignments
from swarm_manager.core.invariants import index_drift, violations
from swarm_manager.core.machine import Committed
from swarm_manager.core.planner import ALL, plan
from swarm_manager.core.times import ns, timestamp
from swarm_manager.time_zones import zone_of

from tests.unit.manager.stores import MemoryStore, cluster, node

RULES = read_rules()
CA = pki.create_ca("c1", identity.utc_now())
WORKER_NODE = "w1"
PASSES = 12
LOOK_S = 0.02  # for the first answer of a stream


class _Handlers:
    """A gRPC server that only remembers who answers what."""

    def __init__(self) -> None:
        self.by_path: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The generated code registers twice, for older servers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.by_path |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


class _Members:
    """`ports.Membership` that takes everybody."""

    async def add_member(self, node_id: str, raft_address: str) -> None:
        """It is in."""

    async def remove_member(self, node_id: str) -> None:
        """It is out."""

    async def transfer_leadership(self, to: str | None = None) -> None:
        """Another leads."""


class _Leads:
    """`Leadership` and the forwarder of a manager that leads."""

    def leads(self) -> bool:
        return True

    def leader_address(self) -> None:
        return None

    def no_leader(self) -> Exception:
        raise AssertionError("there is one")

    async def run(self, rule: Rule, request: Message, who: Caller, local: Any, context: Any) -> bytes:
        return bytes((await local(request, context)).SerializeToString())

    def stream(self, rule: Rule, who: Caller, local: Any) -> Any:
        return local


class _Context:
    """What the gate uses of a ServicerContext."""

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        raise grpc.aio.AbortError(code, details, trailing)


class WholeManager:
    """`call` RPCs; then `lead`, which does everything that a leader does with the state they left."""

    def __init__(self) -> None:
        self.store = _furnished()
        self.sessions = Sessions(lambda: 0.0)
        self.sessions.begin(1)
        self.reports = Reports(self.store)
        self._handlers = _Handlers()
        leads: Any = _Leads()
        server: Any = self._handlers
        add_ControlServicer_to_server(ControlRpcs(self.store), server)
        add_CaServicer_to_server(CaRpcs(self.store), server)
        add_DispatcherServicer_to_server(DispatcherRpcs(self.store, leads, self.sessions, self.reports), server)
        add_RaftMembershipServicer_to_server(MembershipRpcs(self.store, _Members()), server)
        self._gate_of = lambda who: Gate(lambda peer: who, RULES, leads)

    @property
    def paths(self) -> set[str]:
        """Every RPC that is served."""
        return set(self._handlers.by_path)

    async def call(self, path: str, who: Caller, raw: bytes) -> tuple[grpc.StatusCode, str]:
        """The status and its text; of a stream, after its first answer."""
        handler = self._handlers.by_path[path]

        async def continuation(details: Any) -> Any:
            return handler

        wrapped = await self._gate_of(who).intercept_service(continuation, SimpleNamespace(method=path))
        try:
            async with asyncio.timeout(LOOK_S if handler.response_streaming else None):
                if handler.request_streaming:
                    await anext(wrapped.stream_stream(_one(raw), _Context()))
                elif handler.response_streaming:
                    await anext(wrapped.unary_stream(raw, _Context()))
                else:
                    await wrapped.unary_unary(raw, _Context())
        except grpc.aio.AbortError as error:
            return error.args[0], error.args[1]
        except TimeoutError:
            return grpc.StatusCode.OK, "it waits"
        return grpc.StatusCode.OK, ""

    def lead(self) -> None:
        """Plan until nothing is left to do, look at the clock's next turn too, and tell every node."""
        now = timestamp(1_800_000_000 * 10**9)
        for _ in range(PASSES):
            wake_at = self._plan(now)
            if wake_at is None:
                break
            now = wake_at
        self._tell()
        snapshot = self.store.snapshot
        assert violations(snapshot) == []
        assert index_drift(snapshot) == []
        kept = list(codec.dump(snapshot))
        assert list(codec.dump(codec.load(b"".join(kept)))) == kept

    def _plan(self, now: Timestamp) -> Timestamp | None:
        """When to look again; None when everything is done."""
        decided = plan(self.store.snapshot, now, ALL, iter(new_id, ""), zone_of)
        for batch in decided.batches(256 * 1024):
            outcome = self.store.apply(change_set(batch))
            assert isinstance(outcome, Committed), outcome
        if decided.changes:
            return now
        return None if decided.wake_at is None or ns(decided.wake_at) <= ns(now) else decided.wake_at

    def _tell(self) -> None:
        assignments = Assignments(self.store.snapshot)
        for node_id in self.store.snapshot.nodes:
            for assignment in assignments.for_node(node_id).values():
                assignment.SerializeToString()


async def _one(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


def _furnished() -> MemoryStore:
    """A cluster that has one of everything."""
    store = MemoryStore()
    founded = cluster()
    founded.root_ca.certificate_pem, founded.root_ca.key_pem = CA.certificate_pem, CA.key_pem
    manager, worker = node("m1", NodeRole.MANAGER), node(WORKER_NODE)
    for each in (manager, worker):
        each.description.resources.nano_cpus = 4_000_000_000
        each.description.resources.memory_bytes = 8 << 30
    network, secret, config = Network(id="network1"), Secret(id="secret1"), Config(id="config1")
    network.spec.annotations.name, secret.spec.annotations.name = "net", "password"
    config.spec.annotations.name, config.spec.data = "settings", b"x"
    service = Service(id="service1")
    service.spec.annotations.name = "web"
    service.spec.task.container.image = "busybox:1"
    service.spec.replicated.replicas = 2
    service.spec.task.networks.add(target="network1")
    store.put(founded, manager, worker, network, secret, config, service)
    service.spec.task.container.image = "busybox:2"  # so that there is an update under way, and a way back
    store.put(service)
    return store
