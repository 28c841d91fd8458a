"""Every refusal of a spec: what is refused, and in which words."""

from collections.abc import Callable

import pytest
from swarm_api.control_pb2 import DeployStackRequest
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import (
    ClusterSpec,
    ConfigSpec,
    NetworkSpec,
    NodeSpec,
    Placement,
    SecretSpec,
    ServiceSpec,
)
from swarm_api.types_pb2 import Mount, PortConfig, UpdateConfig
from swarm_api.validation import problems


def good_service() -> ServiceSpec:
    spec = ServiceSpec()
    spec.annotations.name = "web"
    spec.task.container.image = "registry.example:5000/team/web:1.2@sha256:" + "a" * 64
    spec.replicated.replicas = 3
    spec.endpoint.ports.add(target_port=80, published_port=8080)
    spec.task.placement.constraints.append("node.labels.disk == ssd")
    spec.task.container.env.extend(["A=1", "B"])
    return spec


def test_a_good_service_has_no_problems() -> None:
    assert problems(good_service()) == []


def edit(text: str) -> Callable[[ServiceSpec], None]:
    """A change of a spec, as a statement about `s`."""
    code = compile(text, "<case>", "exec")

    def change(spec: ServiceSpec) -> None:
        exec(code, {"s": spec, "Mount": Mount, "Placement": Placement, "Port": PortConfig, "Update": UpdateConfig})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("s.annotations.name = ''", "A service needs a name"),
        ("s.annotations.name = '-x'", "cannot name a service"),
        ("s.annotations.name = 'x' * 64", "64 characters long"),
        ("s.task.container.image = ''", "image is missing"),
        ("s.task.container.pid_mode = 'service:db'", "pid_mode shares a namespace with another container"),
        ("s.task.container.ipc_mode = 'container:x'", "ipc_mode shares a namespace with another container"),
        ("s.endpoint.ports.add(target_port=80, host_ip='127.0.0.1')", "binds 127.0.0.1 in ingress mode"),
        ("s.task.container.image = 'Upper Case'", "no image reference"),
        ("s.task.container.image = 'a:b:c'", "no image reference"),
        ("s.ClearField('replicated')", "mode is missing"),
        ("s.replicated_job.max_concurrent = 1", "completes from 1 to"),
        ("s.replicated_job.total_completions = 1; s.update.parallelism = 1", "update has no meaning for a job"),
        ("s.schedule.expression = '* * * * *'", "schedule goes with the modes replicated_job and global_job"),
        ("s.global_job.SetInParent(); s.schedule.expression = '* * *'", "write five fields"),
        ("s.global_job.SetInParent(); s.schedule.expression = '60 * * * *'", "numbers from 0 to 59"),
        ("s.global_job.SetInParent(); s.schedule.expression = '0 0 31 2 *'", "never comes"),
        (
            "s.global_job.SetInParent(); s.schedule.expression = '@daily'; s.schedule.time_zone = '../x'",
            "Europe/Berlin",
        ),
        ("s.global_job.SetInParent(); s.schedule.expression = '@daily'; s.schedule.concurrency = 1", "one task a node"),
        ("s.global_job.SetInParent(); s.schedule.expression = '@daily'; s.schedule.history_limit = 101", "at most 100"),
        ("s.replicated.replicas = 1_000_000", "at most 100000"),
        ("s.endpoint.ports.add(target_port=0)", "the target port 0"),
        ("s.endpoint.ports.add(target_port=80, published_port=70000)", "the published port 70000"),
        ("s.endpoint.ports.add(target_port=81, published_port=8080)", "publishes the port 8080/tcp more than once"),
        ("s.endpoint.ports.add(target_port=81, protocol=Port.SCTP)", "SCTP port in ingress mode"),
        ("s.task.placement.constraints.append('node.colour == red')", "asks for 'node.colour'"),
        ("s.task.placement.constraints.append('node.id')", "KEY == VALUE"),
        ("s.task.placement.constraints.append('node.id == /(a+)+/')", "repeats too much"),
        ("s.task.placement.preferences.add(descriptor='zone')", "The preference 'zone' asks for 'zone'"),
        ("s.task.placement.affinities.add()", "needs a pattern, and a kind of"),
        ("s.task.placement.affinities.add(kind='label', pattern='x')", "not of the form KEY=PATTERN"),
        ("s.task.placement.affinities.add(kind='image', pattern='/(/')", "is no regular expression"),
        ("s.task.placement.strategy = 9", "none of spread, binpack and random"),
        ("s.task.resources.limits.memory_bytes = 1000", "at least 6291456"),
        (
            "s.task.resources.limits.nano_cpus = 1; s.task.resources.reservations.nano_cpus = 2",
            "reserves more nano_cpus",
        ),
        (
            "s.task.resources.limits.memory_bytes = 10**7; s.task.resources.reservations.memory_bytes = 10**8",
            "reserves more memory_bytes",
        ),
        ("s.task.resources.reservations.nano_cpus = -2", "negative nano_cpus"),
        ("s.task.resources.limits.pids = -2", "pids is negative"),
        ("s.task.resources.reservations.generic['gpu'] = -1", "asks for -1 of gpu"),
        ("s.task.restart.delay.seconds = -1", "task.restart.delay is negative"),
        ("s.task.container.stop_grace_period.nanos = -1", "stop_grace_period is negative"),
        ("s.update.monitor.seconds = 10**12", "update.monitor is not a duration"),
        ("s.update.max_failure_ratio = 2", "from 0 to 1"),
        ("s.update.parallelism = 10**6", "update.parallelism"),
        ("s.update.max_failure_ratio = float('nan')", "from 0 to 1"),
        ("s.update.order = 9", "update.order is none of stop-first and start-first"),
        ("s.update.failure_action = 9", "update.failure_action is none of pause, continue and rollback"),
        ("s.update.canary.percent = 100", "update.canary is 100 %"),
        ("s.update.canary.tasks = 0", "update.canary is 0 tasks"),
        ("s.update.canary.tasks = 10**6", "update.canary is 1000000 tasks"),
        ("s.rollback.canary.tasks = 1", "rollback.canary has no meaning"),
        ("s.task.restart.condition = 9", "task.restart.condition is none of any, on-failure and none"),
        ("s.task.on_disconnect = 9", "task.on_disconnect is none of replace and keep"),
        ("s.task.container.healthcheck.interval.nanos = 1000", "interval is shorter than a millisecond"),
        ("s.rollback.failure_action = Update.ROLLBACK", "cannot be rollback"),
        ("s.task.container.env.append('=x')", "has the entry '=x'"),
        ("s.task.container.env.append('A B=x')", "without blanks"),
        ("s.task.container.hosts.append('nothing')", "NAME:ADDRESS"),
        ("s.task.container.stop_signal = 'SIGNONE'", "is no signal"),
        ("s.task.container.stop_signal = '65'", "is no signal"),
        ("s.task.container.dir = 'relative'", "not an absolute path"),
        ("s.task.container.hostname = 'a_b'", "not a host name"),
        ("s.task.container.mounts.add(target='x', type=Mount.TMPFS)", "target 'x'"),
        ("s.task.container.mounts.add(target='/x', source='rel', type=Mount.BIND)", "binds 'rel'"),
        ("s.task.container.mounts.add(target='/x', source='/a', type=Mount.VOLUME)", "names the volume '/a'"),
        ("s.task.container.mounts.add(target='/x', source='a', type=Mount.TMPFS)", "has none"),
        ("s.task.container.mounts.add(target='/x', type=Mount.TMPFS, tmpfs_size_bytes=-1)", "negative size"),
        ("[s.task.container.mounts.add(target='/x', type=Mount.TMPFS) for _ in '12']", "mounts 2 things at /x"),
        ("s.task.container.secrets.add()", "names nothing"),
        ("s.task.container.secrets.add(secret_name='a').target.uid = 'root'", "has the uid 'root'"),
        ("s.task.container.configs.add(config_name='a').target.mode = 0o10000", "has the mode 10000"),
        (
            "[setattr(s.task.container.configs.add(config_name=n).target, 'name', '/x') for n in 'ab']",
            "puts 2 files at /x",
        ),
        ("s.task.container.healthcheck.test.append('curl')", "begins with 'curl'"),
        ("s.task.container.healthcheck.test.append('CMD')", "no command"),
        ("s.task.container.ulimits.add(name='nofile', soft=2, hard=1)", "above its hard 1"),
        ("s.task.networks.add()", "without a target"),
        ("[s.task.networks.add(target='net') for _ in '12']", "names the network net more than once"),
        ("s.task.networks.add(target='net').addresses.append('10.0.0.9')", "fixed address"),
        ("s.depends_on.add(service='web')", "wait for itself"),
        ("[s.depends_on.add(service='db') for _ in '12']", "names the service db more than once"),
        ("s.depends_on.add()", "without a service"),
        ("s.annotations.labels[' '] = ''", "without a name"),
        ("s.annotations.labels['x'] = 'y' * 600_000", "bytes; at most"),
    ],
)
def test_bad_services(change: str, words: str) -> None:
    spec = good_service()
    edit(change)(spec)
    found = problems(spec)
    assert any(words in problem for problem in found), found
    assert all(problem.endswith(".") for problem in found)


