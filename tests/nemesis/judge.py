"""From what was recorded to a verdict: everything that was not as promised, a sentence or a story each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from tests.linearizability.checker import linearize, with_versions
from tests.linearizability.explain import explain
from tests.linearizability.history import Operation, by_object
from tests.linearizability.prefix import StaleRead, prefix_faults
from tests.nemesis.faults import Event
from tests.nemesis.recording import Complaint, Recording

RESTART_S = 5.0  # after the end of a fault: a manager starts, loads, connects and catches up


def judge(recording: Recording, events: Sequence[Event]) -> list[str]:
    """What was wrong; nothing, when all promises were kept."""
    found = [] if recording.is_complete else ["some object could not be read at the end"]
    history = with_versions(recording.operations)
    found += _two_versions(recording.operations)
    found += _not_linearizable(history, events)
    found += prefix_faults(history, [_by_incarnation(read, events) for read in recording.stale])
    return found + [_said(c) for c in recording.complaints if not (c.is_late and _is_excused(c, events))]


def _two_versions(operations: Sequence[Operation]) -> list[str]:
    """A write has one place in the log: its tag is seen with one version, by everybody and always."""
    versions: dict[str, set[int]] = defaultdict(set)
    for operation in operations:
        if operation.tag and operation.version:
            versions[operation.tag].add(operation.version)
    return [f"{tag} was seen at versions {sorted(seen)}" for tag, seen in versions.items() if len(seen) > 1]


def _not_linearizable(history: Sequence[Operation], events: Sequence[Event]) -> list[str]:
    bad = [part for part in by_object(history).values() if not linearize(part).is_complete]
    happened = [(event.at, event.what) for event in events] + [
        (event.until, f"end of {event.what}") for event in events
    ]
    shown = [explain(part, happened) for part in bad[:1]]
    return shown + [f"{part[0].name} is not linearizable either" for part in bad[1:]]


def _by_incarnation(read: StaleRead, events: Sequence[Event]) -> StaleRead:
    """A manager that was restarted may begin with less than it had applied before."""
    restarts = [event for event in events if event.restarts and read.manager in event.managers]
    before = sum(event.at <= read.invoked for event in restarts)
    during = any(event.at <= read.returned and read.invoked <= event.until + RESTART_S for event in restarts)
    return replace(read, manager=f"{read.manager} ({read.invoked if during else before})")


def _is_excused(complaint: Complaint, events: Sequence[Event]) -> bool:
    """Whether the manager that was asked could not answer: it was gone, frozen, cut off or without a disk."""
    return any(
        complaint.manager in event.managers
        and event.at <= complaint.returned
        and complaint.invoked <= event.until + RESTART_S
        for event in events
    )


def _said(complaint: Complaint) -> str:
    waited_s = complaint.returned - complaint.invoked
    if complaint.is_late:
        return f"{complaint.manager}, which nothing ailed, did not answer within {waited_s:.0f} s: {complaint.what}"
    return f"{complaint.manager} answered what nobody should get: {complaint.what}"
