"""A backup as it comes from a manager: the head, then the state in pieces."""

from collections.abc import Iterator

import grpc

from swarm_api.backup_pb2 import BackupHead
from swarm_api.channel import is_retried, refusal
from swarm_api.control_pb2 import BackupMessage, BackupRequest
from swarm_api.control_pb2_grpc import ControlStub
from swarm_api.errors import NoManagerError


def read_backup(stub: ControlStub) -> tuple[BackupHead, Iterator[bytes]]:
    """Head and state; NoManagerError, also from the iterator, when the manager goes away; RequestError: it refuses."""
    messages = _messages(stub)
    first = next(messages, None)
    if first is None:
        raise NoManagerError("The manager ended the backup before it began; try again.")
    return first.head, (message.state for message in messages)


def _messages(stub: ControlStub) -> Iterator[BackupMessage]:
    try:
        yield from stub.Backup(BackupRequest())
    except grpc.RpcError as error:
        if is_retried(error):
            raise NoManagerError(
                f"The backup broke off, and what came of it is no backup ({error.details()}); run it again."
            ) from None
        raise refusal(error) from None