@pytest.mark.parametrize("name", ["SIGTERM", "term", "SIGRTMIN+3", "9", "RTMAX-1"])
def test_signals_that_are_known(name: str) -> None:
    spec = good_service()
    spec.task.container.stop_signal = name
    assert problems(spec) == []


@pytest.mark.parametrize(
    "image", ["nginx", "nginx:1.27", "a/b/c", "localhost:5000/a", "a@sha256:" + "0" * 64, "my__x.y-z"]
)
def test_images_that_are_good(image: str) -> None:
    spec = good_service()
    spec.task.container.image = image
    assert problems(spec) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("s.annotations.name = 'ingress'", "kept for the network"),
        ("s.driver = 'macvlan'", "are overlays"),
        ("s.ipv6 = True", "ipv6"),
        ("s.ipam.add(subnet='10.0.0.1/24')", "not an IPv4 subnet"),
        ("s.ipam.add(subnet='10.0.0.0/30')", "wrong size"),
        ("s.ipam.add(ip_range='10.0.0.0/28')", "no subnet"),
        ("s.ipam.add(subnet='10.0.0.0/24', ip_range='10.0.1.0/28')", "not a part of"),
        ("s.ipam.add(subnet='10.0.0.0/24', gateway='10.0.1.1')", "not in the subnet"),
        ("s.ipam.add(subnet='10.0.0.0/24').reserved['x'] = 'nonsense'", "for x"),
        ("[s.ipam.add() for _ in '12']", "one subnet"),
    ],
)
def test_bad_networks(change: str, words: str) -> None:
    spec = NetworkSpec()
    spec.annotations.name = "back"
    assert problems(spec) == []
    exec(change, {"s": spec})
    assert any(words in problem for problem in problems(spec)), problems(spec)


