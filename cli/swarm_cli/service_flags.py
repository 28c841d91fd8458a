"""The flags of `service create` and `service update`, and what each does to a spec.

Both commands apply the same setters: a flag that was not given leaves its part of the spec as it is, so an
update changes just what it names.  `--env` of create is `--env-add` of update, and so on.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from swarm_api.affinities import affinity_from_text, affinity_text
from swarm_api.specs_pb2 import Placement, ServiceSpec, SpreadPreference, TaskSpec
from swarm_api.types_pb2 import (
    ConfigReference,
    FileTarget,
    NetworkAttachmentConfig,
    Platform,
    Resources,
    RestartPolicy,
    SecretReference,
    Share,
    UpdateConfig,
)

from swarm_cli.classic import take_placement
from swarm_cli.container_flags import apply_container_flags, single_options
from swarm_cli.fields import parse_fields, split_pair
from swarm_cli.mounts import parse_mount
from swarm_cli.parsed import Parsed
from swarm_cli.ports import parse_publish
from swarm_cli.quantities import parse_duration, parse_mode, parse_nano_cpus, parse_share, parse_size
from swarm_cli.schedules import apply_schedule, schedule_options

Flags = Mapping[str, Any]
_Parsed = TypeVar("_Parsed")
_Command = TypeVar("_Command", bound=Callable[..., Any])

_RESTART = {"any": RestartPolicy.ANY, "on-failure": RestartPolicy.ON_FAILURE, "none": RestartPolicy.NONE}
_ACTIONS = {"pause": UpdateConfig.PAUSE_UPDATE, "continue": UpdateConfig.CONTINUE, "rollback": UpdateConfig.ROLLBACK}
_ORDERS = {"stop-first": UpdateConfig.STOP_FIRST, "start-first": UpdateConfig.START_FIRST}
STRATEGIES = {"spread": Placement.SPREAD, "binpack": Placement.BINPACK, "random": Placement.RANDOM}
_ON_DISCONNECT = {"replace": TaskSpec.REPLACE, "keep": TaskSpec.KEEP}
MODES = ("replicated", "global", "replicated-job", "global-job")


_SIZE = Parsed("bytes", parse_size)
_CPUS = Parsed("cpus", parse_nano_cpus)
_DURATION = Parsed("duration", parse_duration)
_PAIR = Parsed("key=value", lambda text: split_pair(text, "label"))


def _canary_setting(text: str) -> Share:
    return Share() if text == "none" else parse_share(text)


SHARE = Parsed("share", parse_share)
_CANARY = Parsed("share", _canary_setting)


_FILE_FIELDS = ("source", "target", "uid", "gid", "mode")


def parse_secret(text: str) -> SecretReference:
    """`NAME`, or `source=NAME,target=FILE,uid=0,gid=0,mode=0400`."""
    source, target = _reference(text, "/run/secrets/")
    return SecretReference(secret_name=source, target=target)


def parse_config(text: str) -> ConfigReference:
    """`NAME`, or `source=NAME,target=/PATH,uid=0,gid=0,mode=0444`."""
    source, target = _reference(text, "/")
    return ConfigReference(config_name=source, target=target)


def _reference(text: str, folder: str) -> tuple[str, FileTarget]:
    long = text if "=" in text else f"source={text}"
    fields = parse_fields(long, "the flag", _FILE_FIELDS, {"src": "source"})
    source = fields.get("source", "")
    if not source:
        raise ValueError(f"{text!r} lacks source=NAME.")
    target = fields.get("target") or source
    path = target if target.startswith("/") else f"{folder}{target}"
    mode = parse_mode(fields.get("mode", "0444"))
    return source, FileTarget(name=path, uid=fields.get("uid", "0"), gid=fields.get("gid", "0"), mode=mode)


def parse_network(text: str) -> NetworkAttachmentConfig:
    """`NAME`, or `name=NAME,alias=A,alias=B`."""
    if "=" not in text:
        return NetworkAttachmentConfig(target=text)
    pairs = [split_pair(part, "network") for part in text.split(",")]
    names = [value for key, value in pairs if key == "name"]
    unknown = [key for key, _ in pairs if key not in ("name", "alias")]
    if len(names) != 1 or unknown:
        raise ValueError(f"{text!r} is no network: write NAME, or name=NAME,alias=ALIAS.")
    return NetworkAttachmentConfig(target=names[0], aliases=[value for key, value in pairs if key == "alias"])


def parse_preference(text: str) -> SpreadPreference:
    """`spread=node.labels.zone`."""
    key, value = split_pair(text, "preference")
    if key != "spread" or not value:
        raise ValueError(f"{text!r} is no placement preference: write spread=node.labels.NAME.")
    return SpreadPreference(descriptor=value)


def parse_generic(text: str) -> list[tuple[str, int]]:
    """`gpu=2`, `gpu=2,fpga=1`."""
    found = []
    for name, count in (split_pair(part, "generic resource") for part in text.split(",")):
        if not count.isdecimal():
            raise ValueError(f"{text!r} is no generic resource: write NAME=COUNT, such as gpu=2.")
        found.append((name, int(count)))
    return found


def parse_platform(text: str) -> Platform:
    """`linux/arm64`; `linux` or `/arm64` for one of both."""
    os_name, _, architecture = text.partition("/")
    return Platform(os=os_name, architecture=architecture.partition("/")[0])


PLATFORM = Parsed("platform", parse_platform)


def shared_options(command: _Command) -> _Command:
    """The flags that create and update have in common."""
    for decorate in reversed(_shared()):
        command = decorate(command)
    return command


def _shared() -> list[Callable[[Any], Any]]:
    option = click.option
    return [
        option("--replicas", type=click.IntRange(min=0), help="How many tasks (replicated mode)."),
        option("--max-concurrent", type=click.IntRange(min=0), help="Of a job: how many tasks at once."),
        *schedule_options(_DURATION),
        option("--hostname", help="The containers' host name."),
        option("--user", "-u", help="User name or id, and group, in the container."),
        option("--workdir", "-w", help="The working directory in the container."),
        option("--entrypoint", help="Replaces the image's entry point."),
        option("--tty/--no-tty", "-t", default=None, help="Give the container a terminal."),
        option("--init/--no-init", default=None, help="Run an init in the container that reaps processes."),
        option("--read-only/--no-read-only", default=None, help="Mount the container's root read-only."),
        option("--stop-signal", help="The signal that stops the container."),
        option("--stop-grace-period", type=_DURATION, help="How long it has before it is killed (10s)."),
        option("--limit-cpu", type=_CPUS, help="CPUs it may use at most, such as 0.5."),
        option("--limit-memory", type=_SIZE, help="Memory it may use at most, such as 512m."),
        option("--limit-pids", type=click.IntRange(min=0), help="Processes it may have at most; 0: any number."),
        option("--reserve-cpu", type=_CPUS, help="CPUs a node must have free for it."),
        option("--reserve-memory", type=_SIZE, help="Memory a node must have free for it."),
        option("--replicas-max-per-node", type=click.IntRange(min=0), help="Tasks on one node at most; 0: any."),
        option(
            "--strategy",
            type=click.Choice([*STRATEGIES, "default"]),
            help="spread: to the least loaded node; binpack: to the fullest with room; random: to any.",
        ),
        option("--rebalance/--no-rebalance", default=None, help="Its tasks may be moved to even out the load."),
        option(
            "--on-disconnect",
            type=click.Choice(list(_ON_DISCONNECT)),
            help="Tasks of a node that is lost: replace them elsewhere, or keep them waiting for it.",
        ),
        option("--platform", multiple=True, type=PLATFORM, metavar="OS/ARCH", help="Only nodes of such a platform."),
        option("--endpoint-mode", type=click.Choice(["vip", "dnsrr"]), help="How the name resolves."),
        option("--restart-condition", type=click.Choice(list(_RESTART)), help="When an ended task is replaced."),
        option("--restart-delay", type=_DURATION, help="Pause before that (5s)."),
        option("--restart-max-attempts", type=click.IntRange(min=0), help="How often; 0: always."),
        option("--restart-window", type=_DURATION, help="In which the attempts are counted."),
        *_update_options("update", "an update"),
        option("--update-canary", type=_CANARY, metavar="N|P%|none", help="Every update tries so many tasks first."),
        *_update_options("rollback", "a rollback"),
        option("--health-cmd", help="The command that checks the container's health."),
        option("--health-interval", type=_DURATION, help="How often it is run."),
        option("--health-timeout", type=_DURATION, help="How long it may take."),
        option("--health-retries", type=click.IntRange(min=0), help="Failures in a row that make it unhealthy."),
        option("--health-start-period", type=_DURATION, help="Failures do not count for so long after the start."),
        option("--health-start-interval", type=_DURATION, help="How often it is run meanwhile."),
        option("--no-healthcheck", is_flag=True, help="Switch the image's health check off."),
        *single_options(),
        option("--log-driver", help="The engine's logging driver for the containers."),
        option("--log-opt", multiple=True, type=_PAIR, metavar="KEY=VALUE", help="Its options."),
    ]


def _update_options(prefix: str, what: str) -> list[Callable[[Any], Any]]:
    option = click.option
    return [
        option(f"--{prefix}-parallelism", type=click.IntRange(min=0), help=f"Tasks {what} replaces at once; 0: all."),
        option(f"--{prefix}-delay", type=_DURATION, help=f"Pause of {what} between them."),
        option(f"--{prefix}-monitor", type=_DURATION, help=f"How long {what} watches a new task (5s)."),
        option(f"--{prefix}-failure-action", type=click.Choice(list(_ACTIONS)), help=f"What {what} does on failure."),
        option(f"--{prefix}-max-failure-ratio", type=click.FloatRange(0, 1), help=f"Failures {what} bears (0)."),
        option(f"--{prefix}-order", type=click.Choice(list(_ORDERS)), help="Old task first, or new one first."),
    ]


def apply_flags(spec: ServiceSpec, flags: Flags) -> None:
    """Change `spec` by all flags that were given.  ValueError names two that do not go together."""
    for apply in (
        _apply_mode,
        apply_schedule,
        _apply_container,
        _apply_lists,
        _apply_labels,
        _apply_files,
        _apply_health,
        _apply_resources,
        _apply_restart,
        _apply_placement,
        _apply_endpoint,
        _apply_networks,
        _apply_logging,
    ):
        apply(spec, flags)
    _apply_update(spec.update, "update", flags, spec)
    _apply_update(spec.rollback, "rollback", flags, spec)
    _apply_canary(spec.update, flags, spec)


def _apply_mode(spec: ServiceSpec, flags: Flags) -> None:
    mode = flags.get("mode")
    if mode is not None:
        getattr(spec, mode.replace("-", "_")).SetInParent()
    chosen = spec.WhichOneof("mode") or "replicated"
    replicas, concurrent = flags.get("replicas"), flags.get("max_concurrent")
    if replicas is not None:
        if chosen == "replicated":
            spec.replicated.replicas = replicas
        elif chosen == "replicated_job":
            spec.replicated_job.total_completions = replicas
        else:
            raise ValueError("--replicas goes with the modes replicated and replicated-job only.")
    elif mode == "replicated":
        spec.replicated.replicas = 1
    elif mode == "replicated-job":
        spec.replicated_job.total_completions = 1
    if concurrent is not None:
        if chosen != "replicated_job":
            raise ValueError("--max-concurrent goes with the mode replicated-job only.")
        spec.replicated_job.max_concurrent = concurrent


def _apply_container(spec: ServiceSpec, flags: Flags) -> None:
    container = spec.task.container
    for flag, attribute in (
        ("image", "image"),
        ("hostname", "hostname"),
        ("user", "user"),
        ("workdir", "dir"),
        ("tty", "tty"),
        ("init", "init"),
        ("read_only", "read_only"),
        ("stop_signal", "stop_signal"),
    ):
        if flags.get(flag) is not None:
            setattr(container, attribute, flags[flag])
    if flags.get("stop_grace_period") is not None:
        container.stop_grace_period.CopyFrom(flags["stop_grace_period"])
    if flags.get("entrypoint") is not None:
        container.command[:] = shlex.split(flags["entrypoint"])
    if flags.get("args") is not None:
        container.args[:] = flags["args"] if not isinstance(flags["args"], str) else shlex.split(flags["args"])


def _apply_lists(spec: ServiceSpec, flags: Flags) -> None:
    container = spec.task.container
    added = [line for path in flags.get("env_file") or () for line in read_env_file(path)]
    added += flags.get("env_add") or ()
    container.env[:] = _merged(container.env, added, flags.get("env_rm") or (), _env_key)
    mounts = _merged(container.mounts, flags.get("mount_add") or (), flags.get("mount_rm") or (), lambda m: m.target)
    _replace(container.mounts, mounts)
    apply_container_flags(container, flags)
    if flags.get("env_add") or flags.get("env_file"):
        take_placement(spec.task)


def _env_key(line: str) -> str:
    return line.partition("=")[0]


def _merged(
    present: Iterable[_Parsed], added: Iterable[_Parsed], removed: Sequence[str], key: Callable[[_Parsed], str]
) -> list[_Parsed]:
    """What is there, changed in place where an added one has its key, without the removed ones."""
    merged = {key(item): item for item in present if key(item) not in removed}
    merged.update((key(item), item) for item in added)
    return list(merged.values())


def _replace(field: Any, items: Sequence[Any]) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)


def _apply_labels(spec: ServiceSpec, flags: Flags) -> None:
    for labels, stem in ((spec.annotations.labels, "label"), (spec.task.container.labels, "container_label")):
        for key in flags.get(f"{stem}_rm") or ():
            labels.pop(key, None)
        for key, value in flags.get(f"{stem}_add") or ():
            labels[key] = value


def _apply_files(spec: ServiceSpec, flags: Flags) -> None:
    container = spec.task.container
    _replace(
        container.secrets,
        _merged(
            container.secrets, flags.get("secret_add") or (), flags.get("secret_rm") or (), lambda s: s.secret_name
        ),
    )
    _replace(
        container.configs,
        _merged(
            container.configs, flags.get("config_add") or (), flags.get("config_rm") or (), lambda c: c.config_name
        ),
    )


def _apply_health(spec: ServiceSpec, flags: Flags) -> None:
    container = spec.task.container
    timing = ("interval", "timeout", "start_period", "start_interval")
    given = [name for name in ("cmd", "retries", *timing) if flags.get(f"health_{name}") is not None]
    if flags.get("no_healthcheck"):
        if given:
            raise ValueError("--no-healthcheck does not go with the other --health flags.")
        container.healthcheck.test[:] = ["NONE"]
        return
    if "cmd" in given:
        container.healthcheck.test[:] = ["CMD-SHELL", flags["health_cmd"]]
    if "retries" in given:
        container.healthcheck.retries = flags["health_retries"]
    for name in timing:
        if name in given:
            getattr(container.healthcheck, name).CopyFrom(flags[f"health_{name}"])


def _apply_resources(spec: ServiceSpec, flags: Flags) -> None:
    resources = spec.task.resources

    def put(target: Resources, attribute: str, flag: str) -> None:
        if flags.get(flag) is not None:
            setattr(target, attribute, flags[flag])

    put(resources.limits, "nano_cpus", "limit_cpu")
    put(resources.limits, "memory_bytes", "limit_memory")
    put(resources.limits, "pids", "limit_pids")
    put(resources.reservations, "nano_cpus", "reserve_cpu")
    put(resources.reservations, "memory_bytes", "reserve_memory")
    for kind in flags.get("generic_resource_rm") or ():
        resources.reservations.generic.pop(kind, None)
    for kind, count in (pair for pairs in flags.get("generic_resource_add") or () for pair in pairs):
        resources.reservations.generic[kind] = count


def _apply_restart(spec: ServiceSpec, flags: Flags) -> None:
    if flags.get("restart_condition") is not None:
        spec.task.restart.condition = _RESTART[flags["restart_condition"]]
    if flags.get("restart_delay") is not None:
        spec.task.restart.delay.CopyFrom(flags["restart_delay"])
    if flags.get("restart_max_attempts") is not None:
        spec.task.restart.max_attempts = flags["restart_max_attempts"]
    if flags.get("restart_window") is not None:
        spec.task.restart.window.CopyFrom(flags["restart_window"])


def _apply_update(config: UpdateConfig, prefix: str, flags: Flags, spec: ServiceSpec) -> None:
    given = {
        name: flags[f"{prefix}_{name}"]
        for name in ("parallelism", "delay", "monitor", "failure_action", "max_failure_ratio", "order")
        if flags.get(f"{prefix}_{name}") is not None
    }
    if not given:
        return
    if not spec.HasField("update" if prefix == "update" else "rollback"):
        config.parallelism = 1  # 0 would mean: all at once
    for name, value in given.items():
        if name in ("delay", "monitor"):
            getattr(config, name).CopyFrom(value)
        elif name == "failure_action":
            config.failure_action = _ACTIONS[value]
        elif name == "order":
            config.order = _ORDERS[value]
        else:
            setattr(config, name, value)


def _apply_canary(config: UpdateConfig, flags: Flags, spec: ServiceSpec) -> None:
    share = flags.get("update_canary")
    if share is None:
        return
    if not share.WhichOneof("size"):
        config.ClearField("canary")
        return
    if not spec.HasField("update"):
        config.parallelism = 1  # 0 would mean: all at once
    config.canary.CopyFrom(share)


def _apply_placement(spec: ServiceSpec, flags: Flags) -> None:
    placement = spec.task.placement
    added, removed = flags.get("constraint_add") or (), flags.get("constraint_rm") or ()
    if added or removed:
        placement.constraints[:] = _merged(placement.constraints, added, removed, str)
    added, removed = flags.get("placement_pref_add") or (), flags.get("placement_pref_rm") or ()
    gone = [preference.descriptor for preference in removed]
    if added or removed:
        _replace(placement.preferences, _merged(placement.preferences, added, gone, lambda p: p.descriptor))
    if flags.get("replicas_max_per_node") is not None:
        placement.max_replicas = flags["replicas_max_per_node"]
    wanted, gone = flags.get("affinity_add") or (), [affinity_text(a) for a in flags.get("affinity_rm") or ()]
    if wanted or gone:
        _replace(placement.affinities, _merged(placement.affinities, wanted, gone, affinity_text))
    if flags.get("strategy") is not None:
        placement.strategy = STRATEGIES.get(flags["strategy"], Placement.CLUSTER_DEFAULT)
    if flags.get("platform"):
        _replace(placement.platforms, flags["platform"])
    if flags.get("on_disconnect") is not None:
        spec.task.on_disconnect = _ON_DISCONNECT[flags["on_disconnect"]]
    if flags.get("rebalance") is not None:
        spec.rebalance = flags["rebalance"]


def _apply_endpoint(spec: ServiceSpec, flags: Flags) -> None:
    if flags.get("endpoint_mode") is not None:
        spec.endpoint.mode = spec.endpoint.ResolutionMode.Value(flags["endpoint_mode"].upper())
    added = [port for ports in flags.get("publish_add") or () for port in ports]
    gone = {(p.target_port, p.protocol) for ports in flags.get("publish_rm") or () for p in ports}
    replaced = {(p.published_port, p.protocol) for p in added if p.published_port}
    if not added and not gone:
        return
    kept = [
        port
        for port in spec.endpoint.ports
        if (port.target_port, port.protocol) not in gone and (port.published_port, port.protocol) not in replaced
    ]
    _replace(spec.endpoint.ports, [*kept, *added])


def _apply_networks(spec: ServiceSpec, flags: Flags) -> None:
    added, removed = flags.get("network_add") or (), flags.get("network_rm") or ()
    if added or removed:
        _replace(spec.task.networks, _merged(spec.task.networks, added, removed, lambda n: n.target))


def _apply_logging(spec: ServiceSpec, flags: Flags) -> None:
    if flags.get("log_driver") is not None:
        spec.task.log_driver.name = flags["log_driver"]
    for key, value in flags.get("log_opt") or ():
        spec.task.log_driver.options[key] = value


def read_env_file(path: str) -> list[str]:
    """The NAME=value lines of an env file, comments left out; ValueError when it cannot be read."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The env file {path} cannot be read: {error}.") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


PUBLISH = Parsed("port", parse_publish)
MOUNT = Parsed("mount", parse_mount)
SECRET = Parsed("secret", parse_secret)
CONFIG = Parsed("config", parse_config)
NETWORK = Parsed("network", parse_network)
AFFINITY = Parsed("affinity", affinity_from_text)
GENERIC = Parsed("generic resource", parse_generic)
PREFERENCE = Parsed("preference", parse_preference)
PAIR = _PAIR
