"""From a compose file to the request, key by key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from swarm_api.specs_pb2 import ContainerSpec, ServiceSpec
from swarm_cli.compose.convert import Conversion, convert
from swarm_cli.compose.load import load
from swarm_cli.errors import ComposeError

Convert = Callable[..., Conversion]


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    """Convert a text as the stack `s`."""

    def act(text: str, **environ: str) -> Conversion:
        (tmp_path / "compose.yaml").write_text(text)
        return convert(load([str(tmp_path / "compose.yaml")], environ=environ), "s")

    return act


@pytest.fixture
def service(converted: Convert) -> Callable[..., ServiceSpec]:
    """Convert the keys of one service, `web`; no warning may come."""

    def act(keys: str, rest: str = "", **environ: str) -> ServiceSpec:
        conversion = converted(f"services: {{web: {{image: web, {keys}}}, db: {{image: db}}}}\n{rest}", **environ)
        assert conversion.warnings == []
        return conversion.request.services[0]

    return act


CONTAINER_KEYS = [
    ("command: 'sh -c \"a b\"'", 'args: "sh" args: "-c" args: "a b"'),
    ("command: [a, '1']", 'args: "a" args: "1"'),
    ("entrypoint: /run -x", 'command: "/run" command: "-x"'),
    ("environment: {A: 1, B: true, C: 'x y', D: }", 'env: "A=1" env: "B=true" env: "C=x y"'),
    ("environment: [A=1, SHELL_ONE, NOT_SET]", 'env: "A=1" env: "SHELL_ONE=here"'),
    ("labels: [a=b, c]", 'labels { key: "a" value: "b" } labels { key: "c" value: "" }'),
    ("user: '1000:1000', working_dir: /app, hostname: h, domainname: d", "user dir hostname domainname"),
    ("stop_signal: SIGINT, stop_grace_period: 1m30s", 'stop_signal: "SIGINT" stop_grace_period { seconds: 90 }'),
    (
        "init: true, tty: true, stdin_open: true, read_only: true",
        "init: true tty: true open_stdin: true read_only: true",
    ),
    ("init: false", "init: false"),
    (
        "cap_add: [NET_ADMIN], cap_drop: [ALL], privileged: true",
        'cap_add: "NET_ADMIN" cap_drop: "ALL" privileged: true',
    ),
    ("devices: ['/dev/a:/dev/b:r']", 'devices { host_path: "/dev/a" container_path: "/dev/b" permissions: "r" }'),
    ("cpu_shares: 512, cpuset: '0-1', cgroup_parent: /a", 'cpu_shares: 512 cpuset_cpus: "0-1" cgroup_parent: "/a"'),
    ("device_cgroup_rules: ['c 1:3 rwm']", 'device_cgroup_rules: "c 1:3 rwm"'),
    ("devices: [/dev/a]", 'devices { host_path: "/dev/a" container_path: "/dev/a" permissions: "rwm" }'),
    ("sysctls: {net.core.somaxconn: 1024}", 'sysctls { key: "net.core.somaxconn" value: "1024" }'),
    ("ulimits: {nproc: 5}", 'ulimits { name: "nproc" soft: 5 hard: 5 }'),
    ("ulimits: {nofile: {soft: 1, hard: 2}}", 'ulimits { name: "nofile" soft: 1 hard: 2 }'),
    ("shm_size: 64m", "shm_size_bytes: 67108864"),
    ("extra_hosts: ['a=1.2.3.4', 'b:::1']", 'hosts: "a:1.2.3.4" hosts: "b:::1"'),
    ("extra_hosts: {a: 1.2.3.4}", 'hosts: "a:1.2.3.4"'),
    ("dns: 1.1.1.1, dns_search: [a, b]", 'dns_config { nameservers: "1.1.1.1" search: "a" search: "b" }'),
    ("healthcheck: {test: curl x, interval: 5s, timeout: 2s, retries: 3, start_period: 1m}", "healthcheck"),
    ("healthcheck: {test: [CMD, a, b]}", 'healthcheck { test: "CMD" test: "a" test: "b" }'),
    ("healthcheck: {disable: true}", 'healthcheck { test: "NONE" }'),
    ("pid: host, ipc: host, security_opt: [a], group_add: [7]", "pid_mode ipc_mode security_opt groups"),
    ("pull_policy: always", "pull_policy: ALWAYS"),
    ("oom_score_adj: 5, mem_swappiness: 0", "oom_score_adj: 5 memory_swappiness: 0"),
    ("gpus: all", 'device_requests { count: -1 capabilities: "gpu" }'),
    ("tmpfs: ['/run:size=64m,mode=1777']", "mounts"),
]
_SPELLED_OUT = {
    "user dir hostname domainname": 'user: "1000:1000" dir: "/app" hostname: "h" domainname: "d"',
    "healthcheck": 'healthcheck { test: "CMD-SHELL" test: "curl x" interval { seconds: 5 } timeout { seconds: 2 } '
    "retries: 3 start_period { seconds: 60 } }",
    "pid_mode ipc_mode security_opt groups": 'pid_mode: "host" ipc_mode: "host" security_opt: "a" groups: "7"',
    "mounts": 'mounts { type: TMPFS target: "/run" tmpfs_size_bytes: 67108864 tmpfs_mode: 1023 }',
}


@pytest.mark.parametrize(("keys", "wanted"), CONTAINER_KEYS, ids=[keys for keys, _ in CONTAINER_KEYS])
def test_what_makes_the_container(keys: str, wanted: str, service: Callable[..., ServiceSpec]) -> None:
    expected = ContainerSpec(image="web", labels={"com.docker.stack.namespace": "s"})
    text_format.Merge(_SPELLED_OUT.get(wanted, wanted), expected)
    found = service(keys, SHELL_ONE="here").task.container
    for name in ("healthcheck", "dns_config"):  # an empty message, and none, mean the same
        if not getattr(found, name).ByteSize():
            found.ClearField(name)
    assert found == expected


DEPLOY_KEYS = [
    ("deploy: {replicas: 3}", "replicated { replicas: 3 }"),
    ("scale: 2", "replicated { replicas: 2 }"),
    ("deploy: {mode: global}", "global { }"),
    ("deploy: {mode: replicated-job, replicas: 4}", "replicated_job { max_concurrent: 4 total_completions: 4 }"),
    ("deploy: {mode: global-job}", "global_job { }"),
    (
        "deploy: {mode: replicated-job, replicas: 4, x-max-concurrent: 2}",
        "replicated_job { max_concurrent: 2 total_completions: 4 }",
    ),
    (
        "deploy: {mode: global-job, x-schedule: '@daily'}",
        'global_job { } schedule { expression: "@daily" }',
    ),
    (
        "deploy: {mode: global-job, x-schedule: {expression: '0 3 * * *', time_zone: Asia/Tokyo, suspend: true}}",
        'global_job { } schedule { expression: "0 3 * * *" time_zone: "Asia/Tokyo" suspended: true }',
    ),
    (
        "deploy: {mode: global-job, x-schedule: {expression: '@daily', concurrency: replace, keep_runs: 7}}",
        'global_job { } schedule { expression: "@daily" concurrency: REPLACE_RUNNING history_limit: 7 }',
    ),
    ("deploy: {labels: {a: b}}", 'annotations { labels { key: "a" value: "b" } }'),
    ("deploy: {endpoint_mode: dnsrr}", "endpoint { mode: DNSRR }"),
    (
        "deploy: {placement: {constraints: [node.role == worker], preferences: [{spread: node.labels.z}]}}",
        'task { placement { constraints: "node.role == worker" preferences { descriptor: "node.labels.z" } } }',
    ),
    ("deploy: {placement: {x-strategy: binpack}}", "task { placement { strategy: BINPACK } }"),
    (
        "deploy: {placement: {x-affinities: ['service == s_db', 'image !=~ redis*']}}",
        (
            'task { placement { affinities { kind: "service" pattern: "s_db" } '
            'affinities { anti: true soft: true kind: "image" pattern: "redis*" } } }'
        ),
    ),
    ("deploy: {x-rebalance: true}", "rebalance: true"),
    ("deploy: {x-on-disconnect: keep}", "task { on_disconnect: KEEP }"),
    (
        "environment: ['constraint:node==n2', 'affinity:container!=*db*', 'affinity:service==web']",
        (
            'task { placement { constraints: "node.hostname==n2" '
            'affinities { anti: true kind: "container" pattern: "*db*" } '
            'affinities { kind: "service" pattern: "s_web" } } }'
        ),
    ),
    ("deploy: {placement: {max_replicas_per_node: 2}}", "task { placement { max_replicas: 2 } }"),
    ("platform: linux/arm64/v8", 'task { placement { platforms { os: "linux" architecture: "arm64" } } }'),
    (
        "deploy: {resources: {limits: {cpus: '0.5', memory: 50M, pids: 9}, reservations: {memory: 20M}}}",
        ("task { resources { limits { nano_cpus: 500000000 memory_bytes: 52428800 pids: 9 } "
        "reservations { memory_bytes: 20971520 } } }"),
    ),
    ("cpus: 1.5, mem_limit: 1g", "task { resources { limits { nano_cpus: 1500000000 memory_bytes: 1073741824 } } }"),
    (
        "deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}]}}}",
        'task { resources { reservations { generic { key: "gpu" value: 2 } } } }',
    ),
    (
        "deploy: {restart_policy: {condition: on-failure, delay: 2s, max_attempts: 3, window: 1m}}",
        "task { restart { condition: ON_FAILURE delay { seconds: 2 } max_attempts: 3 window { seconds: 60 } } }",
    ),
    ("restart: 'no'", "task { restart { condition: NONE } }"),
    ("restart: always", "task { restart { } }"),
    ("restart: on-failure:3", "task { restart { condition: ON_FAILURE max_attempts: 3 } }"),
    ("restart: always, deploy: {restart_policy: {condition: none}}", "task { restart { condition: NONE } }"),
    (
        "deploy: {update_config: {parallelism: 2, delay: 10s, order: start-first, failure_action: rollback}}",
        "update { parallelism: 2 delay { seconds: 10 } order: START_FIRST failure_action: ROLLBACK }",
    ),
    ("deploy: {update_config: {monitor: 3s, max_failure_ratio: 0.5}}",
     "update { parallelism: 1 monitor { seconds: 3 } max_failure_ratio: 0.5 }"),
    ("deploy: {update_config: {parallelism: 0}}", "update { }"),
    ("deploy: {update_config: {x-canary: 10%}}", "update { parallelism: 1 canary { percent: 10 } }"),
    ("deploy: {update_config: {x-canary: 2}}", "update { parallelism: 1 canary { tasks: 2 } }"),
    ("deploy: {rollback_config: {order: start-first}}", "rollback { parallelism: 1 order: START_FIRST }"),
    ("depends_on: [db]", 'depends_on { service: "s_db" }'),
    ("depends_on: {db: {condition: service_healthy}}", 'depends_on { service: "s_db" condition: HEALTHY }'),
    (
        "depends_on: {db: {condition: service_completed_successfully, required: false}}",
        'depends_on { service: "s_db" condition: COMPLETED optional: true }',
    ),
    ("logging: {driver: json-file, options: {max-size: 10m, max-file: 3}}", "logging"),
    ("ports: ['8080:80', '53:53/udp', '90']", "ports"),
    ("ports: ['8000-8001:80-81']", "ranges"),
    ("ports: [{target: 80, published: '8080', protocol: tcp, mode: host, name: web}]", "long"),
    ("networks: {default: {aliases: [a]}}", "aliases"),
]  # fmt: skip
_DEPLOY_SPELLED_OUT = {
    "logging": 'task { log_driver { name: "json-file" options { key: "max-size" value: "10m" } '
    'options { key: "max-file" value: "3" } } }',
    "ports": "endpoint { ports { target_port: 80 published_port: 8080 } "
    "ports { protocol: UDP target_port: 53 published_port: 53 } ports { target_port: 90 } }",
    "ranges": "endpoint { ports { target_port: 80 published_port: 8000 } "
    "ports { target_port: 81 published_port: 8001 } }",
    "long": 'endpoint { ports { name: "web" target_port: 80 published_port: 8080 publish_mode: HOST } }',
    "aliases": 'task { networks { aliases: "a" } }',
}


@pytest.mark.parametrize(("keys", "wanted"), DEPLOY_KEYS, ids=[keys for keys, _ in DEPLOY_KEYS])
def test_what_says_how_many_and_where(keys: str, wanted: str, service: Callable[..., ServiceSpec]) -> None:
    expected = ServiceSpec()
    expected.annotations.name = "s_web"
    expected.task.container.image = "web"
    expected.task.container.labels["com.docker.stack.namespace"] = "s"
    expected.task.networks.add(target="s_default", aliases=["web"])
    extra = ServiceSpec()
    text_format.Merge(_DEPLOY_SPELLED_OUT.get(wanted, wanted), extra)
    aliases = [alias for network in extra.task.networks for alias in network.aliases]
    extra.task.ClearField("networks")
    expected.MergeFrom(extra)
    expected.task.networks[0].aliases.extend(aliases)
    if expected.WhichOneof("mode") is None:
        expected.replicated.replicas = 1
    assert _plain(service(keys)) == _plain(expected)


def _plain(spec: ServiceSpec) -> Any:
    """Without the empty messages that conversion may leave."""
    from swarm_cli.render.document import to_data

    def pruned(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: pruned(inner) for key, inner in value.items()}
            return {key: inner for key, inner in kept.items() if inner not in ({}, [], None)}
        return [pruned(item) for item in value] if isinstance(value, list) else value

    data = pruned(to_data(spec, with_empty=False))
    return data | {"mode": spec.WhichOneof("mode"), "has_update": spec.HasField("update")}


VOLUMES = [
    ("'data:/data'", 'type: VOLUME source: "s_data" target: "/data" volume_driver: "local"'),
    ("'data:/data:ro,nocopy'", ('type: VOLUME source: "s_data" target: "/data" volume_driver: "local" read_only: true '
     "volume_no_copy: true")),
    ("'/srv:/srv:ro,rshared'", ('source: "/srv" target: "/srv" bind_create_source: true read_only: true '
     'bind_propagation: "rshared"')),
    ("./sub:/x", 'source: "HERE/sub" target: "/x" bind_create_source: true'),
    ("/anonymous", 'type: VOLUME target: "/anonymous"'),
    ("'ext:/e'", 'type: VOLUME source: "ext" target: "/e"'),
    ("'named:/n'", 'type: VOLUME source: "other" target: "/n" volume_labels { key: "a" value: "b" }'),
    ("{type: bind, source: ., target: /x, read_only: true, bind: {propagation: slave}}",
     'source: "HERE" target: "/x" read_only: true bind_propagation: "slave"'),
    ("{type: volume, source: data, target: /x, volume: {nocopy: true, subpath: p}}",
     'type: VOLUME source: "s_data" target: "/x" volume_driver: "local" volume_no_copy: true volume_subpath: "p"'),
    ("{type: tmpfs, target: /x, tmpfs: {size: 1m, mode: 0o700}}",
     'type: TMPFS target: "/x" tmpfs_size_bytes: 1048576 tmpfs_mode: 448'),
]  # fmt: skip


@pytest.mark.parametrize(("volume", "wanted"), VOLUMES, ids=[volume for volume, _ in VOLUMES])
def test_volumes(volume: str, wanted: str, service: Callable[..., ServiceSpec], tmp_path: Path) -> None:
    rest = "volumes: {data: {driver: local}, ext: {external: true}, named: {name: other, labels: {a: b}}}"
    expected = ServiceSpec()
    text_format.Merge(wanted.replace("HERE", str(tmp_path)), expected.task.container.mounts.add())
    assert list(service(f"volumes: [{volume}]", rest).task.container.mounts) == list(expected.task.container.mounts)


def test_networks(converted: Convert) -> None:
    request = converted(
        """
