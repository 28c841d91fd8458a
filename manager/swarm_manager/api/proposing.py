"""Change sets of the manager's own: stamped with the time, without a request id."""

import time
from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.store_pb2 import Change, ChangeSet

from swarm_manager.core.codec import SCHEMA_VERSION
from swarm_manager.core.times import timestamp


def now_timestamp() -> Timestamp:
    """The time on this manager's clock."""
    return timestamp(time.time_ns())


def change_set(changes: Iterable[Change]) -> ChangeSet:
    """The changes as one entry."""
    return ChangeSet(schema_version=SCHEMA_VERSION, proposed_at=now_timestamp(), changes=changes)
