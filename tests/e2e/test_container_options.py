"""Every option of a container reaches the node's engine: from a compose file and from `service create`.

What was asked for is compared with what `docker inspect` says on the node.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_bad_input import refused
from tests.testbed.cluster import Testbed
from tests.testbed.host import Host
from tests.testbed.swarm import Document, Swarm

IMAGE = "busybox:local"
SECOND_NS = 10**9


@pytest.fixture(scope="module")
def hosts(testbed: Testbed) -> list[Host]:
    return testbed.renew(2, (IMAGE,))


@pytest.fixture(scope="module")
def swarm(hosts: list[Host]) -> Swarm:
    cluster = Swarm(hosts, managers=1)
    cluster.form()
    return cluster


COMPOSE = """
services:
  every:
    image: busybox:local
    entrypoint: ["busybox"]
    command: [sh, -c, "trap 'exit 0' INT; while true; do sleep 0.2; done"]
    env_file: [vars.env]
    environment:
      FROM_FILE: over
      HERE: "{{.Node.Hostname}} {{.Service.Name}} {{.Task.Slot}}"
      TEAM: "{{.Service.Labels.team}}"
    user: "0:0"
    group_add: ["2000"]
    working_dir: /srv
    hostname: "every-{{.Task.Slot}}"
    domainname: example.com
    labels: {made.by: compose}
    tty: true
    stdin_open: true
    init: true
    read_only: true
    cap_add: [NET_ADMIN, SYS_PTRACE]
    cap_drop: [MKNOD, AUDIT_WRITE]
    sysctls: {net.core.somaxconn: 512, net.ipv4.ip_unprivileged_port_start: 0}
    ulimits: {nofile: {soft: 1024, hard: 2048}, core: 0}
    security_opt: ["no-new-privileges=true"]
    shm_size: 32m
    ipc: private
    oom_score_adj: 100
    cpu_shares: 512
    dns: [192.0.2.53]
    dns_search: [example.com]
    dns_opt: ["timeout:1"]
    extra_hosts: ["db=192.0.2.1", "cache=192.0.2.2"]
    stop_signal: SIGINT
    stop_grace_period: 3s
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
    healthcheck: {test: ["CMD", "busybox", "true"], interval: 2s, timeout: 1s, retries: 4, start_period: 5s}
    volumes:
      - ./here:/bound:ro
      - {type: volume, source: data, target: /data, volume: {nocopy: true}}
      - {type: tmpfs, target: /scratch, tmpfs: {size: 4m, mode: 0o1770}}
    tmpfs: /run:size=2m
    ports:
      - {target: 80, published: 8188, mode: host, host_ip: 127.0.0.1}
    deploy:
      labels: {team: red}
      placement: {constraints: ["node.hostname == n2"]}
      restart_policy: {condition: on-failure, max_attempts: 2}
      resources:
        limits: {cpus: "0.5", memory: 64m, pids: 50}
        reservations: {cpus: "0.1", memory: 32m}
volumes:
  data:
    name: "data-{{.Node.Hostname}}"
    driver: local
    driver_opts: {type: tmpfs, device: tmpfs, o: "size=1m"}
    labels: {kept: "no"}
"""


def inspected(swarm: Swarm, service: str) -> tuple[Host, Document]:
    """The one container of a service, as its node's engine describes it."""
    for host in swarm.hosts:
        for found in host.engine.containers():
            if found["Labels"].get("swarm.service.name") == service:
                document: Document = host.engine.request("GET", f"/containers/{found['Id']}/json")
                return host, document
    raise AssertionError(f"no container of {service} runs anywhere")