services:
  web: {image: x, networks: {front: {priority: 5}, back: {priority: 9, aliases: [api]}}}
  db: {image: x, networks: [back, outside]}
networks:
  front: {internal: true, attachable: true, labels: {a: b}, driver_opts: {mtu: 1400}}
  back: {name: shared, ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.1}]}}
  outside: {external: true}
  unused:
"""
    ).request
    assert [(n.annotations.name, n.driver) for n in request.networks] == [("s_front", "overlay"), ("shared", "overlay")]
    assert (request.networks[0].internal, dict(request.networks[0].driver_opts)) == (True, {"mtu": "1400"})
    assert request.networks[1].ipam[0].gateway == "10.9.0.1"
    web, db = request.services
    assert [(n.target, list(n.aliases)) for n in web.task.networks] == [
        ("shared", ["web", "api"]),
        ("s_front", ["web"]),
    ]
    assert [n.target for n in db.task.networks] == ["shared", "outside"]


def test_the_default_network_is_made_only_where_a_service_names_none(converted: Convert) -> None:
    plain = converted("services: {web: {image: x}}").request
    assert [network.annotations.name for network in plain.networks] == ["s_default"]
    named = converted("services: {web: {image: x, networks: [n]}}\nnetworks: {n: }").request
    assert [network.annotations.name for network in named.networks] == ["s_n"]


def test_secrets_and_configs(converted: Convert, tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_bytes(b"from a file")
    request = converted(
        """
