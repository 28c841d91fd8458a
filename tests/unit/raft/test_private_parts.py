"""Every private part of PySyncObj that we replace: with it the promise holds, without it the same check fails."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pysyncobj.syncobj as stock
import pytest
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.node import Node
from swarm_manager.raft import pysyncobj_private as private
from swarm_manager.raft import snapshot
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.elections import ElectionGate
from swarm_manager.raft.errors import InvalidConfig, RaftError

from tests.sim.clocks import MemberClock
from tests.sim.log_workload import LogMachine
from tests.sim.oracle import Violation
from tests.unit.raft.lab import leader, run_until, world, write

Check = Callable[[], None]


# ------------------------------------------------------------------------------ the checks, one per part


def check_a_machine_that_raises_does_not_stop_the_cluster() -> None:
    lab = world()
    first = leader(lab)
    assert isinstance(write(lab, first, b"bad!"), ValueError)
    assert isinstance(write(lab, first, b"good"), int)


def check_a_leader_alone_commits_nothing_that_is_not_on_its_disk() -> None:
    lab = world(members=1)
    (member,) = lab.living()
    core = member.core
    assert core is not None
    save = core.journal.set_vote

    def save_and_fill_up(term: int, vote: str | None) -> bool:
        saved = save(term, vote)
        member.platter.full = True  # right after the vote for itself, before the first entry of the term
        return saved

    core.journal.set_vote = save_and_fill_up  # type: ignore[method-assign]
    run_until(lab, lambda: not core.journal.healthy)
    assert core.journal.last_index > 1 and core.commit_index == 1


def check_a_follower_refuses_at_once_and_forwards_nothing() -> None:
    lab = world()
    first = leader(lab)
    follower = next(m for m in lab.living() if m is not first)
    with pytest.raises(RaftError, match=first.node_id):
        write(lab, follower, b"x")


def check_election_timeouts_are_replayable() -> None:
    def draw() -> list[float]:
        random.seed()  # whatever else draws global random numbers must not matter
        lab = world()
        return [m.core.new_election_timeout() for m in lab.living() if m.core is not None]

    assert draw() == draw()


def check_acknowledgements_wait_for_the_disk() -> None:
    lab = world()
    first = leader(lab)
    follower = next(m for m in lab.living() if m is not first)
    synced = follower.platter.syncs
    write(lab, first, b"x")
    run_until(lab, lambda: isinstance(follower.machine, LogMachine) and follower.machine.items)
    assert follower.platter.syncs > synced


def check_a_snapshot_is_checked_and_written_by_us() -> None:
    lab = world(members=1, compact_entries=5)
    member = leader(lab)
    for number in range(20):
        write(lab, member, b"%d" % number)
    run_until(lab, lambda: "snapshot" in member.platter.files)
    assert snapshot.parse(member.open_disk().read("snapshot")).last[1] > 1


def check_the_poll_sleeps_until_something_is_due() -> None:
    lab = world()
    follower = next(m for m in lab.living() if m is not leader(lab))
    start, steps = lab.clock.now, lab.steps
    run_until(lab, lambda: lab.clock.now > start + 2)
    assert follower.wake_at > start + 2, "it sleeps towards its election deadline"
    assert lab.steps - steps < 300


def check_one_clock_drives_everything() -> None:
    lab = world()
    leader(lab)
    assert lab.clock.now < 1010, "elections happened in simulated time"
    assert isinstance(stock.monotonicTime, MemberClock)


def check_a_manager_that_was_cut_off_deposes_nobody() -> None:
    lab = world()
    first = leader(lab)
    assert first.core is not None
    lost = next(m for m in lab.living() if m is not first)
    term = first.core.term
    for other in lab.members:
        lab.network.partition(lost.node_id, other, both=True)
    start = lab.clock.now
    run_until(lab, lambda: lab.clock.now > start + 8)
    lab.network.heal()
    run_until(lab, lambda: lab.clock.now > start + 12, 20)
    assert first.core.is_leader and first.core.term == term
    assert lost.core is not None and lost.core.leader_id == first.node_id


def check_a_member_that_joins_comes_to_vote() -> None:
    lab = world(members=1)
    first = leader(lab)
    assert first.core is not None
    future = first.core.changes.submit_add(private_member("m9"), lab.clock.now + 5)
    run_until(lab, future.done)
    lab.new_member("m9", tuple(future.result().members.values()), joining=True)
    run_until(lab, lambda: first.core is not None and "m9" in first.core.journal.membership.voters)
    assert {node.id for node in first.core.otherNodes} == {"m9"}
    assert write(lab, first, b"both")


def private_member(node_id: str) -> Any:
    from swarm_manager.raft.config import Member

    return Member(node_id, "127.0.0.1:1", voter=False)


def check_a_transfer_needs_no_timeout() -> None:
    lab = world()
    first = leader(lab)
    assert first.core is not None
    target = next(m for m in lab.living() if m is not first)
    start = lab.clock.now
    future = first.core.handover.submit(target.node_id, lab.clock.now + 5)
    run_until(lab, future.done)
    run_until(lab, lambda: target.core is not None and target.core.is_ready)
    assert lab.clock.now - start < 0.4, "less than the shortest election timeout"


# --------------------------------------------------------------- what each part is worth: taking it away


def restore(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Put stock's own method back."""
    return lambda patch: patch.setattr(RaftCore, name, getattr(SyncObj, name), raising=False)


