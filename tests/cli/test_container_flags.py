"""The flags of `service create` and `service update` about the container itself."""

import pytest
from google.protobuf import text_format
from swarm_api.specs_pb2 import ContainerSpec
from swarm_cli.container_flags import parse_device, parse_gpus, parse_ulimit

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run

CREATE = [
    ("--privileged", "privileged: true"),
    ("-i --domainname d --pull never", 'open_stdin: true domainname: "d" pull_policy: NEVER'),
    ("--shm-size 64m", "shm_size_bytes: 67108864"),
    ("--pid host --ipc private --uts host", 'pid_mode: "host" ipc_mode: "private" uts_mode: "host"'),
    (
        "--userns host --cgroupns private --cgroup-parent /a",
        'userns_mode: "host" cgroupns_mode: "private" cgroup_parent: "/a"',
    ),
    (
        "--runtime runc --oom-score-adj -500 --oom-kill-disable",
        'runtime: "runc" oom_score_adj: -500 oom_kill_disable: true',
    ),
    ("--memory-swap -1 --memory-swappiness 0", "memory_swap_bytes: -1 memory_swappiness: 0"),
    ("--cpu-shares 512 --cpuset-cpus 0-1", 'cpu_shares: 512 cpuset_cpus: "0-1"'),
    ("--cap-add NET_ADMIN --cap-drop ALL", 'cap_add: "NET_ADMIN" cap_drop: "ALL"'),
    ("--host a:10.0.0.1 --host b:10.0.0.2", 'hosts: "a:10.0.0.1" hosts: "b:10.0.0.2"'),
    (
        "--dns 9.9.9.9 --dns-search example.com --dns-option timeout:1",
        'dns_config { nameservers: "9.9.9.9" search: "example.com" options: "timeout:1" }',
    ),
    ("--group audio --sysctl net.a=1", 'groups: "audio" sysctls { key: "net.a" value: "1" }'),
    ("--ulimit nofile=1:2 --ulimit core=0", 'ulimits { name: "nofile" soft: 1 hard: 2 } ulimits { name: "core" }'),
    ("--device /dev/a:/dev/b:r", 'devices { host_path: "/dev/a" container_path: "/dev/b" permissions: "r" }'),
    ("--security-opt no-new-privileges=true", 'security_opt: "no-new-privileges=true"'),
    ("--device-cgroup-rule a", 'device_cgroup_rules: "a"'),
    (
        "--storage-opt size=1g --annotation a=b",
        'storage_opt { key: "size" value: "1g" } annotations { key: "a" value: "b" }',
    ),
    ("--gpus 2", 'device_requests { count: 2 capabilities: "gpu" }'),
]


@pytest.mark.parametrize(("words", "wanted"), CREATE)
def test_create(words: str, wanted: str, cluster: FakeCluster, swarm: Run) -> None:
    done = swarm("service", "create", "-d", "--name", "web", *words.split(), "nginx:1")
    assert (done.code, done.err) == (0, "")
    assert cluster.service("web").spec.task.container == text_format.Parse(wanted, ContainerSpec(image="nginx:1"))


UPDATE = [
    ("--dns-add 2.2.2.2 --dns-rm 1.1.1.1", 'dns_config { nameservers: "2.2.2.2" }'),
    ("--ulimit-add core=1", 'ulimits { name: "nofile" soft: 5 hard: 5 } ulimits { name: "core" soft: 1 hard: 1 }'),
    ("--ulimit-rm nofile", ""),
    ("--ulimit-add nofile=7", 'ulimits { name: "nofile" soft: 7 hard: 7 }'),
    ("--sysctl-rm a --sysctl-add b=2", 'sysctls { key: "b" value: "2" }'),
    ("--device-rm /dev/b", ""),
    ("--cap-drop net_admin", 'cap_drop: "net_admin"'),
    ("--no-privileged", ""),
    ("--domainname=", ""),
]
FIELDS = ("dns_config", "ulimits", "sysctls", "devices", "cap_add", "cap_drop", "privileged", "domainname")


@pytest.mark.parametrize(("words", "wanted"), UPDATE)
def test_update_changes_what_it_names(words: str, wanted: str, cluster: FakeCluster, swarm: Run) -> None:
    before = (
        "--dns 1.1.1.1 --ulimit nofile=5 --sysctl a=1 --device /dev/a:/dev/b --cap-add CAP_NET_ADMIN --privileged "
        "--domainname d"
    )
    assert swarm("service", "create", "-d", "--name", "web", *before.split(), "nginx:1").code == 0
    was = ContainerSpec()
    was.CopyFrom(cluster.service("web").spec.task.container)
    assert swarm("service", "update", "-d", *words.split(), "web").code == 0
    now = cluster.service("web").spec.task.container
    named = [field for field in FIELDS if any(word in words for word in (field[:3], field.partition("_")[0]))]
    expected = text_format.Parse(wanted, ContainerSpec())
    for field in FIELDS:
        assert getattr(now, field) == getattr(expected if field in named else was, field), field


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--device", "fuse", "is no device"),
        ("--device", "/dev/a:/b:x", "no permissions of a device"),
        ("--ulimit", "nofile=many", "is no ulimit"),
        ("--gpus", "some", "no number of GPUs"),
        ("--shm-size", "lots", "is no size"),
        ("--publish", "published=80,target=80,host_ip=127.0.0.1", "mode=host,host_ip=127.0.0.1"),
        ("--publish", "published=80,target=80,host_ip=here", "no IP address"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(flag: str, value: str, words: str, swarm: Run) -> None:
    done = swarm("service", "create", flag, value, "nginx:1")
    assert done.code == 2
    assert words in done.err


def test_a_port_of_one_node_may_name_an_address(cluster: FakeCluster, swarm: Run) -> None:
    port = "published=8080,target=80,mode=host,host_ip=127.0.0.1"
    assert swarm("service", "create", "-d", "--name", "web", "--publish", port, "nginx:1").code == 0
    assert cluster.service("web").spec.endpoint.ports[0].host_ip == "127.0.0.1"


def test_values_by_themselves() -> None:
    assert parse_device("/dev/a:rw").permissions == "rw"
    assert (parse_ulimit("core=-1").soft, parse_ulimit("core=-1").hard) == (-1, -1)
    assert parse_gpus("all").count == -1
    picked = parse_gpus('driver=nvidia,"device=0,2"')
    assert (list(picked.device_ids), picked.driver, picked.count) == (["0", "2"], "nvidia", 0)
