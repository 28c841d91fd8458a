"""`init`, `join`, `leave` and contexts: what this machine is, and how it reaches clusters."""

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from swarm_api import node_pb2 as api
from swarm_api.ca_pb2 import IssueAdminCertificateResponse
from swarm_api.ca_pb2_grpc import CaServicer, add_CaServicer_to_server
from swarm_api.control_pb2 import ManagerInfo
from swarm_api.control_pb2_grpc import add_ControlServicer_to_server
from swarm_api.identity import ROLE_ADMIN, make_token, utc_now
from swarm_api.node_pb2_grpc import NodeControlServicer, add_NodeControlServicer_to_server
from swarm_cli import daemon
from swarm_cli.commands import cluster as cluster_commands
from swarm_manager.pki import create_ca, issue_from_csr, new_secret

from tests.cli.cluster import FakeCluster, serve
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has: these tests must not touch its units."""
    monkeypatch.setattr(daemon, "_SYSTEMD", tmp_path / "no-systemd")


class FakeDaemon(NodeControlServicer):
    """A node's daemon at the protocol."""

    def __init__(self, state: Path) -> None:
        self.requests: list[Any] = []
        self.refuses = ""
        self.unlock_key = ""
        self._file = state / "node" / "node.json"

    def _begin(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if self.refuses:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refuses)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps({"node_id": "n1", "role": "swarm-manager", "managers": []}))

    def Init(self, request: Any, context: grpc.ServicerContext) -> api.InitResponse:  # noqa: N802 - the API's
        self._begin(request, context)
        return api.InitResponse(
            node_id="n1", cluster_id="c1", worker_token="W", manager_token="M", unlock_key=self.unlock_key
        )

    def Join(self, request: Any, context: grpc.ServicerContext) -> api.JoinResponse:  # noqa: N802 - the API's
        self._begin(request, context)
        return api.JoinResponse(node_id="n2", cluster_id="c1", role=1)

    def Leave(self, request: Any, context: grpc.ServicerContext) -> api.LeaveResponse:  # noqa: N802 - the API's
        self._begin(request, context)
        self._file.unlink()
        return api.LeaveResponse()

    def Restore(self, request: Any, context: grpc.ServicerContext) -> api.RestoreResponse:  # noqa: N802 - the API's
        self._begin(request, context)
        return api.RestoreResponse(node_id="n9", cluster_id="c1", era=9, nodes=["n1", "n2"])

    def Recover(self, request: Any, context: grpc.ServicerContext) -> api.RecoverResponse:  # noqa: N802 - the API's
        self._begin(request, context)
        return api.RecoverResponse(node_id="n1", cluster_id="c1", era=9, unconfirmed=2, former_managers=["n2", "n3"])

    def Rejoin(self, request: Any, context: grpc.ServicerContext) -> api.RejoinResponse:  # noqa: N802 - the API's
        self._begin(request, context)
        answer = api.RejoinResponse(node_id="n1", role=1, connected=not request.from_own_data)
        answer.waiting_for = "" if answer.connected else "No manager leads."
        answer.certificate_ends.FromJsonString("2027-01-02T03:04:05Z")
        return answer

    def Status(self, request: Any, context: grpc.ServicerContext) -> api.StatusResponse:  # noqa: N802 - the API's
        return api.StatusResponse(
            node_id="n1", cluster_id="c1", connected=True, leader_address="10.0.0.1:2377", tasks=3, engine_error="none"
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon that runs already."""
    (tmp_path / "run").mkdir()
    served = FakeDaemon(tmp_path / "state")
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_NodeControlServicer_to_server(served, server)
    server.add_insecure_port(f"unix:{tmp_path}/run/node.sock")
    server.start()
    yield served
    server.stop(None).wait()


@pytest.fixture
def token() -> str:
    return str(make_token(create_ca("c1", utc_now()).certificate_pem, new_secret()))


def test_init_prints_how_to_go_on(node: FakeDaemon, swarm: Run) -> None:
    done = swarm("init", "--advertise-addr", "10.0.0.1", "--address-pool", "10.20.0.0/16", "--availability", "drain")
    assert (done.code, done.err) == (0, "")
    assert "this node (n1) is now a manager" in done.out
    assert "    swarm-cli join --token W 10.0.0.1:2377\n" in done.out
    (request,) = node.requests
    assert (request.advertise_address, list(request.address_pools)) == ("10.0.0.1:2377", ["10.20.0.0/16"])
    assert (request.availability, request.vxlan_port, request.subnet_prefix_length) == (2, 4790, 24)


def test_init_with_autolock_prints_the_key_once(node: FakeDaemon, swarm: Run) -> None:
    node.unlock_key = "SWMKEY-1-a"
    done = swarm("init", "--advertise-addr", "10.0.0.1", "--autolock")
    assert node.requests[0].autolock
    assert done.out.count("SWMKEY-1-a") == 1 and "'swarm-cli unlock'" in done.out


def test_init_in_json(node: FakeDaemon, swarm: Run) -> None:
    done = swarm("init", "--advertise-addr", "10.0.0.1:5000", "--format", "json")
    assert json.loads(done.out)["manager_token"] == "M"


def test_init_picks_the_address_of_the_default_route(
    node: FakeDaemon, swarm: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_commands, "default_address", lambda: "10.9.9.9")
    assert swarm("init").code == 0
    assert node.requests[0].advertise_address == "10.9.9.9:2377"


def test_a_node_is_not_made_twice(node: FakeDaemon, swarm: Run, token: str) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    for again in (("init", "--advertise-addr", "10.0.0.1"), ("join", "--token", token, "10.0.0.1")):
        done = swarm(*again)
        assert (done.code, "is node n1 of a cluster already; 'swarm-cli leave'" in done.err) == (1, True)


def test_join(node: FakeDaemon, swarm: Run, token: str) -> None:
    done = swarm("join", "--token", token, "10.0.0.1", "10.0.0.2:2400")
    assert (done.code, done.out) == (0, "This node (n2) joined the cluster as a manager.\n")
    assert list(node.requests[0].remote_addresses) == ["10.0.0.1:2377", "10.0.0.2:2400"]


@pytest.mark.parametrize("damage", [lambda t: t[:-3], lambda t: t.upper(), lambda t: "SWMTKN-1-x", lambda t: ""])
def test_a_damaged_token_is_told_before_anything_is_started(damage: Any, swarm: Run, token: str) -> None:
    done = swarm("join", "--token", damage(token), "10.0.0.1")
    assert (done.code, "token" in done.err, done.err.count("\n")) == (1, True, 1)


def test_what_the_daemon_refuses_is_said_in_its_words(node: FakeDaemon, swarm: Run, token: str) -> None:
    node.refuses = "The token was replaced; get the new one from 'swarm-cli join-token'."
    done = swarm("join", "--token", token, "10.0.0.1")
    assert (done.code, done.err) == (1, f"Error: {node.refuses}\n")


def test_leave(node: FakeDaemon, swarm: Run) -> None:
    done = swarm("leave")
    assert (done.code, "nothing to leave" in done.err) == (1, True)
    swarm("init", "--advertise-addr", "10.0.0.1")
    assert swarm("leave", "--force").out == "This node left the cluster.\n"
    assert node.requests[-1].force


def test_a_manager_that_leaves_is_told_what_is_left(node: FakeDaemon, swarm: Run, tmp_path: Path) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    for name in ("ca.crt", "node.crt", "node.key"):  # read, and not needed at the local socket
        (tmp_path / "state" / "node" / name).touch()
    held = FakeCluster()
    held.managers.append(ManagerInfo(node_id="n2", address="10.0.0.2:2377", reachability=2, voter=True))
    server = serve(held, f"unix:{tmp_path}/run/manager.sock")
    try:
        done = swarm("leave")
    finally:
        server.stop(None).wait()
    assert (done.code, done.out) == (0, "This node left the cluster.\n")
    assert done.err.startswith("Warning: One manager is left")


def test_rejoin_tells_where_the_managers_are_and_what_came_of_it(node: FakeDaemon, swarm: Run, token: str) -> None:
    assert "'swarm-cli join' makes it a node" in swarm("rejoin", "10.0.0.1").err
    swarm("init", "--advertise-addr", "10.0.0.1")
    done = swarm("rejoin", "10.0.0.1", "10.0.0.2:2400", "--token", token, "--advertise-addr", "10.0.0.9")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "This node (n1, a manager) is back in its cluster; its certificate is valid until 2027-01-02 03:04 UTC.\n"
    )
    request = node.requests[-1]
    assert (list(request.remote_addresses), request.token) == (["10.0.0.1:2377", "10.0.0.2:2400"], token)
    assert (request.advertise_address, request.listen_address) == ("10.0.0.9:2377", "")


def test_rejoin_from_own_data_says_what_it_waits_for(node: FakeDaemon, swarm: Run) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    done = swarm("rejoin", "--from-own-data")
    assert (done.code, node.requests[-1].from_own_data) == (0, True)
    assert "has no session with a leader yet (No manager leads)" in done.out


@pytest.mark.parametrize(
    ("words", "text"),
    [((), "nothing to change"), (("--from-own-data", "--token", "T"), "give one of them"), (("--token", "x"), "token")],
)
def test_rejoin_refuses_what_makes_no_sense(words: tuple[str, ...], text: str, node: FakeDaemon, swarm: Run) -> None:
    swarm("init", "--advertise-addr", "10.0.0.1")
    done = swarm("rejoin", *words)
    assert done.code in (1, 2)
    assert text in done.err
    assert len(node.requests) == 1


def test_info_on_a_worker_shows_the_worker(node: FakeDaemon, swarm: Run, tmp_path: Path) -> None:
    file = tmp_path / "state" / "node" / "node.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"node_id": "n1", "role": "swarm-worker", "managers": ["10.0.0.1:2377"]}))
    done = swarm("info")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[:3] == [
        "Node          n1 (worker)",
        "Cluster       c1",
        "Connected     yes, to 10.0.0.1:2377",
    ]
    assert json.loads(swarm("info", "--format", "json").out)["tasks"] == 3
    assert "This node is a worker" in swarm("node", "ls").err


SCRIPT = """\
#!/bin/sh
mkdir -p {run}
echo $$ > {run}/worker.pid
{body}
"""


def worker_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Another program in the place of swarm-worker."""
    script = tmp_path / "swarm-worker"
    script.write_text(SCRIPT.format(run=tmp_path / "run", body=body))
    script.chmod(0o755)
    monkeypatch.setattr(daemon, "worker_command", lambda: [str(script)])


def test_a_daemon_that_does_not_start_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swarm: Run) -> None:
    worker_script(tmp_path, monkeypatch, 'echo \'{"event": "cannot start", "error": "the disk is full"}\'; exit 1')
    done = swarm("init", "--advertise-addr", "10.0.0.1")
    assert (done.code, done.err) == (
        1,
        "Error: The daemon (swarm-worker) does not start: cannot start: the disk is full\n",
    )


