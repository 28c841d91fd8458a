"""What can go wrong for a client of the managers.

ClientError                  anything below; the text is one sentence for people: what failed, why, what to do
  AccessError                where the managers are, or who we are, cannot be told: nothing was sent
  NoManagerError             no manager was reached, or the managers have no quorum, in the time there was
    NotAManagerError         something answers at the address, but it is no manager of this cluster
    OutcomeUnknownError      the request may have been done, or may be done yet: a retry is safe
  CertificateRefusedError    the manager does not take our certificate
  RequestError               a manager answered: no
    InvalidRequestError        the request itself is wrong
    NotFoundError              there is no such object
    AlreadyExistsError         the name is taken
    PreconditionError          not in this state (in use, paused, ...)
    ConflictError              somebody else changed the object in between: read it again
    DeniedError                our role may not do this
    FullError                  the managers' disk is full
    OutdatedError              a watch cannot resume from so long ago: read anew
  NotConvergedError          what was asked is accepted, but not running in time; the text says what is missing
  UpdateStoppedError         the update paused, or was rolled back, by its failure action
  JobFailedError             runs of a job failed, and are not tried again
"""

from typing import ClassVar

#: Trailing metadata of an answer UNAVAILABLE that is definite: the manager wrote nothing, and passed nothing on.
NOTHING_DONE = ("swarm-outcome", "nothing-done")

#: Trailing metadata of a manager that does not lead: under this key, the API address of the one that does.
LEADER_ADDRESS = "leader-address"


class ClientError(Exception):
    """A request could not be done; the text is one sentence that names the cause and the remedy."""


class AccessError(ClientError):
    """No manager's address, or no certificate, is known; nothing was sent."""


class NoManagerError(ClientError):
    """No manager was reached, or the managers have no quorum, within the time given."""


class NotAManagerError(NoManagerError):
    """Something answers at the address, but it is no manager of this cluster."""


class OutcomeUnknownError(NoManagerError):
    """No answer came, or none that speaks of all tries: one of them may have been done, and a retry is safe."""


class CertificateRefusedError(ClientError):
    """A manager closed the connection on our certificate: expired, revoked, or of another cluster."""


class RequestError(ClientError):
    """A manager refused the request.  `code` is the gRPC status code's name, such as `NOT_FOUND`."""

    code: ClassVar[str] = "UNKNOWN"


class InvalidRequestError(RequestError):
    """The request itself is wrong; the same request will never succeed."""

    code = "INVALID_ARGUMENT"


class NotFoundError(RequestError):
    """There is no such object."""

    code = "NOT_FOUND"


class AlreadyExistsError(RequestError):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class PreconditionError(RequestError):
    """The object is in use, or in a state that does not allow this."""

    code = "FAILED_PRECONDITION"


class ConflictError(RequestError):
    """The object changed since it was read: read it again, and decide again."""

    code = "ABORTED"


class DeniedError(RequestError):
    """The role of our certificate may not do this."""

    code = "PERMISSION_DENIED"


class FullError(RequestError):
    """The managers' disk is full: nothing was written."""

    code = "RESOURCE_EXHAUSTED"


class OutdatedError(RequestError):
    """A watch cannot resume from so long ago: read anew, then watch from there."""

    code = "OUT_OF_RANGE"


class NotConvergedError(ClientError):
    """Accepted, but not all of it runs in the time given; the text says what is missing."""


class UpdateStoppedError(ClientError):
    """An update was paused, or rolled back, because its new tasks failed."""


class JobFailedError(ClientError):
    """Runs of a job failed for good; the text says how many, and why."""


REQUEST_ERRORS: dict[str, type[RequestError]] = {
    kind.code: kind
    for kind in (
        InvalidRequestError,
        NotFoundError,
        AlreadyExistsError,
        PreconditionError,
        ConflictError,
        DeniedError,
        FullError,
        OutdatedError,
    )
}