services:
  web:
    image: x
    secrets: [key, {source: ext, target: other, mode: 0400, uid: "7"}]
    configs: [conf, {source: env, target: /etc/env}]
secrets:
  key: {file: ./key.txt}
  ext: {external: true, name: shared_key}
configs:
  conf: {content: "host=${HOST}"}
  env: {environment: SETTING}
""",
        HOST="h",
        SETTING="from the shell",
    ).request
    assert [(secret.annotations.name, secret.data) for secret in request.secrets] == [("s_key", b"from a file")]
    assert [(config.annotations.name, config.data) for config in request.configs] == [
        ("s_conf", b"host=h"),
        ("s_env", b"from the shell"),
    ]
    container = request.services[0].task.container
    assert [(s.secret_name, s.target.name, s.target.mode) for s in container.secrets] == [
        ("s_key", "/run/secrets/key", 0o444),
        ("shared_key", "/run/secrets/other", 0o400),
    ]
    assert [(c.config_name, c.target.name) for c in container.configs] == [("s_conf", "/conf"), ("s_env", "/etc/env")]


def test_env_files_come_first_and_may_be_optional(converted: Convert, tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("A=file\nB=file\n")
    conversion = converted(
        "services: {web: {image: x, env_file: [a.env, {path: no.env, required: false}], environment: {B: here}}}"
    )
    assert list(conversion.request.services[0].task.container.env) == ["A=file", "B=here"]


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        ("build: .", "services.web.build has no effect: images are not built here"),
        ("container_name: web1", "services.web.container_name has no effect: a service may have many containers"),
        ("mac_address: 02:42:ac:11:65:43", "services.web.mac_address is not supported yet and has no effect."),
        ("cpu_rt_period: 5", "services.web.cpu_rt_period is not supported yet"),
        ("network_mode: host", "services.web.network_mode is 'host', which is not supported yet"),
        ("networks: {default: {ipv4_address: 10.0.0.5}}", "networks.default.ipv4_address is not supported yet"),
        ("volumes: ['/a:/a:z']", "services.web.volumes[0] has the option 'z'"),
        ("pull_policy: daily", "services.web.pull_policy is 'daily'"),
        ("deploy: {resources: {limits: {devices: []}}}", None),
    ],
)
def test_what_has_no_effect_is_named_with_its_line(keys: str, warning: str | None, converted: Convert) -> None:
    if warning is None:
        with pytest.raises(ComposeError, match="is no key"):
            converted(f"services:\n  web:\n    image: x\n    {keys}\n")
        return
    warnings = converted(f"services:\n  web:\n    image: x\n    {keys}\n").warnings
    assert len(warnings) == 1
    assert warning in warnings[0]
    assert "compose.yaml:4: " in warnings[0]


def test_a_port_of_one_node_may_name_an_address(service: Callable[..., ServiceSpec]) -> None:
    port = "target: 80, published: 8080, mode: host"
    (bound,) = service(f"ports: [{{{port}, host_ip: 127.0.0.1}}]").endpoint.ports
    assert (bound.host_ip, bound.publish_mode, bound.published_port) == ("127.0.0.1", 1, 8080)
    (everywhere,) = service("ports: ['0.0.0.0:8080:80']").endpoint.ports
    assert (everywhere.host_ip, everywhere.publish_mode) == ("", 0)


def test_a_bridge_becomes_an_overlay_and_that_is_said(converted: Convert) -> None:
    conversion = converted("services: {web: {image: x, networks: [n]}}\nnetworks: {n: {driver: bridge}}")
    assert conversion.request.networks[0].driver == "overlay"
    assert "networks.n.driver is 'bridge': the network becomes an overlay" in conversion.warnings[0]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("scale: 2, deploy: {replicas: 3}", "'scale' and 'deploy.replicas' differ"),
        ("deploy: {mode: global, replicas: 3}", "takes no number of replicas"),
        ("deploy: {mode: everywhere}", "'everywhere' is no mode; use replicated, global"),
        ("command: 'a \"b'", "cannot be split into words"),
        ("mem_limit: lots", "services.web.mem_limit: 'lots' is no size"),
        ("stop_grace_period: soon", "services.web.stop_grace_period: 'soon' is no duration"),
        ("ports: ['a:b']", "services.web.ports[0]: 'a:b' is no port"),
        ("ports: ['80-82:80-81']", "the two ranges differ in length"),
        ("ports: ['0:70000']", "is no port"),
        (
            "ports: ['127.0.0.1:80:80']",
            "services.web.ports[0]: it names the host address 127.0.0.1, but a published port",
        ),
        ("ports: [{target: 80, host_ip: 127.0.0.1}]", "with 'mode: host', which binds 127.0.0.1"),
        ("restart: sometimes", "services.web.restart: 'sometimes' is no restart policy"),
        ("healthcheck: {test: [curl]}", "begins with CMD"),
        ("volumes: ['/a:b']", "absolute target"),
        ("volumes: ['/a:/b:zz']", "'zz' is no option"),
        ("devices: ['a:b']", "is no device"),
        ("extra_hosts: [a]", "is no extra host"),
        ("env_file: no.env", "no.env does not exist"),
        ("deploy: {update_config: {max_failure_ratio: 2}}", "between 0 and 1"),
        ("deploy: {update_config: {x-canary: 100%}}", "'100%' is no part of the tasks"),
        ("network_mode: host, networks: [default]", "cannot go together"),
        ("ulimits: {nofile: many}", "'many' is no limit"),
    ],
)
def test_values_that_cannot_be_deployed(keys: str, sentence: str, converted: Convert) -> None:
    with pytest.raises(ComposeError) as caught:
        converted(f"services: {{web: {{image: web, {keys}}}}}")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("services: {web: {build: .}}", "it has no image: a cluster cannot build one"),
        ("services: {web: {image: x}}\nsecrets: {k: {}}", "exactly one of 'file', 'environment' and 'content'"),
        ("services: {web: {image: x}}\nsecrets: {k: {file: no}}", "cannot be read (No such file"),
        ("services: {web: {image: x}}\nconfigs: {k: {environment: NO}}", "the variable NO is not set"),
        (f"services: {{{'w' * 70}: {{image: x}}}}", "at most 63"),
    ],
)
def test_files_that_cannot_be_deployed(text: str, sentence: str, converted: Convert) -> None:
    with pytest.raises(ComposeError) as caught:
        converted(text)
    assert sentence in str(caught.value)


def test_the_request_is_the_same_each_time(converted: Convert) -> None:
    """Or else each deploy would restart what has not changed."""
    text = "services: {web: {image: x, environment: {B: 1, A: 2}, labels: {z: 1, a: 2}, networks: [n, m]}}\n"
    text += "networks: {m: , n: }"
    assert converted(text).request.SerializeToString(deterministic=True) == converted(text).request.SerializeToString(
        deterministic=True
    )


def test_a_stack_needs_a_proper_name(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: x}}")
    with pytest.raises(ComposeError, match="cannot name a stack"):
        convert(load([str(tmp_path / "compose.yaml")], environ={}), "no name")
