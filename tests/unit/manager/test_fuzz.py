"""Whatever is sent to whichever RPC by whomever: an answer or a refusal, never a fault of ours, never a poisoned state.

After each change that was accepted, everything that the leader does with the state must still work: else one
request could stop it for good, on every manager.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_api import identity
from swarm_api.dispatcher_pb2 import UpdateTaskStatusRequest
from swarm_api.join_token import IdentityError, JoinToken
from swarm_api.types_pb2 import NodeRole
from swarm_manager import pki
from swarm_manager.api.auth import ADMIN, MANAGER, WORKER, Caller
from swarm_manager.core.kinds import KINDS

from tests.unit.manager.hostile import Hostile
from tests.unit.manager.sound import sound_requests
from tests.unit.manager.whole_manager import CA, RULES, WORKER_NODE, WholeManager

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "8"))  # a long run sets more
NAMES = ("m1", WORKER_NODE, "c1", "service1", "web", "network1", "net", "secret1", "password", "config1", "settings")
CALLERS = {
    ADMIN: Caller(ADMIN, "eve"),
    MANAGER: Caller(MANAGER, "m1"),
    WORKER: Caller(WORKER, WORKER_NODE),
    "joiner-worker": Caller("joiner-worker", ""),
    "joiner-manager": Caller("joiner-manager", ""),
}
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


@contextlib.asynccontextmanager
async def whole_manager() -> AsyncIterator[WholeManager]:
    """A manager whose reports are committed while it is used."""
    manager = WholeManager()
    reports = asyncio.create_task(manager.reports.run(1))
    yield manager
    if reports.done():
        reports.result()
    reports.cancel()


def is_one_sentence(text: str) -> bool:
    return bool(text) and "Traceback" not in text and "Error(" not in text


def test_every_rpc_is_here() -> None:
    assert WholeManager().paths == set(RULES)


def sound(manager: WholeManager, path: str, who: Caller) -> list[Message]:
    """Requests of this RPC that this caller is granted."""
    snapshot = manager.store.snapshot
    objects = {obj.id: obj.meta.version.index for kind in KINDS for obj in snapshot.all_of(kind)}
    own = sorted(task.id for task in snapshot.tasks.values() if task.node_id == who.node_id)
    requests = sound_requests(own, objects).get(path.rpartition("/")[2], [])
    for request in requests:
        if isinstance(request, UpdateTaskStatusRequest):
            request.session_id = manager.sessions.open(who.node_id, 7).id
    return requests


@pytest.mark.parametrize("path", sorted(RULES))
async def test_sound_requests_are_granted(path: str) -> None:
    """Else the hostile ones made from them would get nowhere."""
    for role in sorted(RULES[path].roles):
        for number in range(len(sound(WholeManager(), path, CALLERS[MANAGER]))):
            async with whole_manager() as manager:
                manager.lead()
                request = sound(manager, path, CALLERS[role])[number]
                code, text = await manager.call(path, CALLERS[role], request.SerializeToString())
                assert code == grpc.StatusCode.OK, text
                manager.lead()


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(RULES))
async def test_hostile_requests_are_answered_or_refused_and_poison_nothing(path: str) -> None:
    for number in range(ROUNDS):
        seed = f"{path} {number}"
        async with whole_manager() as manager:
            if number % 2:
                manager.lead()
            hostile = Hostile(seed, (*NAMES, *manager.store.snapshot.tasks))
            for role in sorted(RULES[path].roles):
                models = sound(manager, path, CALLERS[role])
                spoilt = [hostile.spoil(model) for model in models for _ in range(3)]
                for request in (hostile.message(RULES[path].request_type.DESCRIPTOR), *spoilt):
                    code, text = await manager.call(path, CALLERS[role], request.SerializeToString())
                    assert code not in FAULTS, f"{seed} as {role}: {text}\n{request}"
                    assert code == grpc.StatusCode.OK or is_one_sentence(text), f"{seed}: {text}"
                    if code == grpc.StatusCode.OK:
                        leads_on(manager, f"{seed} as {role}: {request}")


def leads_on(manager: WholeManager, after: str) -> None:
    try:
        manager.lead()
    except Exception as error:
        raise AssertionError(f"the state is poisoned by {after}") from error


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(RULES))
async def test_who_may_not_call_changes_nothing_whatever_it_sends(path: str) -> None:
    async with whole_manager() as manager:
        before = manager.store.snapshot
        for number in range(ROUNDS):
            hostile = Hostile(f"{path} {number}", NAMES)
            for role in set(CALLERS) - RULES[path].roles:
                code, text = await manager.call(path, CALLERS[role], hostile.raw(RULES[path].request_type.DESCRIPTOR))
                assert code == grpc.StatusCode.PERMISSION_DENIED, text
        assert manager.store.snapshot is before


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(RULES))
async def test_bytes_that_are_no_request_are_refused(path: str) -> None:
    async with whole_manager() as manager:
        for number in range(ROUNDS):
            raw = Hostile(f"{path} {number}", NAMES).raw(RULES[path].request_type.DESCRIPTOR)
            for role in sorted(RULES[path].roles):
                code, text = await manager.call(path, CALLERS[role], raw)
                assert code not in FAULTS, f"{path} {number}: {text}"


@pytest.mark.long
@pytest.mark.parametrize("raw", [b"\x0b" * 10**6, b"\x0a\x7f" * 10**5, b"\xff" * 10**6, b"\x08" + b"\x80" * 10**6])
async def test_endless_nesting_and_numbers_are_refused(raw: bytes) -> None:
    async with whole_manager() as manager:
        for path, rule in RULES.items():
            code, text = await manager.call(path, CALLERS[min(rule.roles)], raw)
            assert code == grpc.StatusCode.INVALID_ARGUMENT, (path, text)


@pytest.mark.long
async def test_a_worker_changes_only_what_is_its_own() -> None:
    async with whole_manager() as manager:
        manager.lead()
        before = manager.store.snapshot
        session = manager.sessions.open(WORKER_NODE, 1)
        path = "/swarm.v1.Dispatcher/UpdateTaskStatus"
        (about_all,) = sound_requests(sorted(before.tasks), {})["UpdateTaskStatus"]
        for number in range(300):
            request = Hostile(f"worker {number}", (*NAMES, *before.tasks)).spoil(about_all)
            assert isinstance(request, UpdateTaskStatusRequest)
            request.session_id = session.id
            await manager.call(path, CALLERS[WORKER], request.SerializeToString())
        after = manager.store.snapshot
        own = {task.id for task in before.tasks.values() if task.node_id == WORKER_NODE}
        assert own and len(before.tasks) > len(own)
        assert any(after.tasks[task_id] != before.tasks[task_id] for task_id in own), "its own reports count"
        for task_id, task in before.tasks.items():
            assert task_id in own or after.tasks[task_id] == task
        assert (after.services, after.cluster, after.nodes["m1"]) == (
            before.services,
            before.cluster,
            before.nodes["m1"],
        )
        assert after.nodes[WORKER_NODE].role == NodeRole.WORKER
        assert after.nodes[WORKER_NODE].spec == before.nodes[WORKER_NODE].spec
        manager.lead()


# ------------------------------------------------------------------------------------ tokens, certificates

TOKEN = str(identity.make_token(CA.certificate_pem, "a" * 25))
CSR = identity.new_key_and_csr()[1]
NOW = identity.utc_now()


@st.composite
def mangled(draw: st.DrawFn, sound: bytes) -> bytes:
    """Sound bytes with a few of them changed, missing or added."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
    return bytes(data)


@given(st.text(max_size=120) | mangled(TOKEN.encode()).map(lambda raw: raw.decode("latin-1")))
def test_a_token_is_read_or_refused(text: str) -> None:
    try:
        token = JoinToken.parse(text)
    except IdentityError as error:
        assert is_one_sentence(str(error))
    else:
        assert JoinToken.parse(str(token)) == token


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | mangled(CSR))
def test_a_request_for_a_certificate_gives_one_of_the_wanted_role_or_is_refused(raw: bytes) -> None:
    try:
        pem = pki.issue_from_csr(CA, raw, node_id="n1", role=identity.ROLE_WORKER, cluster_id="c1", now=NOW)
    except pki.PkiError as error:
        assert is_one_sentence(str(error))
    else:
        who = identity.identify(pem, CA.certificate_pem)
        assert (who.node_id, who.role) == ("n1", identity.ROLE_WORKER)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | mangled(CA.certificate_pem))
def test_no_altered_certificate_is_believed(raw: bytes) -> None:
    try:
        who = identity.identify(raw, CA.certificate_pem)
    except IdentityError as error:
        assert is_one_sentence(str(error))
    else:
        raise AssertionError(f"it is taken for {who}")
