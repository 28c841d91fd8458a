"""Managers that come, go, move and hand over, as real processes."""

import signal
from pathlib import Path

import pytest

from tests.integration.raft.cluster import Cluster, MemberProcess, running, wait_for
from tests.ports import free_port


def voters(cluster: Cluster) -> set[str]:
    return set(cluster.leader().ask("status")["voters"])


def others(cluster: Cluster) -> list[MemberProcess]:
    leader = cluster.leader()
    return [member for member in cluster.living() if member is not leader]


def test_a_cluster_of_one_grows_to_three_and_survives_its_founder(tmp_path: Path) -> None:
    with running(tmp_path, n=1, compact_entries=30) as cluster:
        for number in range(100):  # so much that a joiner needs a snapshot
            assert "result" in cluster.leader().ask("propose", key=f"k{number}")
        for node_id in ("b" * 25, "c" * 25):
            cluster.join(node_id)
            wait_for(f"{node_id[0]} to vote", lambda node_id=node_id: node_id in voters(cluster))
        cluster.converged()
        cluster.members[cluster.ids[0]].kill()
        leader = cluster.leader()
        assert "result" in leader.ask("propose", key="after")
        assert len(leader.ask("keys")) == 101


def test_a_new_manager_does_not_count_before_it_has_caught_up(tmp_path: Path) -> None:
    with running(tmp_path, n=1) as cluster:
        leader, new = cluster.leader(), "x" * 25
        cluster.addresses[new] = f"127.0.0.1:{free_port()}"
        members = leader.ask("add", node_id=new, address=cluster.addresses[new])  # nothing listens there yet
        for number in range(100):  # a quorum of two would wait for it
            assert "result" in leader.ask("propose", key=f"k{number}")
        assert voters(cluster) == {leader.spec["node_id"]}
        cluster.start(new, members=members, joining=True)
        wait_for("it to vote", lambda: new in voters(cluster))
        cluster.converged()


