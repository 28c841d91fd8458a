"""Nodes, networks, secrets, configs, tokens, info, events, completion."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from swarm_api.control_pb2 import CreateNetworkRequest, CreateSecretRequest, UpdateConfigRequest, UpdateSecretRequest
from swarm_api.objects_pb2 import Service
from swarm_api.types_pb2 import NodeAvailability, NodeRole, NodeState

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run, make_node


def test_node_ls_shows_what_ails_a_node(cluster: FakeCluster, swarm: Run) -> None:
    leader = make_node(cluster, "n1")
    leader.manager_status.leader = True
    down = make_node(cluster, "n2", state=NodeState.DOWN, message="not heard from for 12 s")
    lame = make_node(cluster, "n3")
    lame.description.engine_error = "Docker does not run"
    silent, broken = "not heard from for 12 s", "takes no tasks: Docker does not run"
    assert swarm("node", "ls").out.splitlines() == [
        "ID             HOSTNAME   STATUS   AVAILABILITY   MANAGER   ADDRESS    CPUS   MEMORY   ENGINE     NOTE",
        f"{leader.id[:12]}   n1         Ready    Active         Leader    10.0.0.1      4    8 GiB   20.10.24",
        f"{down.id[:12]}   n2         Down     Active                   10.0.0.2      4    8 GiB   20.10.24   {silent}",
        f"{lame.id[:12]}   n3         Ready    Active                   10.0.0.3      4    8 GiB   20.10.24   {broken}",
    ]


def test_node_ls_filters(cluster: FakeCluster, swarm: Run) -> None:
    make_node(cluster, "n1").role = NodeRole.MANAGER
    second = make_node(cluster, "n2")
    second.spec.annotations.labels["disk"] = "ssd"
    assert swarm("node", "ls", "-q", "-f", "role=worker").out == f"{second.id}\n"
    assert swarm("node", "ls", "-q", "-f", "label=disk").out == f"{second.id}\n"
    assert swarm("node", "ls", "-f", "colour=red").code == 2


def test_node_update_promote_and_rm(cluster: FakeCluster, swarm: Run) -> None:
    node = make_node(cluster, "n1")
    assert swarm("node", "update", "n1", "--availability", "drain", "--label-add", "disk=ssd").out == "n1\n"
    assert swarm("node", "promote", "n1").out == "n1 promoted to a manager.\n"
    stored = cluster.objects["node"][node.id].spec
    assert (stored.availability, stored.role, dict(stored.annotations.labels)) == (
        NodeAvailability.DRAIN,
        NodeRole.MANAGER,
        {"disk": "ssd"},
    )
    assert swarm("node", "demote", "n1").code == 0
    assert swarm("node", "update", "n1", "--label-rm", "disk").code == 0
    assert not cluster.objects["node"][node.id].spec.annotations.labels
    assert swarm("node", "rm", "--force", "n1").out == "n1\n"
    assert cluster.requests[-1].force


def test_node_ps(cluster: FakeCluster, swarm: Run) -> None:
    node = make_node(cluster, "n1")
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    next(iter(cluster.objects["task"].values())).node_id = node.id
    lines = swarm("node", "ps", "n1").out.splitlines()
    assert (len(lines), " web.1 " in lines[1]) == (2, True)


def test_networks(cluster: FakeCluster, swarm: Run) -> None:
    done = swarm(
        *("network", "create", "--attachable", "--internal", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1"),
        *("--label", "a=b", "--opt", "mtu=1400", "net"),
    )
    assert done.code == 0
    spec = next(request for request in cluster.requests if isinstance(request, CreateNetworkRequest)).spec
    assert (spec.internal, spec.attachable, spec.ipam[0].gateway) == (True, True, "10.9.0.1")
    assert (dict(spec.driver_opts), dict(spec.annotations.labels)) == ({"mtu": "1400"}, {"a": "b"})
    assert swarm("network", "ls").out.splitlines()[1].split()[1:4] == ["net", "overlay", "10.128.0.0/24"]
    assert json.loads(swarm("network", "inspect", "net", "--format", "json").out)["subnet"] == "10.128.0.0/24"
    assert swarm("network", "create", "x", "--gateway", "1.2.3.4").code == 2
    assert swarm("network", "rm", "net").out == "net\n"


@pytest.mark.parametrize("noun", ["secret", "config"])
def test_secrets_and_configs(noun: str, cluster: FakeCluster, swarm: Run, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"\x00value")
    done = swarm(noun, "create", "--label", "a=b", "key", str(file))
    assert (done.code, len(done.out)) == (0, 26)
    assert cluster.requests[-1].spec.data == b"\x00value"
    assert swarm(noun, "ls").out.splitlines()[1].split()[1] == "key"
    assert swarm(noun, "ls", "-q").out == done.out
    assert swarm(noun, "inspect", "key").code == 0
    assert swarm(noun, "rm", "key").out == "key\n"


def test_the_data_of_a_secret_is_in_the_request_and_nowhere_else(
    cluster: FakeCluster, swarm: Run, tmp_path: Path
) -> None:
    seen: list[bytes] = []
    create = cluster.CreateSecret

    def watch(request: CreateSecretRequest, context: object) -> object:
        seen.append(request.spec.data)
        return create(request, context)  # type: ignore[arg-type]

    cluster.CreateSecret = watch  # type: ignore[method-assign]
    file = tmp_path / "data"
    file.write_bytes(b"hush")
    done = swarm("secret", "create", "key", str(file))
    assert "hush" not in done.out + done.err + swarm("secret", "inspect", "key").out


@pytest.mark.parametrize(("size", "sentence"), [(None, "cannot be read: No such file"), (600_000, "at most 512000")])
def test_data_that_cannot_be_taken(
    size: int | None, sentence: str, cluster: FakeCluster, swarm: Run, tmp_path: Path
) -> None:
    file = tmp_path / "data"
    if size is not None:
        file.write_bytes(b"x" * size)
    done = swarm("secret", "create", "key", str(file))
    assert (done.code, sentence in done.err) == (2, True)


def test_join_token(cluster: FakeCluster, swarm: Run) -> None:
    assert "    swarm-cli join --token SWMTKN-1-w-0 10.0.0.1:2377\n" in swarm("join-token", "worker").out
    assert swarm("join-token", "-q", "manager").out == "SWMTKN-1-m-0\n"
    assert swarm("join-token", "-q", "--rotate", "worker").out == "SWMTKN-1-w-1\n"
    assert json.loads(swarm("join-token", "worker", "--format", "json").out)["token"] == "SWMTKN-1-w-1"


def test_the_unlock_key_is_shown_when_there_is_one(cluster: FakeCluster, swarm: Run) -> None:
    done = swarm("unlock-key")
    assert (done.code, "Autolock is off" in done.err, done.out) == (1, True, "")
    cluster.unlock_key = "SWMKEY-1-a"
    done = swarm("cluster", "update", "--autolock", "on")
    assert cluster.cluster.spec.autolock and "\n    SWMKEY-1-a\n" in done.out
    assert "SWMKEY" not in swarm("cluster", "update", "--autolock", "off").out
    assert not cluster.cluster.spec.autolock
    assert "run there, as root, 'swarm-cli unlock'" in swarm("unlock-key").out
    assert swarm("unlock-key", "-q", "--rotate").out == "SWMKEY-1-ax\n"
    assert json.loads(swarm("unlock-key", "--format", "json").out) == {"unlock_key": "SWMKEY-1-ax"}


def test_a_manager_is_unlocked_with_what_is_piped_in(
    cluster: FakeCluster, swarm: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.unlock_key = "SWMKEY-1-a"
    for piped, code, said in (
        ("SWMKEY-1-a\n", 0, ""),
        ("SWMKEY-1-b", 1, "Error: This is not the key.\n"),
        (" \n", 2, "Error: No key was given: type it when asked, or pipe it in.\n"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(piped))
        done = swarm("unlock")
        assert (done.code, done.err) == (code, said)


def test_where_no_manager_runs_nothing_is_unlocked(swarm: Run) -> None:
    done = swarm("unlock")
    assert (done.code, "No manager runs on this machine" in done.err) == (1, True)


def test_info(cluster: FakeCluster, swarm: Run) -> None:
    out = swarm("info").out
    assert "Quorum        1 of 1 managers reachable, 0 more may fail" in out
    assert "n1 *      10.0.0.1:2377   Leader   yes" in out
    assert cluster.requests[-1].stale, "info must answer without a quorum"
    assert json.loads(swarm("info", "--format", "json").out)["term"] == 3


def test_events(cluster: FakeCluster, swarm: Run) -> None:
    made = Service()
    made.spec.annotations.name = "web"
    cluster.when_watched.append(lambda: cluster.put("service", made))
    done = swarm("events", "--limit", "1", "--kind", "service")
    assert done.out.endswith(f"service create web ({made.id[:12]})\n")
    cluster.when_watched.append(lambda: cluster.put("service", made))
    event = json.loads(swarm("events", "--limit", "1", "--format", "json").out)
    assert (event["action"], event["kind"], event["object"]["id"]) == ("update", "service", made.id)


def test_version(cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("version").out.splitlines()[1] == "manager   0.1.0"


def test_version_without_a_cluster(swarm: Run) -> None:
    assert json.loads(swarm("version", "--format", "json").out)["manager"] == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str, swarm: Run) -> None:
    done = swarm("completion", shell)
    assert (done.code, "_SWARM_CLI_COMPLETE" in done.out) == (0, True)


def test_the_completion_script_sources_in_bash(swarm: Run, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = tmp_path / "completion.sh"
    script.write_text(swarm("completion", "bash").out)
    done = subprocess.run([bash, "-euc", f"source {script}; complete -p swarm-cli"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "swarm-cli" in done.stdout


@pytest.mark.parametrize("noun", ["secret", "config"])
def test_an_update_of_a_secret_or_config_waits_for_its_users(
    noun: str, cluster: FakeCluster, swarm: Run, tmp_path: Path
) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"one")
    assert swarm(noun, "create", "key", str(file), "--label", "a=1").code == 0
    assert swarm("service", "create", "-d", "--name", "web", "nginx:1").code == 0
    file.write_bytes(b"two")
    done = swarm(noun, "update", "key", str(file), "--label-add", "b=2", "--label-rm", "a")
    assert (done.code, done.err) == (0, "web: 1 of 1 running (done)\n")
    updates = [one for one in cluster.requests if isinstance(one, UpdateSecretRequest | UpdateConfigRequest)]
    assert (updates[0].spec.data, dict(updates[0].spec.annotations.labels)) == (b"two", {"b": "2"})
    document = json.loads(swarm(noun, "ls", "--format", "json").out)
    listed = [one["spec"]["annotations"]["name"] for one in document[f"{noun}s"]]
    assert listed == ["key"]
    assert len(swarm(noun, "ls", "--all", "-q").out.split()) == 2


def test_labels_alone_can_be_updated(cluster: FakeCluster, swarm: Run, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"one")
    made = swarm("secret", "create", "key", str(file)).out
    done = swarm("secret", "update", "key", "--label-add", "b=2")
    assert (done.code, done.out, done.err) == (0, made, "")
    file.write_bytes(b"")
    assert "is empty" in swarm("secret", "update", "key", str(file)).err


def test_the_cluster_s_settings_change_one_by_one(cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("cluster", "update", "--cert-expiry", "48h").code == 0
    assert swarm("cluster", "update", "--allow-privileged", "--strategy", "binpack").code == 0
    spec = cluster.cluster.spec
    assert (spec.certificate_validity.seconds, spec.allow_privileged, spec.default_strategy) == (172800, True, 2)
    assert json.loads(swarm("cluster", "inspect", "--format", "json").out)["spec"]["allow_privileged"] is True
    assert swarm("cluster", "update", "--no-allow-privileged").code == 0
    assert not cluster.cluster.spec.allow_privileged
    assert swarm("cluster", "update").code == 2
