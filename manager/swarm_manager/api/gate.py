"""The one way into every RPC: authenticate, authorise, parse, pass on to the leader or run, and answer errors.

Handlers are registered as usual; `Gate` wraps each call.  It takes the request as bytes, so that nothing of a
caller is parsed before the caller is known.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from swarm_api.ids import new_id
from swarm_api.wellformed import malformed

from swarm_manager.api.auth import Authenticate, Caller, caller, set_caller
from swarm_manager.api.forward import Forwarder, RelayedError
from swarm_manager.api.rules import Rule
from swarm_manager.api.status import code_of
from swarm_manager.errors import BadRequestError, DeniedError, sentence

_log = structlog.get_logger("api")
_INTERNAL = "The manager failed on this request by a fault of its own; its log has the details."


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not subscriptable at run time
    """Admits a call by the rule of its RPC; an RPC without a rule admits nobody."""

    def __init__(self, authenticate: Authenticate, rules: Mapping[str, Rule], forwarder: Forwarder) -> None:
        self._authenticate = authenticate
        self._rules = rules
        self._forwarder = forwarder

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the handler of this call (gRPC's interceptor interface)."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # no such method: gRPC says UNIMPLEMENTED
        path = handler_call_details.method
        rule = self._rules.get(path)
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(self._exchange(path, rule, handler))
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(path, rule, handler))
        return grpc.unary_unary_rpc_method_handler(self._unary(path, rule, handler))

    def _unary(self, path: str, rule: Rule | None, handler: Any) -> Any:
        async def answer(raw: bytes, context: Any) -> bytes:
            try:
                who, request = self._admit(path, rule, raw, context)
                assert rule is not None
                if rule.belongs_to_leader(request):
                    return await self._forwarder.run(rule, request, who, handler.unary_unary, context)
                return _bytes(await handler.unary_unary(request, context))
            except Exception as error:  # noqa: BLE001 - every fault must become an answer
                await abort(context, path, error)

        return answer

    def _stream(self, path: str, rule: Rule | None, handler: Any) -> Any:
        async def answer(raw: bytes, context: Any) -> AsyncIterator[bytes]:
            try:
                who, request = self._admit(path, rule, raw, context)
                assert rule is not None
                messages = handler.unary_stream
                if rule.belongs_to_leader(request):
                    messages = self._forwarder.stream(rule, who, messages)
                async for message in messages(request, context):
                    yield _bytes(message)
            except Exception as error:  # noqa: BLE001 - every fault must become an answer
                await abort(context, path, error)

        return answer

    def _exchange(self, path: str, rule: Rule | None, handler: Any) -> Any:
        """Each request is answered by messages of its own; the caller is known from the first one on."""

        async def answer(raw: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            try:
                rule_known = self._let_in(path, rule, context)
                requests = (_parsed(rule_known, one) async for one in raw)
                async for message in handler.stream_stream(requests, context):
                    yield _bytes(message)
            except Exception as error:  # noqa: BLE001 - every fault must become an answer
                await abort(context, path, error)

        return answer

    def _admit(self, path: str, rule: Rule | None, raw: bytes, context: Any) -> tuple[Caller, Message]:
        known = self._let_in(path, rule, context)
        return caller(), _parsed(known, raw)

    def _let_in(self, path: str, rule: Rule | None, context: Any) -> Rule:
        """The rule of a call that it admits; DeniedError for others."""
        who = self._authenticate(context)
        if rule is None or who.role not in rule.roles:
            raise DeniedError(_refusal(path, rule, who))
        set_caller(who)
        return rule


async def abort(context: Any, path: str, error: Exception) -> NoReturn:
    """End the call with the error's status; what is no answer is logged and reported as a fault of ours."""
    if isinstance(error, grpc.aio.BaseError):
        raise error  # it is aborted already, or over: the server stops, or the caller is gone
    if isinstance(error, RelayedError):
        await context.abort(error.code, str(error), error.trailing)
    code = code_of(error)
    if code is None:
        _log.error("request failed", rpc=path, exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, _INTERNAL)
    await context.abort(code, sentence(str(error)), getattr(error, "trailing", ()))
    raise AssertionError("abort returns never")


def _refusal(path: str, rule: Rule | None, who: Caller) -> str:
    method = path.rsplit("/", 1)[-1]
    if rule is None or not rule.roles:
        return f"{method} is closed to everybody"
    return f"{method} is for {' and '.join(sorted(rule.roles))} only; this call comes from a {who.role}"


def _parsed(rule: Rule, raw: bytes) -> Message:
    try:
        request = rule.request_type.FromString(raw)
    except DecodeError as error:
        raise BadRequestError(f"the request is no {rule.request_type.DESCRIPTOR.name}: {error}") from error
    if (wrong := next(malformed(request), None)) is not None:
        raise BadRequestError(wrong)
    if rule.has_request_id and not getattr(request, "request_id"):  # noqa: B009 - a field some types have
        setattr(request, "request_id", new_id())  # noqa: B010 - so that we may repeat it through a failover
    return request


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