def no_disk_trust(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RaftCore, "_trust_only_the_disk", lambda self: None)


def stock_serializer(patch: pytest.MonkeyPatch) -> None:
    make = private.RaftEngine.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self._SyncObj__serializer = stock.Serializer(None, 100, False, None, None, None)

    patch.setattr(private.RaftEngine, "__init__", init)


def stock_poll(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RaftCore, "_sleep_s", lambda self: 0.001)


def own_clock(patch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def uses(journal: Any, clock: Any) -> Any:
        make, stock.createJournal = stock.createJournal, lambda _: journal
        stock.monotonicTime = random.random
        yield
        stock.createJournal = make

    patch.setattr(private, "_stock_uses", uses)


def no_gate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ElectionGate, "before_tick", lambda self: None)


def membership_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(private.RaftEngine, "follow_membership", lambda self, membership: None)


def no_transfer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(private.RaftEngine, "transfer_in_progress", False)


PARTS: dict[str, tuple[Check, Callable[[pytest.MonkeyPatch], None]]] = {
    "__applyLogEntries: contained": (
        check_a_machine_that_raises_does_not_stop_the_cluster,
        restore("_SyncObj__applyLogEntries"),
    ),
    "__applyLogEntries: what is on disk": (check_a_leader_alone_commits_nothing_that_is_not_on_its_disk, no_disk_trust),
    "_checkCommandsToApply": (
        check_a_follower_refuses_at_once_and_forwards_nothing,
        restore("_checkCommandsToApply"),
    ),
    "__generateRaftTimeout": (
        check_election_timeouts_are_replayable,
        restore("_SyncObj__generateRaftTimeout"),
    ),
    "_onTick": (check_acknowledgements_wait_for_the_disk, restore("_onTick")),
    "__serializer": (check_a_snapshot_is_checked_and_written_by_us, stock_serializer),
    "_poller": (check_the_poll_sleeps_until_something_is_due, stock_poll),
    "monotonicTime": (check_one_clock_drives_everything, own_clock),
    "__raftElectionDeadline": (check_a_manager_that_was_cut_off_deposes_nobody, no_gate),
    "__otherNodes and its like": (check_a_member_that_joins_comes_to_vote, membership_ignored),
    "__transferInProgress": (check_a_transfer_needs_no_timeout, no_transfer),
}


@pytest.mark.parametrize("part", PARTS)
def test_with_it_the_promise_holds(part: str) -> None:
    PARTS[part][0]()


@pytest.mark.parametrize("part", PARTS)
def test_without_it_the_same_check_fails(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, take_away = PARTS[part]
    take_away(monkeypatch)
    with pytest.raises((Exception, Violation, pytest.fail.Exception)):  # whichever way stock goes wrong
        check()


# ------------------------------------------------------------------------------------------ the version


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "VERSION", "0.3.18")
    with pytest.raises(InvalidConfig, match=r"0\.3\.17.*0\.3\.18"):
        private.check_version()


def test_every_named_part_exists_in_the_installed_version() -> None:
    plain = SyncObj(Node("a"), [], SyncObjConf(autoTick=False), nodeClass=Node, transportClass=private.Transport)
    missing = [name for name in private.PRIVATE_PARTS if not hasattr(plain, name)]
    assert not missing
    assert callable(stock.createJournal) and callable(stock.monotonicTime)


def test_snapshot_states_are_pysyncobjs() -> None:
    ours = snapshot.NOT_SERIALIZING, snapshot.SERIALIZING, snapshot.SUCCESS, snapshot.FAILED
    theirs = SERIALIZER_STATE
    assert ours == (theirs.NOT_SERIALIZING, theirs.SERIALIZING, theirs.SUCCESS, theirs.FAILED)


def test_settings_are_all_known_to_pysyncobj() -> None:
    """Stock ignores an unknown name silently; so a misspelt one would be a silent default."""
    lab = world(members=1)
    member = leader(lab)
    assert member.core is not None
    config = private._stock_config(member.core.config)
    assert set(vars(config)) == set(vars(SyncObjConf()))
    assert (config.raftMinTimeout, config.appendEntriesPeriod) == (0.4, 0.13)
    assert not (config.useFork or config.autoTick or config.dynamicMembershipChange)
