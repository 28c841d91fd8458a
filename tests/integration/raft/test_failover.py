"""Real managers, really killed: what was acknowledged is still there, and nothing is there twice."""

from pathlib import Path

from tests.integration.raft.cluster import MemberProcess, running, wait_for


def written_under_load(leader: MemberProcess, prefix: str, enough: int = 200) -> None:
    leader.ask("load", prefix=prefix)
    wait_for(f"{enough} acknowledgements", lambda: len(leader.acks) >= enough)


def test_acknowledged_writes_survive_kill_9_of_the_leader_and_of_all(tmp_path: Path) -> None:
    acked: set[str] = set()
    with running(tmp_path, compact_entries=500) as cluster:
        for number in range(6):
            leader = cluster.leader()
            written_under_load(leader, f"round{number}")
            victims = list(cluster.members.values()) if number % 3 == 2 else [leader]
            for victim in victims:
                victim.kill()
            acked.update(leader.acks)
            for victim in victims[1:]:
                cluster.start(victim.spec["node_id"])
            keys = set(cluster.leader().ask("keys"))
            assert acked <= keys, f"lost: {sorted(acked - keys)[:5]}"
            cluster.start(victims[0].spec["node_id"])
        assert len(acked) >= 1200
        cluster.converged()
        states = [(member.ask("keys"), member.ask("status")["machine"]) for member in cluster.living()]
        assert states[0] == states[1] == states[2]
        # A write may be in the log though its client never heard so; but none is applied twice.
        assert states[0][1] == len(states[0][0])


def test_a_leader_is_told_by_listeners_once_a_term_and_serves_linearizable_reads(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.leader()
        written = leader.ask("propose", key="one")["result"]
        read = leader.ask("read")
        assert read["index"] >= written and read["applied"] >= read["index"]
        term = leader.ask("status")["term"]
        assert leader.ask("leadership") == [[True, term]]
        follower = next(member for member in cluster.living() if member is not leader)
        refusal = follower.ask("propose", key="two")
        assert refusal["error"] == "NotLeader" and leader.spec["node_id"] in refusal["text"]
        assert follower.ask("read")["error"] == "NotLeader"


def test_without_a_quorum_writes_and_reads_end_in_time_and_go_on_when_it_returns(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.leader()
        for member in cluster.living():
            if member is not leader:
                member.kill()
        outcome = leader.ask("propose", key="alone", timeout_s=1.0)
        assert outcome["error"] in ("OutcomeUnknown", "NotLeader"), outcome
        assert leader.ask("read")["error"] == "NotLeader"
        wait_for("the lonely leader to step down", lambda: not leader.ask("status")["ready"])
        for member in list(cluster.members.values()):
            if not member.alive:
                cluster.start(member.spec["node_id"])
        assert "result" in cluster.leader().ask("propose", key="again")


def test_a_machine_that_raises_is_an_outcome_everywhere_alike(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.leader()
        assert "asked to fail" in leader.ask("propose", key="raise")["result"]
        assert isinstance(leader.ask("propose", key="after")["result"], int)
        cluster.converged()
        assert all(member.ask("keys") == ["after"] for member in cluster.living())


def test_a_frozen_leader_is_replaced_and_follows_when_it_thaws(tmp_path: Path) -> None:
    import signal

    with running(tmp_path) as cluster:
        old = cluster.leader()
        old.process.send_signal(signal.SIGSTOP)
        others = [member for member in cluster.living() if member is not old]
        new = wait_for("another leader", lambda: next((m for m in others if m.ask("status")["ready"]), None))
        term = new.ask("status")["term"]
        assert "result" in new.ask("propose", key="meanwhile")
        old.process.send_signal(signal.SIGCONT)
        wait_for("the old leader to follow", lambda: old.ask("status")["leader"] == new.spec["node_id"])
        cluster.converged()
        assert new.ask("status")["term"] == term, "its return deposed nobody"
