"""Task states: their order, and the questions everybody asks of them.

States are SwarmKit's; they only move forward (types.proto, TaskState).
"""

from swarm_api.objects_pb2 import Task
from swarm_api.types_pb2 import TaskState

#: The container of a task in one of these is gone or was never made; it will not run again.
TERMINAL: frozenset[int] = frozenset(
    {
        TaskState.COMPLETE,
        TaskState.SHUTDOWN,
        TaskState.FAILED,
        TaskState.REJECTED,
        TaskState.ORPHANED,
    }
)

#: Desired states that say "this task is wanted".
WANTED: frozenset[int] = frozenset({TaskState.READY, TaskState.RUNNING})


def state_name(state: int) -> str:
    """The state as people read it: `running`, `pending`, ..."""
    return TaskState.Name(state).lower()  # type: ignore[arg-type]  # any int of the enum


def is_over(task: Task) -> bool:
    """Whether the task's container is gone, or was never made, for good."""
    return task.status.state in TERMINAL


def is_wanted(task: Task) -> bool:
    """Whether the manager wants the task to run, now or as soon as it may."""
    return task.desired_state in WANTED


def may_advance(current: int, new: int) -> bool:
    """Whether an observed state may follow another: forward only, and never out of a terminal one."""
    return new > current and current not in TERMINAL
