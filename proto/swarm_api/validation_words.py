"""Checks of the parts that several specs have: durations, resources, placement."""

from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration

from swarm_api.affinities import AffinityError, parse_affinity
from swarm_api.constraints import ConstraintError, known_key, parse_constraint
from swarm_api.defaults import MAX_REPLICAS
from swarm_api.specs_pb2 import Placement
from swarm_api.types_pb2 import ResourceRequirements, Share

_MIN_MEMORY_BYTES = 6 * 2**20  # Docker refuses less
_MAX_DURATION_S = 10 * 365 * 24 * 3600


def duration_problems(field: str, **durations: Duration) -> Iterator[str]:
    """Durations that are negative or no durations at all."""
    for name, duration in durations.items():
        if duration.seconds < 0 or duration.nanos < 0:
            yield f"{field}.{name} is negative; a duration is zero or more."
        elif duration.seconds > _MAX_DURATION_S or duration.nanos >= 1_000_000_000:
            yield f"{field}.{name} is not a duration of less than ten years."


def share_problems(field: str, share: Share) -> Iterator[str]:
    """Shares of a service's tasks that are none or too many."""
    if share.HasField("percent"):
        if not 1 <= share.percent <= 99:
            yield f"{field} is {share.percent} %; a part of the tasks is 1 to 99 %."
    elif not 1 <= share.tasks <= MAX_REPLICAS:
        yield f"{field} is {share.tasks} tasks; use 1 to {MAX_REPLICAS}, or a percentage."


def resource_problems(wanted: ResourceRequirements) -> Iterator[str]:
    """Limits and reservations that cannot be kept."""
    limits, reservations = wanted.limits, wanted.reservations
    for name in ("nano_cpus", "memory_bytes"):
        limit, reserved = getattr(limits, name), getattr(reservations, name)
        if limit < 0 or reserved < 0:
            yield f"task.resources has a negative {name}."
        elif limit and reserved > limit:
            yield f"task.resources reserves more {name} ({reserved}) than its limit allows ({limit})."
    if 0 < limits.memory_bytes < _MIN_MEMORY_BYTES:
        yield f"task.resources.limits.memory_bytes is {limits.memory_bytes}; Docker wants at least {_MIN_MEMORY_BYTES}."
    if limits.pids < 0:
        yield "task.resources.limits.pids is negative."
    for name, count in reservations.generic.items():
        if count < 0:
            yield f"task.resources.reservations.generic asks for {count} of {name}."


def placement_problems(placement: Placement) -> Iterator[str]:
    """Constraints, affinities and preferences that cannot be read."""
    for text in placement.constraints:
        try:
            parse_constraint(text)
        except ConstraintError as error:
            yield f"task.placement.constraints: {error}"
    for affinity in placement.affinities:
        try:
            parse_affinity(affinity)
        except AffinityError as error:
            yield f"task.placement.affinities: {error}"
    for preference in placement.preferences:
        try:
            known_key(preference.descriptor, f"The preference {preference.descriptor!r}")
        except ConstraintError as error:
            yield f"task.placement.preferences: {error}"
    if placement.strategy not in Placement.Strategy.values():
        yield "task.placement.strategy is none of spread, binpack and random."