def differences(said: Document, wanted: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not as wanted, by its path: (wanted, said)."""
    found = {path: _at(said, path) for path in wanted}
    return {path: (value, found[path]) for path, value in wanted.items() if not _same(value, found[path])}


def _at(document: Any, path: str) -> Any:
    for key in path.split("."):
        document = (document or {}).get(key)
    if key in ("CapAdd", "CapDrop"):  # engines before 23 keep them as they were written
        return [name.removeprefix("CAP_") for name in document]
    return document


def _same(wanted: Any, said: Any) -> bool:
    """A list must hold what is wanted; the image, or we, may add more. A mapping likewise."""
    if isinstance(wanted, set):
        return wanted <= set(said or ())
    if isinstance(wanted, dict):
        return isinstance(said, dict) and all(said.get(key) == value for key, value in wanted.items())
    return bool(wanted == said)


def test_every_option_of_a_compose_file_reaches_the_engine(swarm: Swarm, tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(COMPOSE)
    (tmp_path / "vars.env").write_text("FROM_FILE=under\nONLY_FILE=there\n")
    done = swarm.cli("stack", "deploy", "-c", tmp_path / "compose.yml", "opt")
    assert "not supported" not in done.stderr and "no effect" not in done.stderr, done.stderr
    host, said = inspected(swarm, "opt_every")
    assert host.name == "n2"
    wanted = {
        "Config.Entrypoint": ["busybox"],
        "Config.Cmd": ["sh", "-c", "trap 'exit 0' INT; while true; do sleep 0.2; done"],
        "Config.Env": {"FROM_FILE=over", "ONLY_FILE=there", "HERE=n2 opt_every 1", "TEAM=red"},
        "Config.User": "0:0",
        "Config.WorkingDir": "/srv",
        "Config.Hostname": "every-1",
        "Config.Domainname": "example.com",
        "Config.Labels": {"made.by": "compose", "swarm.service.name": "opt_every"},
        "Config.Tty": True,
        "Config.OpenStdin": True,
        "Config.StopSignal": "SIGINT",
        "Config.StopTimeout": 3,
        "Config.Healthcheck": {
            "Test": ["CMD", "busybox", "true"],
            "Interval": 2 * SECOND_NS,
            "Timeout": SECOND_NS,
            "Retries": 4,
            "StartPeriod": 5 * SECOND_NS,
        },
        "HostConfig.GroupAdd": ["2000"],
        "HostConfig.Init": True,
        "HostConfig.ReadonlyRootfs": True,
        "HostConfig.CapAdd": {"NET_ADMIN", "SYS_PTRACE"},
        "HostConfig.CapDrop": {"MKNOD", "AUDIT_WRITE"},
        "HostConfig.Privileged": False,
        "HostConfig.Sysctls": {"net.core.somaxconn": "512", "net.ipv4.ip_unprivileged_port_start": "0"},
        "HostConfig.SecurityOpt": {"no-new-privileges=true"},
        "HostConfig.ShmSize": 32 * 2**20,
        "HostConfig.IpcMode": "private",
        "HostConfig.OomScoreAdj": 100,
        "HostConfig.CpuShares": 512,
        "HostConfig.DnsSearch": ["example.com"],
        "HostConfig.DnsOptions": ["timeout:1"],
        "HostConfig.ExtraHosts": {"db:192.0.2.1", "cache:192.0.2.2"},
        "HostConfig.LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "HostConfig.NanoCpus": SECOND_NS // 2,
        "HostConfig.Memory": 64 * 2**20,
        "HostConfig.MemoryReservation": 32 * 2**20,
        "HostConfig.PidsLimit": 50,
        "HostConfig.RestartPolicy": {"Name": "no"},  # the managers replace what fails
        "HostConfig.PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8188"}]},
    }
    assert differences(said, wanted) == {}
    assert "192.0.2.53" in said["HostConfig"]["Dns"]
    ulimits = {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in said["HostConfig"]["Ulimits"]}
    assert ulimits == {"nofile": (1024, 2048), "core": (0, 0)}
    _check_mounts(host, said, tmp_path)
    _check_inside(host, said["Id"])
    swarm.cli("stack", "rm", "opt")


def _check_mounts(host: Host, said: Document, folder: Path) -> None:
    mounts = {mount["Target"]: mount for mount in said["HostConfig"]["Mounts"]}
    assert mounts["/bound"] | {"ReadOnly": True, "Source": str(folder / "here")} == mounts["/bound"]
    assert mounts["/data"]["Source"] == "data-n2" and mounts["/data"]["VolumeOptions"]["NoCopy"] is True
    assert mounts["/scratch"]["TmpfsOptions"] == {"SizeBytes": 4 * 2**20, "Mode": 0o1770}
    assert mounts["/run"]["TmpfsOptions"] == {"SizeBytes": 2 * 2**20}
    volume = host.engine.request("GET", "/volumes/data-n2")
    assert volume["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    assert volume["Labels"] == {"kept": "no"}


def _check_inside(host: Host, container: str) -> None:
    """What the process itself sees of some of them."""

    def shell(command: str) -> str:
        return host.run(["docker", "exec", container, "sh", "-c", command]).stdout.strip()

    assert shell("cat /proc/sys/net/core/somaxconn") == "512"
    assert shell("hostname") == "every-1"
    # Of its first process: what `docker exec` starts now and then gets the hard limit for both from runc.
    assert shell("grep 'open files' /proc/1/limits").split()[3:5] == ["1024", "2048"]
    assert shell("mount | grep ' /data ' | cut -d' ' -f5") == "tmpfs"
    assert shell("touch /x 2>/dev/null || echo refused") == "refused"
    assert "db" in shell("cat /etc/hosts")


def test_what_has_power_over_a_node_needs_the_cluster_s_leave(swarm: Swarm) -> None:
    powers = [
        *("--device", "/dev/zero:/dev/nil:r", "--pid", "host", "--ipc", "host", "--cap-add", "SYS_ADMIN"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    ]
    create = ["service", "create", "--name", "strong", *powers, IMAGE, "sleep", "100000"]
    said = refused(swarm, *create)
    assert "cap_add SYS_ADMIN, devices /dev/zero, pid_mode host, ipc_mode host, security_opt seccomp=unconfined" in said
    assert "swarm-cli cluster update --allow-privileged" in said
    swarm.cli("cluster", "update", "--allow-privileged")
    swarm.cli(*create)
    _, document = inspected(swarm, "strong")
    wanted = {
        "HostConfig.PidMode": "host",
        "HostConfig.IpcMode": "host",
        "HostConfig.CapAdd": ["SYS_ADMIN"],
        "HostConfig.Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/nil", "CgroupPermissions": "r"}],
        "HostConfig.SecurityOpt": {"seccomp=unconfined", "apparmor=unconfined"},
    }
    assert differences(document, wanted) == {}
    _check_privileged(swarm)
    swarm.cli("cluster", "update", "--no-allow-privileged")
    swarm.cli("service", "scale", "strong=2")  # what was allowed may go on
    refused(swarm, "service", "create", "--name", "stronger", "--privileged", IMAGE)
    swarm.cli("service", "rm", "strong")


def _check_privileged(swarm: Swarm) -> None:
    """A machine that has not all capabilities itself cannot start such a container: then the one made is looked at.

    Its start fails, and the next one, prepared, waits for the restart's delay.
    """
    flags = ["--privileged", "--restart-delay", "60s"]
    swarm.cli("service", "create", "--detach", "--name", "boss", *flags, IMAGE, "sleep", "100000")

    def privileged() -> bool:
        for host in swarm.hosts:
            for container in host.engine.containers(everything=True):
                if container["Labels"].get("swarm.service.name") == "boss":
                    document = host.engine.request("GET", f"/containers/{container['Id']}/json")
                    return bool(document["HostConfig"]["Privileged"])
        return False

    swarm.wait(privileged, "a privileged container", 20)
    swarm.cli("service", "rm", "boss")


def test_every_flag_of_service_create_reaches_the_engine(swarm: Swarm, tmp_path: Path) -> None:
    (tmp_path / "vars.env").write_text("ONLY_FILE=there\n")
    flags = [
        *("--env-file", str(tmp_path / "vars.env"), "--env", "HERE={{.Node.Hostname}}/{{.Task.Slot}}"),
        *("--entrypoint", "busybox sh -c", "--user", "0", "--group", "2000", "--workdir", "/srv", "--hostname", "h"),
        *("--domainname", "d", "--container-label", "a=b", "--tty", "--interactive", "--init", "--read-only"),
        *("--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--sysctl", "net.core.somaxconn=256"),
        *("--ulimit", "nofile=512:1024", "--security-opt", "no-new-privileges=true", "--shm-size", "16m"),
        *("--dns", "192.0.2.53", "--dns-search", "d", "--dns-option", "timeout:2", "--host", "db:192.0.2.1"),
        *("--mount", "type=tmpfs,target=/scratch,tmpfs-size=1m", "--mount", f"type=bind,src={tmp_path},dst=/b,ro"),
        *("--mount", "type=volume,src=v-{{.Task.Slot}},dst=/v,volume-label=x=y", "--stop-signal", "SIGINT"),
        *("--stop-grace-period", "2s", "--log-driver", "json-file", "--log-opt", "max-size=1m"),
        *("--health-cmd", "true", "--health-interval", "2s", "--health-retries", "2", "--limit-cpu", "0.25"),
        *("--limit-memory", "32m", "--reserve-memory", "16m", "--limit-pids", "20", "--memory-swap", "64m"),
        *("--oom-score-adj", "50", "--cpu-shares", "256", "--cpuset-cpus", "0", "--cgroupns", "private"),
        *("--restart-condition", "none", "--constraint", "node.hostname == n1", "--pull", "never"),
    ]
    swarm.cli("service", "create", "--name", "flags", *flags, IMAGE, "while true; do sleep 0.2; done")
    _, said = inspected(swarm, "flags")
    wanted = {
        "Config.Entrypoint": ["busybox", "sh", "-c"],
        "Config.Cmd": ["while true; do sleep 0.2; done"],
        "Config.Env": {"ONLY_FILE=there", "HERE=n1/1"},
        "Config.User": "0",
        "Config.WorkingDir": "/srv",
        "Config.Hostname": "h",
        "Config.Domainname": "d",
        "Config.Labels": {"a": "b"},
        "Config.Tty": True,
        "Config.OpenStdin": True,
        "Config.StopSignal": "SIGINT",
        "Config.StopTimeout": 2,
        "Config.Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 2 * SECOND_NS, "Retries": 2},
        "HostConfig.GroupAdd": ["2000"],
        "HostConfig.Init": True,
        "HostConfig.ReadonlyRootfs": True,
        "HostConfig.CapAdd": ["NET_ADMIN"],
        "HostConfig.CapDrop": ["MKNOD"],
        "HostConfig.Sysctls": {"net.core.somaxconn": "256"},
        "HostConfig.SecurityOpt": {"no-new-privileges=true"},
        "HostConfig.ShmSize": 16 * 2**20,
        "HostConfig.DnsSearch": ["d"],
        "HostConfig.DnsOptions": ["timeout:2"],
        "HostConfig.ExtraHosts": ["db:192.0.2.1"],
        "HostConfig.LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "HostConfig.NanoCpus": SECOND_NS // 4,
        "HostConfig.Memory": 32 * 2**20,
        "HostConfig.MemoryReservation": 16 * 2**20,
        "HostConfig.MemorySwap": 64 * 2**20,
        "HostConfig.PidsLimit": 20,
        "HostConfig.OomScoreAdj": 50,
        "HostConfig.CpuShares": 256,
        "HostConfig.CpusetCpus": "0",
        "HostConfig.CgroupnsMode": "private",
    }
    assert differences(said, wanted) == {}
    assert "192.0.2.53" in said["HostConfig"]["Dns"]
    assert {m["Target"]: m.get("Source") for m in said["HostConfig"]["Mounts"]} == {
        "/scratch": None,
        "/b": str(tmp_path),
        "/v": "v-1",
    }
    swarm.cli("service", "rm", "flags")


def test_a_port_of_the_mesh_does_not_open_an_address_meant_for_one(swarm: Swarm, tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text('services:\n  web:\n    image: busybox:local\n    ports: ["127.0.0.1:8080:80"]\n')
    said = refused(swarm, "stack", "deploy", "-c", file, "open")
    assert "127.0.0.1" in said and "mode: host" in said
    assert swarm.ask("stack", "ls").get("stacks", []) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--env", "A={{.Node.Nme}}"], "{{.Node.Nme}} is no template"),
        (["--mount", "type=volume,src={{.Task},dst=/v"], "has no end"),
        (["--hostname", "{{.Host}}"], "container.hostname: {{.Host}} is no template"),
    ],
)
def test_an_unknown_template_is_refused(swarm: Swarm, flags: list[str], words: str) -> None:
    assert words in refused(swarm, "service", "create", "--name", "odd", *flags, IMAGE)