def test_a_daemon_that_starts_at_the_same_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours ends at once, because the other one holds the lock; that one answers at the third look."""
    worker_script(tmp_path, monkeypatch, "exit 1")
    (tmp_path / "run").mkdir()
    looks = iter([False, False, False, True])
    monkeypatch.setattr(daemon.Daemon, "answers", lambda self: next(looks))
    starting = daemon.Daemon(tmp_path / "state", tmp_path / "run")
    with (tmp_path / "run" / "worker.pid").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        starting.ensure_running()
    assert next(looks, None) is None


def test_leave_stops_the_daemon_that_was_put_into_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swarm: Run
) -> None:
    """The script starts no socket; `answers` stands in for it."""
    worker_script(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(daemon.Daemon, "answers", lambda self: (self.run_dir / "worker.pid").exists())
    held = daemon.Daemon(tmp_path / "state", tmp_path / "run")
    held.ensure_running()
    pid = int((tmp_path / "run" / "worker.pid").read_text())
    os.kill(pid, 0)
    held.stop()
    assert daemon._is_gone(pid)


def test_a_daemon_that_others_started_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "worker.pid").write_text(f"{os.getpid()}\n")
    daemon.Daemon(tmp_path / "state", tmp_path / "run").stop()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("swarm-worker: needs root", "swarm-worker: needs root"),
        ('{"event": "e", "reason": "r", "level": "info"}', "e: r"),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_log_lines_for_people(line: str, text: str) -> None:
    assert daemon.readable(line) == text


# -- contexts ---------------------------------------------------------------------------------------


class FakeCa(CaServicer):
    """Issues admin certificates."""

    def IssueAdminCertificate(self, request: Any, context: Any) -> IssueAdminCertificateResponse:  # noqa: N802 - the API's
        ca = create_ca("c1", utc_now())
        certificate = issue_from_csr(
            ca, request.csr_pem, node_id=request.name, role=ROLE_ADMIN, cluster_id="c1", now=utc_now()
        )
        response = IssueAdminCertificateResponse(certificate_pem=certificate, ca_pem=ca.certificate_pem)
        response.managers.add(node_id="n1", address="10.0.0.1:2377")
        return response


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[None]:
    """A manager that issues certificates, too."""
    (tmp_path / "run").mkdir()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_ControlServicer_to_server(FakeCluster(), server)
    add_CaServicer_to_server(FakeCa(), server)
    server.add_insecure_port(f"unix:{tmp_path}/run/manager.sock")
    server.start()
    yield
    server.stop(None).wait()


@pytest.mark.usefixtures("manager")
def test_a_context_from_create_to_rm(swarm: Run, tmp_path: Path) -> None:
    assert swarm("context", "create", "laptop").code == 0
    folder = tmp_path / "config" / "raftswarm" / "contexts" / "laptop"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        ("ca.crt", "client.crt", "client.key", "context.toml"), 0o600
    )
    assert "already" in swarm("context", "create", "laptop").err
    assert swarm("context", "use", "laptop").code == 0
    assert swarm("context", "ls").out.splitlines()[1] == "laptop *   10.0.0.1:2377"
    shown = json.loads(swarm("context", "show", "--format", "json").out)
    assert (shown["user"], shown["role"], shown["cluster_id"]) == ("laptop", "swarm-admin", "c1")
    exported = tmp_path / "exported"
    assert swarm("context", "export", "laptop", str(exported)).code == 0
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert swarm("context", "import", "prod", str(exported)).code == 0
    assert (folder.parent / "prod" / "client.key").read_bytes() == (folder / "client.key").read_bytes()
    assert swarm("context", "rm", "laptop", "prod").out == "laptop\nprod\n"
    assert swarm("context", "show").code == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "../x"], "cannot name a context"),
        (["use", "nope"], "lacks"),
        (["rm", "nope"], "There is no context 'nope'"),
        (["export", "nope", "-"], "There is no context 'nope'"),
        (["import", "x", "/no/such/file"], "cannot be read"),
        (["use"], "name a context"),
    ],
)
def test_contexts_that_cannot_be(arguments: list[str], sentence: str, swarm: Run) -> None:
    done = swarm("context", *arguments)
    assert (done.code in (1, 2), sentence in done.err, done.err.count("\n")) == (True, True, 1)


def test_what_is_no_exported_context(swarm: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    assert "is no exported context" in swarm("context", "import", "x", str(tmp_path / "x")).err
