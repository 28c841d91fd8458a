"""From the manager's errors to gRPC's status codes: the only place that knows both."""

import grpc
from swarm_api.join_token import IdentityError

from swarm_manager import errors
from swarm_manager.pki import PkiError

#: The first match along an exception's classes wins, so a subclass may differ from its parent.
_CODES: dict[type[Exception], grpc.StatusCode] = {
    errors.BadRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.VersionConflictError: grpc.StatusCode.ABORTED,
    errors.DeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.JournalFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooOldError: grpc.StatusCode.OUT_OF_RANGE,
    PkiError: grpc.StatusCode.INVALID_ARGUMENT,
    IdentityError: grpc.StatusCode.INVALID_ARGUMENT,
}


def code_of(error: Exception) -> grpc.StatusCode | None:
    """The status code an error is answered with; None: it is no answer but a fault of ours."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return None
