"""What can go wrong in Raft, as one tree.

RaftError
  NotCommitted             definite: nothing was written, and a retry can never do it twice
    NotLeader              ask `leader_id` (empty while there is none)
    JournalUnavailable     the disk refuses writes; it is tried again until there is room
    Overloaded             too much is waiting already, or it waited too long
    ProposalTooLarge
  OutcomeUnknown           it may or may not commit: retry with the same request id, or re-read
  MembershipRefused        the change of members cannot be made now; the text says why
  HandoverFailed           the leadership stays where it is
  CorruptData              a file below the data folder is damaged: we refuse to start on it
  KeysUnusable             the keys that seal the data folder are missing, damaged, or not the ones
    WrongUnlockKey         ... because they are wrapped by another unlock key
  WireError                a peer sent bytes that are no message of ours
  InvalidConfig            a setting makes no sense
"""


class RaftError(Exception):
    """Anything this package reports."""


class NotCommitted(RaftError):  # noqa: N818 - an outcome, named as callers think of it
    """Definite: the proposal was not appended to the log and never will be."""


class NotLeader(NotCommitted):
    """This manager does not lead; `leader_id` is the one that does, or empty."""

    def __init__(self, text: str, leader_id: str = "") -> None:
        super().__init__(text)
        self.leader_id = leader_id


class JournalUnavailable(NotCommitted):
    """The journal cannot be written (disk full, I/O error); recovery is tried by itself."""


class Overloaded(NotCommitted):
    """Too many proposals wait for the log."""


class ProposalTooLarge(NotCommitted):
    """One proposal exceeds what one log entry may hold."""


class OutcomeUnknown(RaftError):  # noqa: N818 - as above
    """Ambiguous: leadership was lost, or time ran out, after the proposal entered the log."""


class MembershipRefused(RaftError):  # noqa: N818 - as above
    """The membership cannot be changed like that, or not now."""


class HandoverFailed(RaftError):  # noqa: N818 - as above
    """The leadership could not be handed over; nothing has changed."""


class CorruptData(RaftError):  # noqa: N818 - as above
    """A file is damaged or missing; starting on it could lose acknowledged writes."""


class KeysUnusable(RaftError):  # noqa: N818 - as above
    """The data folder cannot be opened with the keys there are; the data may be sound."""


class WrongUnlockKey(KeysUnusable):
    """The unlock key does not open this manager's key file."""


class WireError(RaftError):
    """Bytes from the network that are not a well-formed message."""


class InvalidConfig(RaftError):  # noqa: N818 - as above
    """A setting is out of range or contradicts another."""
