"""Channels to the managers, and a connection that finds one that answers.

Theory of operation
    Any manager will do: a follower passes a request on to the leader.  `ManagerConnection.call` therefore
    keeps to the manager that answered last, and goes to the next one at once when that fails to connect or
    says UNAVAILABLE (it is starting, or knows no leader).  Between rounds over all of them it pauses
    briefly, until one answers or the budget is used up.

    Trying again is safe: reads change nothing, and every write carries a `request_id` that the managers
    remember, so a write whose answer was lost is answered again, not done again.  But where the tries end without
    that answer, the first one may have been done all the same, or may be done yet: then "no quorum", and a later
    try's "the disk is full, nothing was written", are told as what they are, an unknown outcome.

    When a whole round failed, each address is looked at without gRPC (`reach.diagnose`).  What no retry can
    heal - a server that is no manager of this cluster, a certificate it refuses - ends the call at once.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from swarm_api.access import Endpoint
from swarm_api.control_pb2_grpc import ControlStub
from swarm_api.errors import (
    NOTHING_DONE,
    REQUEST_ERRORS,
    CertificateRefusedError,
    ClientError,
    FullError,
    NoManagerError,
    NotAManagerError,
    OutcomeUnknownError,
    RequestError,
)
from swarm_api.reach import SERVER_NAME, Diagnosis, Finding, diagnose, first_reachable

CALL_BUDGET_S = 4.0  # people wait five seconds at most for "no manager answers", and Python starts, too
_ATTEMPT_S = 2.0  # a manager that is frozen must leave time to ask the others
_REFUSED_PATIENCE_S = 2.0  # where nothing listens at all, a restart is the only hope: wait for that long
_DIAGNOSIS_S = 0.5
_PAUSE_S = (0.05, 0.4)  # between rounds: first and longest
_LEAST_ATTEMPT_S = 0.4  # a manager that knows no leader says so shortly before the deadline: it must get that far
_RECEIVE_LIMIT_BYTES = 256 * 1024 * 1024  # a list of 100,000 tasks

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # in spite of its name: how long a connection may take
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.keepalive_time_ms", 10_000),  # a watch must notice that its manager lost power
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.max_receive_message_length", _RECEIVE_LIMIT_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
)

_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response")
#: Which method of the stub to call: `lambda stub: stub.ListNodes`.
Method = Callable[[ControlStub], "grpc.UnaryUnaryMultiCallable[_Request, _Response]"]


def open_channel(endpoint: Endpoint) -> grpc.Channel:
    """A channel to one manager: mutual TLS, or its local socket."""
    if endpoint.credentials is None:
        return grpc.insecure_channel(endpoint.address, [("grpc.max_receive_message_length", _RECEIVE_LIMIT_BYTES)])
    credentials = grpc.ssl_channel_credentials(
        endpoint.credentials.ca_pem, endpoint.credentials.key_pem, endpoint.credentials.certificate_pem
    )
    return grpc.secure_channel(endpoint.address, credentials, CHANNEL_OPTIONS)


def is_retried(error: grpc.RpcError) -> bool:
    """Whether another manager, or the same one a little later, may well answer."""
    code = error.code()
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        # How a connection that is torn down in the middle of a call shows.
        return any(text in (error.details() or "") for text in ("RST_STREAM", "Stream removed", "GOAWAY"))
    return code in _RETRIED


def may_be_done(error: grpc.RpcError) -> bool:
    """Whether a write that ended like this, which `is_retried`, may have been done, or may be done yet."""
    trailing: Any = error.trailing_metadata() or ()  # of a named tuple, or grpc.aio's own type
    if NOTHING_DONE in tuple(trailing):
        return False
    return error.code() is not grpc.StatusCode.UNAVAILABLE or "failed to connect" not in (error.details() or "")


def refusal(error: grpc.RpcError) -> RequestError:
    """A manager's "no" as an exception of ours."""
    text = error.details() or "The manager refused the request and did not say why; its log does."
    code = error.code()
    if code is grpc.StatusCode.UNIMPLEMENTED:
        text = f"The manager does not know this request; it runs another version of raftswarm ({text})."
    return REQUEST_ERRORS.get(code.name, RequestError)(text)


