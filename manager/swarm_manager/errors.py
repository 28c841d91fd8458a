"""What can go wrong in a manager, as one tree.  The text of each is one sentence for the person who asked.

    ManagerError
      BadRequestError          the request makes no sense as it stands
      NotFoundError            it names something that does not exist
      AlreadyExistsError       the name is taken
      RefusedError             it makes sense, but not in the present state (in use, last manager, ...)
      VersionConflictError     somebody changed the object since the caller read it
      DeniedError              the caller's role does not admit this
      UnavailableError         no leader or no quorum; a retry with the same request id is safe
        NotLeaderError         this manager does not lead (any more); nothing was written
        OutcomeUnknownError    the write may or may not have been committed
      JournalFullError         the managers' disk refuses writes
      TooOldError              a watch wants to resume from before what is remembered
      StartError          this process cannot start; the text says why and what to do

`api/status.py` gives each its gRPC code.
"""

from swarm_api.errors import NOTHING_DONE


class ManagerError(Exception):
    """Root of the manager's own errors; `str()` is the sentence."""


class BadRequestError(ManagerError):
    """The request makes no sense as it stands."""


class NotFoundError(ManagerError):
    """It names something that does not exist."""


class AlreadyExistsError(ManagerError):
    """The name is taken."""


class RefusedError(ManagerError):
    """It cannot be done in the present state."""


class VersionConflictError(ManagerError):
    """Somebody changed the object since the caller read it."""


class DeniedError(ManagerError):
    """The caller's role does not admit this."""


class UnavailableError(ManagerError):
    """No leader, or no quorum behind it; a retry with the same request id is safe."""


class NotLeaderError(UnavailableError):
    """This manager does not lead (any more), and nothing was written."""

    trailing = (NOTHING_DONE,)  # clients are told, so that they need not take the outcome for unknown


class OutcomeUnknownError(UnavailableError):
    """The write may or may not have been committed: only a retry with the same request id can tell."""


class JournalFullError(ManagerError):
    """The disk below the journal refuses writes; nothing was written."""


class TooOldError(ManagerError):
    """The events asked for are no longer remembered: read anew, then watch from there."""


class StartError(ManagerError):
    """This process cannot start, or not go on; the text says why and what to do."""


def sentence(text: str) -> str:
    """The text with a capital at its beginning and a full stop at its end, as all our answers have them."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
