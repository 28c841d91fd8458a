"""A manager that was busy, or stopped by its disk, does not take its own deafness for the leader's silence.

Each check runs twice, as in test_mitigations: as it is, and with the mitigation taken away, when it must fail.
"""

from collections.abc import Callable

import pytest
from swarm_manager.raft import codec
from swarm_manager.raft.codec import Message
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.elections import ElectionGate

from tests.sim.world import SimMember, World
from tests.unit.raft.lab import leader, run_until, world

Patch = pytest.MonkeyPatch
STALL_S = 1.0  # longer than any election timeout


def led() -> tuple[World, RaftCore, SimMember]:
    """A cluster with a leader, and one of those who follow it."""
    lab = world()
    first = leader(lab)
    assert first.core is not None
    follower = next(member for member in lab.living() if member is not first)
    assert follower.core is not None
    run_until(lab, lambda: follower.core is not None and follower.core.leader_id == first.node_id)
    return lab, first.core, follower


def pass_without(lab: World, member: SimMember) -> None:
    """A second in which this member does nothing, and all others go on."""
    end, member.frozen_until = lab.clock.now + STALL_S, float("inf")
    while lab.clock.now < end:
        lab.advance()
    member.frozen_until = lab.clock.now


def sent_by(member: SimMember) -> list[Message]:
    """What this member says from now on."""
    assert member.core is not None
    sent: list[Message] = []
    send = member.core.transport.send_own

    def noted(peer: str, *messages: Message) -> bool:
        sent.extend(messages)
        return send(peer, *messages)

    member.core.transport.send_own = noted  # type: ignore[method-assign]
    return sent


def check_a_follower_that_its_disk_stopped_reads_what_came_before_it_asks_for_votes() -> None:
    lab, _, follower = led()
    assert follower.core is not None
    release = follower.core.guard.release_acks
    stuck: list[None] = []

    def stuck_once() -> None:
        if not stuck:
            stuck.append(None)
            pass_without(lab, follower)
        release()

    follower.core.guard.release_acks = stuck_once  # type: ignore[method-assign]
    sent = sent_by(follower)
    run_until(lab, lambda: len(sent) > 10)
    assert stuck
    assert "pre_vote" not in {message["type"] for message in sent}


def check_a_question_that_is_read_before_the_leaders_word_of_the_same_moment_is_denied() -> None:
    lab, first, follower = led()
    assert follower.core is not None
    pass_without(lab, follower)
    last = follower.core.journal.entries[-1]
    question = {"type": "pre_vote", "term": first.term + 1, "round": 1}
    asked = codec.encode({**question, "last_log_index": last[1], "last_log_term": last[2]})
    asker = next(m.node_id for m in lab.living() if m.core is not first and m is not follower)
    assert follower.links.inbox, "the leader has sent heartbeats meanwhile"
    follower.links.inbox.insert(0, (asker, asked))
    sent = sent_by(follower)
    lab.step(follower)
    assert [message["granted"] for message in sent if message["type"] == "pre_vote_reply"] == [False]


def check_no_election_slips_through_while_stock_is_on_its_way_to_its_deadline() -> None:
    """The deadline passes after we looked at it, and before stock does, which asks nobody before it raises its term."""
    lab, first, follower = led()
    core = follower.core
    assert core is not None
    gate, term = core.gate.before_tick, first.term

    def slow_gate() -> None:
        gate()
        lab.clock.now += STALL_S

    core.gate.before_tick = slow_gate  # type: ignore[method-assign]
    lab.step(follower)
    assert core.term == term


def silence_is_judged_at_once(patch: Patch) -> None:
    now = property(lambda self: self.now(), lambda self, _: None)
    patch.setattr(RaftCore, "looked_at", now, raising=False)


def questions_are_answered_at_once(patch: Patch) -> None:
    patch.setattr(ElectionGate, "on_pre_vote", ElectionGate._answer)


def the_deadline_is_in_sight(patch: Patch) -> None:
    patch.setattr(ElectionGate, "before_tick", ElectionGate._lets_pass)


MITIGATIONS: dict[str, tuple[Callable[[], None], Callable[[Patch], None]]] = {
    "read before asking": (
        check_a_follower_that_its_disk_stopped_reads_what_came_before_it_asks_for_votes,
        silence_is_judged_at_once,
    ),
    "read before answering": (
        check_a_question_that_is_read_before_the_leaders_word_of_the_same_moment_is_denied,
        questions_are_answered_at_once,
    ),
    "the deadline is hidden": (
        check_no_election_slips_through_while_stock_is_on_its_way_to_its_deadline,
        the_deadline_is_in_sight,
    ),
}


@pytest.mark.parametrize("mitigation", MITIGATIONS)
def test_with_it_the_check_holds(mitigation: str) -> None:
    MITIGATIONS[mitigation][0]()


@pytest.mark.parametrize("mitigation", MITIGATIONS)
def test_without_it_the_same_check_fails(mitigation: str, monkeypatch: Patch) -> None:
    check, take_away = MITIGATIONS[mitigation]
    take_away(monkeypatch)
    with pytest.raises(AssertionError):
        check()
