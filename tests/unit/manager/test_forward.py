"""Passing calls on to the leader."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from swarm_api.control_pb2 import BackupMessage, BackupRequest, CreateServiceRequest, CreateServiceResponse
from swarm_api.errors import NOTHING_DONE
from swarm_manager.api.auth import FORWARDED_NODE, FORWARDED_ROLE, Caller
from swarm_manager.api.forward import Forwarder, RelayedError
from swarm_manager.api.rules import read_rules
from swarm_manager.errors import JournalFullError, NotLeaderError, OutcomeUnknownError, UnavailableError

PATH = "/swarm.v1.Control/CreateService"
RULE = read_rules()[PATH]
ALICE = Caller("admin", "alice")
REQUEST = CreateServiceRequest(request_id="r1")


class Leadership:
    """Set by the test."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.here = False
        self.error: NotLeaderError | JournalFullError = NotLeaderError("No manager leads.")

    def leads(self) -> bool:
        return self.here

    def leader_address(self) -> str | None:
        return self.address

    def no_leader(self) -> NotLeaderError | JournalFullError:
        return self.error

    def set(self, *, here: bool = False, address: str | None = None) -> None:
        self.here, self.address = here, address


class Other:
    """Another manager: a real gRPC server that answers as the test says."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.asked = asyncio.Event()
        self.answer: Any = CreateServiceResponse()

    async def start(self) -> None:
        self.server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler(
            "swarm.v1.Control",
            {
                "CreateService": grpc.unary_unary_rpc_method_handler(self._create),
                "Backup": grpc.unary_stream_rpc_method_handler(self._backup),
            },
        )
        self.server.add_generic_rpc_handlers((handler,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        await self.server.start()

    async def _create(self, raw: bytes, context: Any) -> bytes:
        assert CreateServiceRequest.FromString(raw) == REQUEST
        self.seen.append(dict(context.invocation_metadata()))
        self.asked.set()
        if isinstance(self.answer, tuple):
            await context.abort(*self.answer)
        if self.answer is None:
            await asyncio.Event().wait()
        return bytes(self.answer.SerializeToString())

    async def _backup(self, raw: bytes, context: Any) -> AsyncIterator[bytes]:
        self.seen.append(dict(context.invocation_metadata()))
        yield BackupMessage(state=b"one").SerializeToString()
        if isinstance(self.answer, tuple):
            await context.abort(*self.answer)
        yield BackupMessage(state=b"two").SerializeToString()


class Channels:
    """`PeerChannels` without TLS."""

    def __init__(self) -> None:
        self._open: dict[str, grpc.aio.Channel] = {}

    def channel(self, address: str) -> grpc.aio.Channel:
        return self._open.setdefault(address, grpc.aio.insecure_channel(address))

    async def close(self) -> None:
        for channel in self._open.values():
            await channel.close()


class Context:
    """A caller who is in no hurry."""

    def time_remaining(self) -> float | None:
        return None


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    found = Other()
    await found.start()
    yield found
    await found.server.stop(None)


@pytest.fixture
def leadership() -> Leadership:
    return Leadership()


@pytest.fixture
async def forwarder(leadership: Leadership) -> AsyncIterator[Forwarder]:
    channels = Channels()
    yield Forwarder(leadership, channels, no_leader_after_s=0.3)  # type: ignore[arg-type]  # a fake of PeerChannels
    await channels.close()


async def local(request: Any, context: Any) -> CreateServiceResponse:
    response = CreateServiceResponse()
    response.service.id = "here"
    return response


async def test_the_leader_answers_by_itself(forwarder: Forwarder, leadership: Leadership) -> None:
    leadership.set(here=True)
    raw = await forwarder.run(RULE, REQUEST, ALICE, local, Context())
    assert CreateServiceResponse.FromString(raw).service.id == "here"


async def test_a_follower_passes_on_and_says_for_whom(
    forwarder: Forwarder, leadership: Leadership, other: Other
) -> None:
    other.answer.service.id = "there"
    leadership.set(address=other.address)
    raw = await forwarder.run(RULE, REQUEST, ALICE, local, Context())
    assert CreateServiceResponse.FromString(raw).service.id == "there"
    assert (other.seen[0][FORWARDED_ROLE], other.seen[0][FORWARDED_NODE]) == ("admin", "alice")


async def test_the_leaders_refusal_comes_back_as_it_is(
    forwarder: Forwarder, leadership: Leadership, other: Other
) -> None:
    other.answer = (grpc.StatusCode.ALREADY_EXISTS, "A service named web exists already.")
    leadership.set(address=other.address)
    with pytest.raises(RelayedError, match="web exists already") as refused:
        await forwarder.run(RULE, REQUEST, ALICE, local, Context())
    assert refused.value.code == grpc.StatusCode.ALREADY_EXISTS


async def test_a_call_waits_for_an_election(forwarder: Forwarder, leadership: Leadership, other: Other) -> None:
    call = asyncio.ensure_future(forwarder.run(RULE, REQUEST, ALICE, local, Context()))
    await asyncio.sleep(0)
    leadership.set(address=other.address)
    assert await call == b""


async def test_a_call_to_a_leader_that_froze_is_repeated_at_the_next(
    forwarder: Forwarder, leadership: Leadership, other: Other
) -> None:
    other.answer = None  # takes the call and never answers
    leadership.set(address=other.address)
    call = asyncio.ensure_future(forwarder.run(RULE, REQUEST, ALICE, local, Context()))
    await other.asked.wait()
    leadership.set(here=True)
    assert CreateServiceResponse.FromString(await call).service.id == "here"


async def test_without_a_leader_the_reason_is_told(forwarder: Forwarder, leadership: Leadership) -> None:
    with pytest.raises(UnavailableError, match="No manager leads"):
        await forwarder.run(RULE, REQUEST, ALICE, local, Context())
    leadership.error = JournalFullError("The disk is full.")
    with pytest.raises(JournalFullError):
        await forwarder.run(RULE, REQUEST, ALICE, local, Context())


async def test_an_unknown_outcome_is_settled_by_asking_again(forwarder: Forwarder, leadership: Leadership) -> None:
    leadership.set(here=True)
    outcomes: list[Exception] = [OutcomeUnknownError("lost the lead"), NotLeaderError("not now")]

    async def sometimes(request: Any, context: Any) -> CreateServiceResponse:
        if outcomes:
            raise outcomes.pop(0)
        return await local(request, context)

    raw = await forwarder.run(RULE, REQUEST, ALICE, sometimes, Context())
    assert CreateServiceResponse.FromString(raw).service.id == "here"


@pytest.mark.parametrize("where", ["here", "there", "nowhere"])
async def test_a_full_disk_is_no_refusal_of_what_may_have_been_done(
    forwarder: Forwarder, leadership: Leadership, other: Other, where: str
) -> None:
    full = "No space left."
    leadership.set(here=True)
    leadership.error = JournalFullError(full)
    other.answer = (grpc.StatusCode.RESOURCE_EXHAUSTED, full)
    outcomes: list[Exception] = [OutcomeUnknownError("lost the lead"), JournalFullError(full)]

    async def fails(request: Any, context: Any) -> CreateServiceResponse:
        leadership.set(here=where == "here", address=other.address if where == "there" else None)
        raise outcomes.pop(0)

    with pytest.raises(OutcomeUnknownError, match=full):
        await forwarder.run(RULE, REQUEST, ALICE, fails, Context())


async def test_no_leader_is_no_refusal_of_what_may_have_been_done(forwarder: Forwarder, leadership: Leadership) -> None:
    leadership.set(here=True)

    async def loses_the_lead(request: Any, context: Any) -> CreateServiceResponse:
        leadership.set()
        raise OutcomeUnknownError("lost the lead")

    with pytest.raises(OutcomeUnknownError, match=r"No manager leads\. Whether this request was done before"):
        await forwarder.run(RULE, REQUEST, ALICE, loses_the_lead, Context())


@pytest.mark.parametrize(
    ("trailing", "kind"), [((NOTHING_DONE,), NotLeaderError), ((), OutcomeUnknownError)], ids=["definite", "lost"]
)
async def test_what_the_leader_said_decides_whether_the_outcome_is_unknown(
    forwarder: Forwarder,
    leadership: Leadership,
    other: Other,
    trailing: tuple[tuple[str, str], ...],
    kind: type[UnavailableError],
) -> None:
    leadership.set(address=other.address)
    other.answer = (grpc.StatusCode.UNAVAILABLE, "This manager does not lead any more.", trailing)
    with pytest.raises(UnavailableError) as ended:
        await forwarder.run(RULE, REQUEST, ALICE, local, Context())
    assert type(ended.value) is kind


async def test_a_call_is_passed_on_only_once(forwarder: Forwarder, leadership: Leadership, other: Other) -> None:
    leadership.set(address=other.address)
    with pytest.raises(UnavailableError):
        await forwarder.run(RULE, REQUEST, Caller("admin", "alice", forwarded=True), local, Context())
    assert other.seen == []


# Streams


BACKUP = read_rules()["/swarm.v1.Control/Backup"]


async def local_stream(request: Any, context: Any) -> AsyncIterator[BackupMessage]:
    yield BackupMessage(state=b"here")


async def states(forwarder: Forwarder, who: Caller = ALICE) -> list[bytes]:
    answer = forwarder.stream(BACKUP, who, local_stream)(BackupRequest(), Context())
    return [m.state if isinstance(m, BackupMessage) else BackupMessage.FromString(bytes(m)).state async for m in answer]


async def test_the_leader_streams_by_itself(forwarder: Forwarder, leadership: Leadership) -> None:
    leadership.set(here=True)
    assert await states(forwarder) == [b"here"]


async def test_a_follower_relays_the_leaders_stream(forwarder: Forwarder, leadership: Leadership, other: Other) -> None:
    leadership.set(address=other.address)
    assert await states(forwarder) == [b"one", b"two"]
    assert (other.seen[0][FORWARDED_ROLE], other.seen[0][FORWARDED_NODE]) == ("admin", "alice")


async def test_a_stream_that_breaks_in_the_middle_is_never_taken_for_whole(
    forwarder: Forwarder, leadership: Leadership, other: Other
) -> None:
    leadership.set(address=other.address)
    other.answer = (grpc.StatusCode.UNAVAILABLE, "This manager does not lead any more.")
    with pytest.raises(UnavailableError, match="any more"):
        await states(forwarder)
    other.answer = (grpc.StatusCode.PERMISSION_DENIED, "Not for you.")
    with pytest.raises(RelayedError, match="Not for you"):
        await states(forwarder)


async def test_a_stream_is_relayed_only_once_and_not_without_a_leader(
    forwarder: Forwarder, leadership: Leadership, other: Other
) -> None:
    with pytest.raises(UnavailableError, match="No manager leads"):
        await states(forwarder)
    leadership.set(address=other.address)
    with pytest.raises(UnavailableError):
        await states(forwarder, Caller("admin", "alice", forwarded=True))
    assert other.seen == []