def test_a_removed_manager_is_told_and_disturbs_nobody(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.complete()
        gone, term = others(cluster)[0], leader.ask("status")["term"]
        left = leader.ask("remove", node_id=gone.spec["node_id"])
        assert isinstance(left, list) and gone.spec["node_id"] not in left and len(left) == 2, left
        wait_for("the removed one to know", lambda: gone.ask("status")["removed"])
        assert leader.ask("remove", node_id=gone.spec["node_id"]) == left, "removing again changes nothing"
        assert "result" in leader.ask("propose", key="on")
        assert leader.ask("status")["term"] == term


def test_what_would_lose_the_quorum_is_refused_with_the_reason(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.complete()
        dead, alive = others(cluster)
        dead.kill()
        wait_for("the loss to be seen", lambda: len(leader.ask("status")["connected"]) == 1)
        refusal = leader.ask("remove", node_id=alive.spec["node_id"])
        assert refusal["error"] == "MembershipRefused" and "unreachable ones first" in refusal["text"]
        assert leader.ask("remove", node_id=dead.spec["node_id"])
        assert "transfer" in leader.ask("remove", node_id=leader.spec["node_id"])["text"]


def test_a_change_is_refused_while_another_one_is_under_way(tmp_path: Path) -> None:
    with running(tmp_path, leader_fallback_s=60) as cluster:  # so that it leads on, though nobody answers it
        leader = cluster.complete()
        followers = others(cluster)
        for member in followers:
            member.process.send_signal(signal.SIGSTOP)
        first, second = "x" * 25, "y" * 25
        addresses = {new: f"127.0.0.1:{free_port()}" for new in (first, second)}
        unknown = leader.ask("add", node_id=first, address=addresses[first], timeout_s=0.2)
        assert (unknown["error"], "not committed in time" in unknown["text"]) == ("OutcomeUnknown", True), unknown
        refused = leader.ask("add", node_id=second, address=addresses[second], timeout_s=0.2)
        assert refused["error"] == "MembershipRefused", refused
        assert refused["text"] == "another change of managers is still under way: try again"
        for member in followers:
            member.process.send_signal(signal.SIGCONT)
        wait_for("the first change to be committed", lambda: first in leader.ask("status")["members"])
        members = leader.ask("add", node_id=second, address=addresses[second])
        assert {first, second} < {node_id for node_id, _, _ in members}


def test_changes_asked_for_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    with running(tmp_path, n=4) as cluster:
        leader = cluster.complete()
        gone = sorted(member.spec["node_id"] for member in others(cluster))[:2]
        left = leader.ask("remove_at_once", node_ids=gone)
        assert [len(after) for after in left] == [3, 2], left
        assert not set(gone) & set(leader.ask("status")["members"])
        assert "result" in leader.ask("propose", key="on")


def test_leadership_is_handed_over_and_back_without_an_election_by_timeout(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        for _ in range(4):
            old = cluster.complete()
            target = others(cluster)[0].spec["node_id"]
            assert old.ask("transfer", node_id=target) == "done"
            new = wait_for(
                "the target to lead", lambda t=target: cluster.members[t].ask("status")["ready"] and cluster.members[t]
            )
            assert "result" in new.ask("propose", key="handed over")
        assert "HandoverFailed" in str(cluster.leader().ask("transfer", node_id="nobody"))


def test_a_planned_hand_over_costs_a_retrying_client_no_error(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.complete()
        leader.ask("load", prefix="steady")
        wait_for("load", lambda: len(leader.acks) > 50)
        assert leader.ask("transfer") == "done"
        cluster.leader()
        # Everything that was in the log before was acknowledged by the old leader: nothing is unknown.
        cluster.converged()
        keys = {key for key in cluster.leader().ask("keys") if key.startswith("steady")}
        assert set(leader.acks) == keys


def test_a_manager_whose_address_changes_comes_back_by_itself(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        cluster.leader()
        for place in (0, 2):  # the one that dials nobody, and the one that dials all
            node_id = cluster.ids[place]
            cluster.members[node_id].kill()
            cluster.addresses[node_id] = f"127.0.0.1:{free_port()}"
            cluster.start(node_id)
            wait_for(
                "the new address to be on record",
                lambda n=node_id: cluster.leader().ask("status")["members"][n] == cluster.addresses[n],
            )
        assert "result" in cluster.leader().ask("propose", key="moved")
        cluster.converged()


def test_managers_that_all_moved_find_each_other_when_each_is_told_of_those_before_it(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        assert "result" in cluster.leader().ask("propose", key="before")
        cluster.converged()
        for node_id in cluster.ids:
            cluster.members[node_id].kill()
            cluster.addresses[node_id] = f"127.0.0.1:{free_port()}"
        moved: list[str] = []
        for node_id in cluster.ids:  # each is told of those before it
            cluster.start(node_id, seeds=moved)
            moved.append(cluster.addresses[node_id])
        wait_for(
            "the new addresses to be on record", lambda: cluster.leader().ask("status")["members"] == cluster.addresses
        )
        assert "result" in cluster.complete().ask("propose", key="after")
        cluster.converged()


def test_one_that_was_away_while_all_others_were_replaced_finds_back(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        cluster.complete()
        away = others(cluster)[0].spec["node_id"]
        cluster.members[away].kill()
        originals = [node_id for node_id in cluster.ids if node_id != away]
        for new in ("g" * 25, "h" * 25):
            cluster.join(new)
            wait_for("the new one to vote", lambda new=new: new in voters(cluster))
        for old in originals:
            leader = cluster.complete()
            if leader.spec["node_id"] == old:
                assert leader.ask("transfer", node_id="g" * 25) == "done"
                leader = wait_for(
                    "g to lead", lambda: cluster.members["g" * 25].ask("status")["ready"] and cluster.members["g" * 25]
                )
            left = leader.ask("remove", node_id=old)
            assert isinstance(left, list) and old not in left, left
            cluster.members.pop(old).kill()
        assert "result" in cluster.leader().ask("propose", key="meanwhile")
        cluster.start(away)
        cluster.converged()
        assert voters(cluster) == {away, "g" * 25, "h" * 25}


def test_a_joiner_on_a_dead_members_address_is_somebody_new(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        cluster.complete()
        dead = others(cluster)[0].spec["node_id"]
        cluster.members.pop(dead).kill()
        cluster.addresses["x" * 25] = cluster.addresses[dead]
        cluster.join("x" * 25)
        wait_for("the replacement to vote", lambda: "x" * 25 in voters(cluster))
        assert dead not in cluster.complete().ask("remove", node_id=dead)
        cluster.converged()


@pytest.mark.parametrize("count", [5])
def test_five_managers_lose_two_and_go_on(tmp_path: Path, count: int) -> None:
    with running(tmp_path, n=count) as cluster:
        cluster.complete().kill()
        cluster.complete().kill()
        assert "result" in cluster.leader().ask("propose", key="three left")
        cluster.converged()
