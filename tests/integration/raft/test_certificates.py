"""Certificates that end: links are replaced before, and closed where nobody renewed."""

from datetime import timedelta
from pathlib import Path

from swarm_api.identity import NodeCredentials, utc_now

from tests.integration.raft.cluster import Cluster, MemberProcess, running, wait_for

SHORT_S = 6.0


def give(cluster: Cluster, member: MemberProcess, valid_s: float) -> None:
    """Have a running member take on a new certificate."""
    node_id = member.spec["node_id"]
    cluster.credentials(node_id, valid_s=valid_s).save(cluster.dir(node_id) / "node")
    assert member.ask("reload") == "done"


def until_ended(credentials: NodeCredentials) -> None:
    """Wait until a certificate has ended, and for as long as it takes a member to look."""
    end = credentials.identity().not_after + timedelta(seconds=1)
    wait_for("a certificate to end", lambda: utc_now() > end)


def test_links_go_over_to_new_certificates_before_the_old_ones_end_and_nobody_notices(tmp_path: Path) -> None:
    with running(tmp_path, valid_s=SHORT_S) as cluster:
        leader = cluster.complete()
        old = [NodeCredentials.load(cluster.dir(node_id) / "node") for node_id in cluster.ids]
        term, links_lost = leader.ask("status")["term"], (tmp_path / "log").read_text().count("the link to manager")
        leader.ask("load", prefix="busy")
        wait_for("writes", lambda: len(leader.acks) > 100)
        for member in cluster.living():
            give(cluster, member, 1e6)
        for credentials in old:
            until_ended(credentials)
        acknowledged = len(leader.acks)
        wait_for("writes after the old ones' end", lambda: len(leader.acks) > acknowledged + 100)
        status = leader.ask("status")
        assert (status["ready"], status["term"], len(status["connected"])) == (True, term, 2)
        log = (tmp_path / "log").read_text()
        assert log.count("the link to manager") == links_lost, log


def test_a_manager_whose_certificate_ended_is_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.complete()
        late = next(member for member in cluster.living() if member is not leader)
        give(cluster, late, SHORT_S)
        until_ended(NodeCredentials.load(cluster.dir(late.spec["node_id"]) / "node"))
        wait_for("it to be cut off", lambda: late.spec["node_id"] not in leader.ask("status")["connected"])
        assert "result" in leader.ask("propose", key="without it")
        give(cluster, late, 1e6)
        cluster.converged()
