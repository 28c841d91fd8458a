"""The states a task went through, and when it was first seen in each."""

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.objects_pb2 import TaskStatus


def note_state(status: TaskStatus, at: Timestamp) -> None:
    """Writes the state down, unless it is the last one that was."""
    if not status.states or status.states[-1].state != status.state:
        status.states.add(state=status.state).since.CopyFrom(at)
