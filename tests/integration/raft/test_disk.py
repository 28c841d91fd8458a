"""Damaged, torn and full disks under real managers."""

import resource
from pathlib import Path

import pytest

from tests.integration.raft.cluster import Cluster, Refused, file_limit, running, wait_for


def files(cluster: Cluster, node_id: str, prefix: str) -> list[Path]:
    return sorted((cluster.dir(node_id) / "raft").glob(prefix + "*"))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)


def fill(cluster: Cluster, writes: int = 30) -> None:
    leader = cluster.leader()
    for number in range(writes):
        assert "result" in leader.ask("propose", key=f"key{number:04d}", size=200)
    cluster.converged()


def test_a_torn_tail_is_cut_and_filled_up_again(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        fill(cluster)
        follower = next(m for m in cluster.living() if m is not cluster.leader()).spec["node_id"]
        cluster.members[follower].kill()
        journal = files(cluster, follower, "journal-")[-1]
        journal.write_bytes(journal.read_bytes()[:-77])
        cluster.start(follower)
        cluster.converged()


def test_a_damaged_middle_is_named_and_refused(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        fill(cluster)
        follower = next(m for m in cluster.living() if m is not cluster.leader()).spec["node_id"]
        cluster.members[follower].kill()
        journal = files(cluster, follower, "journal-")[-1]
        flip(journal, journal.stat().st_size // 2)
        with pytest.raises(Refused, match=r"CorruptData.*journal-0.*damaged at byte.*join again"):
            cluster.start(follower)


@pytest.mark.parametrize("place", [0, 20, -1, -40])
def test_a_damaged_snapshot_is_named_and_refused(tmp_path: Path, place: int) -> None:
    with running(tmp_path, n=1, compact_entries=20) as cluster:
        fill(cluster, 60)
        wait_for("a snapshot", lambda: cluster.leader().ask("status")["snapshot"] > 20)
        cluster.members[cluster.ids[0]].kill()
        flip(files(cluster, cluster.ids[0], "snapshot")[0], place)
        with pytest.raises(Refused, match=r"CorruptData.*snapshot.*damaged.*join again"):
            cluster.start(cluster.ids[0])


@pytest.mark.parametrize("missing", ["snapshot", "vote", "journal-"])
def test_a_missing_file_is_named_and_never_becomes_an_empty_state(tmp_path: Path, missing: str) -> None:
    with running(tmp_path, n=1, compact_entries=20) as cluster:
        fill(cluster, 90)
        wait_for(
            "old journal files to go",
            lambda: (
                "journal-" + "1".zfill(16) not in [path.name for path in files(cluster, cluster.ids[0], "journal-")]
            ),
        )
        cluster.members[cluster.ids[0]].kill()
        for path in files(cluster, cluster.ids[0], missing):
            path.unlink()
        with pytest.raises(Refused, match=r"CorruptData.*missing"):
            cluster.start(cluster.ids[0])


def test_a_restart_finds_everything_after_compactions(tmp_path: Path) -> None:
    with running(tmp_path, n=1, compact_entries=20) as cluster:
        fill(cluster, 100)
        cluster.members[cluster.ids[0]].kill()
        cluster.start(cluster.ids[0])
        assert len(cluster.leader().ask("keys")) == 100


def test_a_full_disk_ends_the_lead_with_a_clear_error_and_heals_by_itself(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        fill(cluster, 5)
        leader = cluster.leader()
        used = max(path.stat().st_size for path in files(cluster, leader.spec["node_id"], ""))
        unlimited = resource.RLIM_INFINITY
        resource.prlimit(leader.process.pid, resource.RLIMIT_FSIZE, (used + 3000, unlimited))
        outcomes = [leader.ask("propose", key=f"full{n}", size=1000, timeout_s=2.0) for n in range(8)]
        assert {o.get("error") for o in outcomes} - {None} <= {"OutcomeUnknown", "NotLeader", "JournalUnavailable"}
        assert any("error" in outcome for outcome in outcomes)
        problem = wait_for("the problem to be named", lambda: leader.ask("status")["disk_problem"])
        assert "cannot write its journal" in problem and "make room" in problem
        others = [m for m in cluster.living() if m is not leader]
        wait_for("another leader", lambda: next((m for m in others if m.ask("status")["ready"]), None))
        refusal = leader.ask("propose", key="refused")
        assert refusal["error"] == "JournalUnavailable", refusal
        resource.prlimit(leader.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        wait_for("the disk to be used again", lambda: not leader.ask("status")["disk_problem"])
        assert "result" in cluster.leader().ask("propose", key="healed")
        cluster.converged()
        acked = {f"full{n}" for n, outcome in enumerate(outcomes) if "result" in outcome}
        keys = {key.rstrip("x") for key in cluster.leader().ask("keys")}
        assert acked | {"healed"} <= keys and "refused" not in keys


def test_a_disk_that_is_full_at_the_start_is_named(tmp_path: Path) -> None:
    with running(tmp_path, n=1) as cluster:
        fill(cluster, 3)
        node_id = cluster.ids[0]
        cluster.members[node_id].kill()
        for path in (cluster.dir(node_id) / "raft").iterdir():
            path.unlink()
        with pytest.raises(Refused, match=r"File too large|cannot write its journal"):
            cluster.start(node_id, preexec=file_limit(20))


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    with running(tmp_path, n=1) as cluster:
        cluster.leader()
        first = cluster.members[cluster.ids[0]]
        with pytest.raises(Refused, match="another manager process uses"):
            cluster.start(cluster.ids[0], listen="127.0.0.1:0")
        cluster.members[cluster.ids[0]] = first