class ManagerConnection:
    """The way to whichever manager answers.  Not for several threads at once, save `call` after `call`."""

    def __init__(
        self, endpoints: tuple[Endpoint, ...], *, budget_s: float = CALL_BUDGET_S, stale: bool = False
    ) -> None:
        """With `stale`, reads are answered by the manager that is asked, from its own copy."""
        if not endpoints:
            raise NoManagerError("No manager's address is known; give one with --manager HOST:PORT.")
        self._endpoints = endpoints
        self._budget_s = budget_s
        self._stale = stale
        self._channels: dict[int, grpc.Channel] = {}
        self._preferred: int | None = 0 if len(endpoints) == 1 or endpoints[0].is_local else None

    @property
    def endpoint(self) -> Endpoint:
        """The manager that answered last, or the first to be asked."""
        return self._endpoints[self._preferred or 0]

    def call(
        self, method: "Method[_Request, _Response]", request: _Request, budget_s: float | None = None
    ) -> _Response:
        """The answer of the first manager that has one.

        Raises NoManagerError after `budget_s` seconds without one (OutcomeUnknownError, when the write it was
        may have been done), CertificateRefusedError when all refuse our certificate, and RequestError when a
        manager answers with a refusal.
        """
        return self.call_on(lambda channel: method(ControlStub(channel)), request, budget_s)

    def call_on(
        self,
        method: "Callable[[grpc.Channel], grpc.UnaryUnaryMultiCallable[_Request, _Response]]",
        request: _Request,
        budget_s: float | None = None,
    ) -> _Response:
        """`call` for other services than Control: `lambda channel: CaStub(channel).IssueAdminCertificate`."""
        if self._stale and "stale" in request.DESCRIPTOR.fields_by_name:
            setattr(request, "stale", True)  # noqa: B010 - a field that reading requests have
        is_write = "request_id" in request.DESCRIPTOR.fields_by_name
        budget_s = self._budget_s if budget_s is None else budget_s
        attempts = _Attempts(self._endpoints, budget_s, is_write=is_write)
        while True:
            for index in self._order(attempts):
                try:
                    response = method(self._channel(index))(request, timeout=attempts.timeout_s())
                except grpc.RpcError as error:
                    if not is_retried(error):
                        raise attempts.refused(error) from None
                    self.failed(index)
                    attempts.note(index, error)
                else:
                    self._preferred = index
                    return response
            attempts.pause()

    def stub(self, index: int) -> ControlStub:
        """The Control service at one endpoint."""
        return ControlStub(self._channel(index))

    def _channel(self, index: int) -> grpc.Channel:
        channel = self._channels.get(index)
        if channel is None:
            channel = self._channels[index] = open_channel(self._endpoints[index])
        return channel

    def current(self) -> int:
        """The endpoint to use for a stream: the one that answered last, else one that can be reached."""
        if self._preferred is None:
            self._preferred = self._reachable(time.monotonic() + _DIAGNOSIS_S)
        return self._preferred

    def failed(self, index: int) -> None:
        """Do not prefer this endpoint any more, and connect anew next time."""
        with contextlib.suppress(KeyError):
            self._channels.pop(index).close()
        if len(self._endpoints) > 1 and self._preferred == index:
            self._preferred = None

    def close(self) -> None:
        """Close all channels; the connection may be used again."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def _order(self, attempts: "_Attempts") -> list[int]:
        first = self._preferred
        if first is None:
            first = self._reachable(attempts.deadline)
        count = len(self._endpoints)
        return [index for step in range(count) if (index := (first + step) % count) not in attempts.hopeless]

    def _reachable(self, deadline: float) -> int:
        addresses = [endpoint.address for endpoint in self._endpoints if not endpoint.is_local]
        found = first_reachable(addresses, min(deadline, time.monotonic() + _ATTEMPT_S))
        return 0 if found is None else found + len(self._endpoints) - len(addresses)


class _Attempts:
    """The history of one call: what failed where, and how long to go on."""

    def __init__(self, endpoints: tuple[Endpoint, ...], budget_s: float, *, is_write: bool) -> None:
        self._endpoints = endpoints
        self._budget_s = budget_s
        self._is_write = is_write
        self._in_doubt = False  # a try that got no answer may have been done
        self._started = time.monotonic()
        self.deadline = self._started + budget_s
        self._pause_s = _PAUSE_S[0]
        self._said: dict[int, str] = {}
        self._unexplained: set[int] = set()  # looking again costs time, so only when the complaint is a new one
        self._found: dict[int, Diagnosis] = {}
        self.hopeless: set[int] = set()

    def timeout_s(self) -> float:
        """How long the next attempt may take."""
        left = max(self.deadline - time.monotonic(), 0.001)
        return left if len(self._endpoints) == 1 else min(left, _ATTEMPT_S)

    def note(self, index: int, error: grpc.RpcError) -> None:
        """Remember what an endpoint said; end the call when the time is up."""
        self._in_doubt = self._in_doubt or (self._is_write and may_be_done(error))
        said = error.details() or error.code().name
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or index not in self._said:
            if self._said.get(index) != said:
                self._unexplained.add(index)
            self._said[index] = said  # a reason is worth more than "time is up"
        if not self._has_time():
            raise self._conclusion() from None

    def refused(self, error: grpc.RpcError) -> ClientError:
        """A manager's "no"; a full disk's speaks of this try alone, and not of those before."""
        no = refusal(error)
        return _unknown(no) if self._in_doubt and isinstance(no, FullError) else no

    def pause(self) -> None:
        """After a whole round without an answer: give up where that is all there is to do, else wait a little."""
        for index in self._unexplained:
            self._diagnose(index)
        self._unexplained.clear()
        now = time.monotonic()
        refused = all(found.finding is Finding.REFUSED for found in self._found.values())
        patience_s = min(self._budget_s, _REFUSED_PATIENCE_S) if refused else self._budget_s
        if now >= self._started + patience_s or len(self.hopeless) == len(self._endpoints):
            raise self._conclusion()
        time.sleep(min(self._pause_s, max(self.deadline - now, 0)))
        self._pause_s = min(self._pause_s * 2, _PAUSE_S[1])
        if not self._has_time():
            raise self._conclusion()

    def _has_time(self) -> bool:
        """Whether another attempt could be answered: one that is cut short would only leave a write in doubt."""
        return self.deadline - time.monotonic() >= min(_LEAST_ATTEMPT_S, self._budget_s / 2)

    def _diagnose(self, index: int) -> None:
        left = max(self.deadline - time.monotonic(), 0.05)
        found = diagnose(self._endpoints[index], min(_DIAGNOSIS_S, left))
        self._found[index] = found
        if found.finding.is_final:
            self.hopeless.add(index)

    def _conclusion(self) -> ClientError:
        reason = self._reason()
        return _unknown(reason) if self._in_doubt else reason

    def _reason(self) -> ClientError:
        for index in self._said:
            if index not in self._found:
                self._found[index] = diagnose(self._endpoints[index], 0.1)
        findings = [found.finding for found in self._found.values()]
        if findings and all(finding is Finding.CERTIFICATE_REFUSED for finding in findings):
            return CertificateRefusedError(self._certificate_sentence())
        if findings and all(finding.is_final for finding in findings):
            return NotAManagerError(f"No manager of this cluster: {self._list()}; check the address (--manager).")
        if Finding.ANSWERS in findings:
            return NoManagerError(self._no_quorum_sentence())
        return NoManagerError(
            f"No manager can be reached: {self._list()}; check that swarm-worker runs there, or name another "
            "manager with --manager."
        )

    def _list(self) -> str:
        lines = []
        for index, found in self._found.items():
            detail = f" ({found.detail})" if found.finding is Finding.SILENT and found.detail else ""
            endpoint = self._endpoints[index]
            where = f"this node's own manager ({endpoint.address})" if endpoint.is_local else endpoint.address
            lines.append(f"{where} {found.finding.value}{detail}")
        return ", ".join(lines)

    def _certificate_sentence(self) -> str:
        index = next(iter(self._found))
        return (
            f"The manager at {self._endpoints[index].address} refuses our certificate: it has expired, was revoked, or "
            "is of another cluster; make a new context with 'swarm-cli context create' on a manager, or join again."
        )

    def _no_quorum_sentence(self) -> str:
        index = next(i for i, found in self._found.items() if found.finding is Finding.ANSWERS)
        said = self._said[index].rstrip(".")
        if said == "Deadline Exceeded":
            said = "it does not answer in time"
        return (
            f"The managers cannot serve the request within {self._budget_s:.0f} s: {self._endpoints[index].address} "
            f"says: {said}; check with 'swarm-cli info' that a quorum (a majority of the managers) runs."
        )


def _unknown(reason: ClientError) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"{str(reason).rstrip('.')}; the outcome of this request is unknown, for a try without an answer may have been "
        "done: to run it again is safe."
    )
