"""Who may call what: every RPC, every role."""

from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from swarm_api.control_pb2 import CreateServiceRequest, GetInfoRequest, ListRequest
from swarm_api.dispatcher_pb2 import HeartbeatRequest
from swarm_manager.api.auth import ADMIN, MANAGER, WORKER, Caller, caller
from swarm_manager.api.gate import Gate
from swarm_manager.api.rules import SERVED, Rule, read_rules
from swarm_manager.errors import NotFoundError

RULES = read_rules()
ROLES = (ADMIN, MANAGER, WORKER, "joiner-worker", "joiner-manager", "", "root")
METHODS = [(s, m) for file in SERVED for s in file.services_by_name.values() for m in s.methods]
EXCHANGES = {f"/{service.full_name}/{method.name}" for service, method in METHODS if method.client_streaming}
JOINER_ONLY = "/swarm.v1.Ca/IssueNodeCertificate"


class Context:
    """What Gate uses of a ServicerContext."""

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        raise grpc.aio.AbortError(code, details, trailing)


class RunsHere:
    """A forwarder of a manager that leads."""

    async def run(self, rule: Rule, request: Message, who: Caller, local: Any, context: Any) -> bytes:
        return bytes((await local(request, context)).SerializeToString())

    def stream(self, rule: Rule, who: Caller, local: Any) -> Any:
        return local


async def call(role: str, path: str, raw: bytes, rules: Mapping[str, Rule] = RULES, behaviour: Any = None) -> Any:
    """Call an RPC through the gate; what it answered, or the AbortError's arguments."""

    async def unary(request: Message, context: Any) -> Message:
        return behaviour(request) if behaviour else request

    async def stream(request: Message, context: Any) -> Any:
        yield request

    async def exchange(requests: AsyncIterator[Message], context: Any) -> Any:
        async for request in requests:
            yield request

    rule = RULES.get(path)
    streams = rule is not None and rule.streams
    if path in EXCHANGES:
        handler = grpc.stream_stream_rpc_method_handler(exchange)
    else:
        make = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        handler = make(stream if streams else unary)

    async def continuation(details: Any) -> Any:
        return handler

    gate = Gate(lambda peer: Caller(role, "n1"), rules, RunsHere())  # type: ignore[arg-type]  # a fake forwarder
    wrapped = await gate.intercept_service(continuation, SimpleNamespace(method=path))
    try:
        if path in EXCHANGES:
            return [message async for message in wrapped.stream_stream(_twice(raw), Context())]
        if streams:
            return [message async for message in wrapped.unary_stream(raw, Context())]
        return await wrapped.unary_unary(raw, Context())
    except grpc.aio.AbortError as error:
        return error.args


async def _twice(raw: bytes) -> AsyncIterator[bytes]:
    yield raw
    yield raw


async def test_a_stream_of_requests_is_answered_one_by_one_and_ends_with_a_bad_one() -> None:
    path = "/swarm.v1.Dispatcher/Heartbeat"
    assert path in EXCHANGES
    raw = HeartbeatRequest(session_id="s1").SerializeToString()
    assert await call(WORKER, path, raw) == [raw, raw]
    assert (await call(WORKER, path, b"\xff\xff\xff"))[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_every_rpc_of_every_service_has_a_rule_with_roles() -> None:
    assert len(METHODS) == len(RULES) > 30
    assert [path for path, rule in RULES.items() if not rule.roles] == []


@pytest.mark.parametrize("path", sorted(RULES))
async def test_an_rpc_admits_its_roles_and_nobody_else(path: str) -> None:
    for role in ROLES:
        answer = await call(role, path, b"")
        if role in RULES[path].roles:
            assert isinstance(answer, bytes | list), (role, answer)
        else:
            assert answer[0] == grpc.StatusCode.PERMISSION_DENIED, role


def test_joiners_may_only_ask_for_a_certificate() -> None:
    admitted = {path for path, rule in RULES.items() if rule.roles & {"joiner-worker", "joiner-manager"}}
    assert admitted == {JOINER_ONLY, "/swarm.v1.Ca/ReissueNodeCertificate"}


async def test_an_rpc_without_a_rule_admits_nobody() -> None:
    for role in ROLES:
        answer = await call(role, "/swarm.v1.Control/ListNodes", b"", rules={})
        assert answer[:2] == (grpc.StatusCode.PERMISSION_DENIED, "ListNodes is closed to everybody.")


async def test_a_strangers_request_is_not_even_parsed() -> None:
    answer = await call(WORKER, "/swarm.v1.Control/CreateService", b"\xff\xff\xff")
    assert answer[0] == grpc.StatusCode.PERMISSION_DENIED
    answer = await call(ADMIN, "/swarm.v1.Control/CreateService", b"\xff\xff\xff")
    assert answer[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_what_grpc_says_of_a_call_that_is_over_is_no_fault_of_ours() -> None:
    def over(request: Message) -> Message:
        raise grpc.aio.UsageError("RPC already finished.")

    with pytest.raises(grpc.aio.UsageError):
        await call(ADMIN, "/swarm.v1.Control/GetInfo", b"", behaviour=over)
    assert (await call(ADMIN, "/swarm.v1.Control/GetInfo", b"", behaviour=lambda _: 1 / 0))[
        0
    ] == grpc.StatusCode.INTERNAL


async def test_a_write_without_a_request_id_gets_one() -> None:
    raw = await call(ADMIN, "/swarm.v1.Control/CreateService", CreateServiceRequest().SerializeToString())
    assert len(CreateServiceRequest.FromString(raw).request_id) == 25
    named = CreateServiceRequest(request_id="mine").SerializeToString()
    raw = await call(ADMIN, "/swarm.v1.Control/CreateService", named)
    assert CreateServiceRequest.FromString(raw).request_id == "mine"


async def test_the_code_behind_knows_the_caller() -> None:
    seen: list[Caller] = []

    def look(request: Message) -> Message:
        seen.append(caller())
        return request

    await call(MANAGER, "/swarm.v1.Control/ListNodes", b"", behaviour=look)
    assert seen == [Caller(MANAGER, "n1")]


async def test_errors_become_status_codes_and_faults_do_not_leak() -> None:
    def missing(request: Message) -> Message:
        raise NotFoundError("There is no such thing.")

    def broken(request: Message) -> Message:
        raise ValueError("secret detail")

    answer = await call(ADMIN, "/swarm.v1.Control/ListNodes", b"", behaviour=missing)
    assert answer[:2] == (grpc.StatusCode.NOT_FOUND, "There is no such thing.")
    answer = await call(ADMIN, "/swarm.v1.Control/ListNodes", b"", behaviour=broken)
    assert answer[0] == grpc.StatusCode.INTERNAL
    assert "secret" not in answer[1]


def test_what_belongs_to_the_leader() -> None:
    listing = RULES["/swarm.v1.Control/ListNodes"]
    assert listing.belongs_to_leader(ListRequest())
    assert not listing.belongs_to_leader(ListRequest(stale=True))
    info = RULES["/swarm.v1.Control/GetInfo"]
    assert info.belongs_to_leader(GetInfoRequest())
    assert not info.belongs_to_leader(GetInfoRequest(stale=True))
    assert RULES["/swarm.v1.Control/CreateService"].belongs_to_leader(CreateServiceRequest())
    assert not RULES["/swarm.v1.Dispatcher/Heartbeat"].leader_only
