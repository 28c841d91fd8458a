"""The part of a task's spec that its container is made of: what has to differ for a running task to be replaced."""

from swarm_api.specs_pb2 import TaskSpec

#: What decides about a task from outside: a running container need not be replaced when these change.
_OUTSIDE_FIELDS = ("restart", "placement", "on_disconnect")


def essence(spec: TaskSpec) -> TaskSpec:
    """A copy without what decides about the task from outside."""
    kept = TaskSpec()
    kept.CopyFrom(spec)
    for name in _OUTSIDE_FIELDS:
        kept.ClearField(name)  # type: ignore[arg-type]  # they are fields of a TaskSpec
    return kept


def with_essence_of(spec: TaskSpec, other: TaskSpec) -> TaskSpec:
    """A copy that makes the container that `other` makes, and is decided about from outside as before."""
    mixed = essence(other)
    outside = TaskSpec()
    outside.CopyFrom(spec)
    for field in TaskSpec.DESCRIPTOR.fields:
        if field.name not in _OUTSIDE_FIELDS:
            outside.ClearField(field.name)  # type: ignore[arg-type]  # they are fields of a TaskSpec
    mixed.MergeFrom(outside)
    return mixed