def test_secrets_and_configs_need_data_of_a_fair_size() -> None:
    for spec, what in ((SecretSpec(), "secret"), (ConfigSpec(), "config")):
        spec.annotations.name = "x"
        assert problems(spec) == [f"data is empty: a {what} needs some."]
        spec.data = b"x"
        assert problems(spec) == []
        spec.data = b"x" * 600_000
        assert f"a {what} has at most" in problems(spec)[0]


def test_nodes() -> None:
    assert problems(NodeSpec()) == []
    bad = NodeSpec(role=7, availability=9)  # type: ignore[arg-type]  # numbers no enum has
    bad.annotations.name = "a b"
    assert len(problems(bad)) == 3


def test_clusters() -> None:
    spec = ClusterSpec(address_pools=["10.0.0.0/8", "10.1.0.0/16", "x"], subnet_prefix_length=30, vxlan_port=70000)
    spec.heartbeat_period.seconds = 5
    spec.node_down_after.seconds = 3
    found = " ".join(problems(spec))
    for words in ("longer than heartbeat_period", "overlap", "'x'", "subnet_prefix_length is 30", "vxlan_port"):
        assert words in found
    assert problems(ClusterSpec(address_pools=["10.0.0.0/24"], subnet_prefix_length=20)) != []


def test_stacks() -> None:
    request = DeployStackRequest(name="shop", services=[good_service(), good_service()])
    assert problems(request) == ["The stack has more than one service named web."]
    request.services[1].annotations.name = "db"
    request.services[0].depends_on.add(service="db")
    assert problems(request) == []
    request.services[1].depends_on.add(service="web")
    assert problems(request) == ["depends_on goes round in a circle: web -> db -> web."]
    request.services[1].task.container.image = ""
    assert any(problem.startswith("In service db: task.container.image") for problem in problems(request))
    assert any("cannot name a stack" in problem for problem in problems(DeployStackRequest(name="a b")))


def test_what_is_no_spec_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="Task is not a spec"):
        problems(Task())
