"""Whether, and when, a task that ended by itself is replaced.

The policy is read from the service as it is now, the attempts from the slot's history: nothing is kept in memory.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from swarm_api.defaults import RESTART_DELAY_S
from swarm_api.objects_pb2 import Task
from swarm_api.types_pb2 import (
    COMPLETE,
    FAILED,
    REJECTED,
    RestartPolicy,
)

from swarm_manager.core.draft import is_live
from swarm_manager.core.orchestrate.slots import Slot
from swarm_manager.core.times import SECOND_NS, duration_ns, ns, seconds_ns

#: So many failures in a row are retried after the plain delay; each further one doubles it, ...
_PLAIN_RETRIES = 3
#: ... up to this.
_LONGEST_DELAY_NS = 60 * SECOND_NS
#: A task that lived this long is not part of the row of failures.
_HEALTHY_AFTER_NS = 600 * SECOND_NS

_FAILURES = frozenset({FAILED, REJECTED})


class Verdict(NamedTuple):
    """What to do about a slot whose task ended."""

    replace: bool
    not_before_ns: int


def verdict(slot: Slot, ended: Task, policy: RestartPolicy, is_outdated: Callable[[Task], bool]) -> Verdict:
    """Whether the slot's ended task gets a replacement, and when that may start (nanoseconds since the epoch)."""
    ends = sorted(ns(task.status.timestamp) for task in _attempts(slot, policy, is_outdated))
    if not _condition_met(ended, policy) or _attempts_used_up(ends, policy):
        return Verdict(replace=False, not_before_ns=0)
    return Verdict(replace=True, not_before_ns=ns(ended.status.timestamp) + _delay_ns(ends, policy))


def earliest_start_ns(slot: Slot, policy: RestartPolicy, is_outdated: Callable[[Task], bool]) -> int | None:
    """When a replacement that keeps failing while the old task still runs may be tried again; None: not any more."""
    ends = sorted(ns(task.status.timestamp) for task in _attempts(slot, policy, is_outdated))
    if not ends:
        return 0
    if policy.condition == RestartPolicy.NONE or _attempts_used_up(ends, policy):
        return None
    return ends[-1] + _delay_ns(ends, policy)


def history_needed(policy: RestartPolicy) -> int:
    """How many ended tasks of a slot the policy has to see."""
    return int(policy.max_attempts) + 1 if policy.max_attempts else 0


def _attempts(slot: Slot, policy: RestartPolicy, is_outdated: Callable[[Task], bool]) -> Iterable[Task]:
    """The slot's tasks of the present spec that ended in a way the policy counts."""
    counted = _FAILURES if policy.condition == RestartPolicy.ON_FAILURE else {*_FAILURES, COMPLETE}
    return (task for task in slot.tasks.values() if task.status.state in counted and not is_outdated(task))


def _condition_met(ended: Task, policy: RestartPolicy) -> bool:
    if policy.condition == RestartPolicy.NONE or is_live(ended):
        return False
    return policy.condition == RestartPolicy.ANY or ended.status.state != COMPLETE


def _attempts_used_up(ends: list[int], policy: RestartPolicy) -> bool:
    """The first end is no attempt; the window reaches back from the last end, so that the answer stays the same."""
    if not policy.max_attempts or not ends:
        return False
    window_ns = duration_ns(policy.window)
    recent = [end for end in ends if not window_ns or end > ends[-1] - window_ns]
    return len(recent) > policy.max_attempts


def _delay_ns(ends: list[int], policy: RestartPolicy) -> int:
    delay_ns = duration_ns(policy.delay) if policy.HasField("delay") else seconds_ns(RESTART_DELAY_S)
    doublings = max(0, _in_a_row(ends) - _PLAIN_RETRIES)
    return max(delay_ns, min(delay_ns << min(doublings, 16), _LONGEST_DELAY_NS))


def _in_a_row(ends: list[int]) -> int:
    """How many of the last ends followed each other closely."""
    if not ends:
        return 0
    count = 1
    for earlier, later in reversed(list(itertools.pairwise(ends))):
        if later - earlier > _HEALTHY_AFTER_NS:
            break
        count += 1
    return count
