"""`deploy` and its older spellings at a service's top: mode, replicas, placement, resources, restart, updates."""

from typing import Any

from swarm_api.affinities import affinity_from_text
from swarm_api.specs_pb2 import DeviceRequest, Placement, ServiceSpec, SpreadPreference, TaskSpec
from swarm_api.types_pb2 import Platform, Resources, RestartPolicy, UpdateConfig

from swarm_cli.compose.part import Part, pairs, scalar_text, texts
from swarm_cli.quantities import parse_duration, parse_nano_cpus, parse_share, parse_size, parse_whole
from swarm_cli.schedules import convert_schedule

_CONDITIONS = {
    "any": RestartPolicy.ANY,
    "on-failure": RestartPolicy.ON_FAILURE,
    "none": RestartPolicy.NONE,
}
_ACTIONS = {"pause": UpdateConfig.PAUSE_UPDATE, "continue": UpdateConfig.CONTINUE, "rollback": UpdateConfig.ROLLBACK}
_ORDERS = {"stop-first": UpdateConfig.STOP_FIRST, "start-first": UpdateConfig.START_FIRST}
_STRATEGIES = {"spread": Placement.SPREAD, "binpack": Placement.BINPACK, "random": Placement.RANDOM}
_ON_DISCONNECT = {"replace": TaskSpec.REPLACE, "keep": TaskSpec.KEEP}
_MODES = ("replicated", "global", "replicated-job", "global-job")


def apply_deploy(spec: ServiceSpec, service: Part) -> None:
    """All that says how many tasks there are, where, and what becomes of them."""
    deploy = service.part("deploy")
    _mode(spec, service, deploy)
    convert_schedule(spec, deploy)
    spec.annotations.labels.update({key: value or "" for key, value in pairs(deploy.take("labels")).items()})
    mode = deploy.parse("endpoint_mode", lambda value: _choice(value, {"vip": 0, "dnsrr": 1}, "endpoint mode"))
    if mode is not None:
        spec.endpoint.mode = mode
    _placement(spec.task.placement, deploy.part("placement"), service)
    _resources(spec, deploy.part("resources"), service)
    _restart(spec, deploy, service)
    for key, config in (("update_config", spec.update), ("rollback_config", spec.rollback)):
        if key in deploy:
            _update(config, deploy.part(key))
    spec.rebalance = bool(deploy.take("x-rebalance", False))
    policy = deploy.parse("x-on-disconnect", lambda value: _choice(value, _ON_DISCONNECT, "policy"))
    spec.task.on_disconnect = TaskSpec.REPLACE if policy is None else policy
    deploy.finish()


def _choice(value: Any, known: dict[str, Any], what: str) -> Any:
    if value not in known:
        raise ValueError(f"{value!r} is no {what}; use {', '.join(known)}")
    return known[value]


def _mode(spec: ServiceSpec, service: Part, deploy: Part) -> None:
    mode = deploy.parse("mode", lambda value: _choice(value, {name: name for name in _MODES}, "mode")) or "replicated"
    replicas = deploy.parse("replicas", lambda value: parse_whole(str(value), "number of replicas"))
    scale = service.parse("scale", lambda value: parse_whole(str(value), "number of replicas"))
    if replicas is not None and scale is not None and replicas != scale:
        raise service.error("'scale' and 'deploy.replicas' differ; give one of them")
    count = scale if replicas is None else replicas
    if mode in ("global", "global-job"):
        if count is not None:
            raise service.error(f"the mode {mode!r} has a task on each node, so it takes no number of replicas")
        (spec.global_job if mode == "global-job" else getattr(spec, "global")).SetInParent()
    elif mode == "replicated":
        spec.replicated.replicas = 1 if count is None else count
    else:
        spec.replicated_job.total_completions = spec.replicated_job.max_concurrent = 1 if count is None else count
        at_once = deploy.parse("x-max-concurrent", lambda value: parse_whole(str(value), "number of tasks"))
        if at_once is not None:
            spec.replicated_job.max_concurrent = at_once


def _placement(placement: Placement, part: Part, service: Part) -> None:
    placement.constraints.extend(texts(part.take("constraints")))
    for item, position in part.items("preferences"):
        preference = Part(item, position, part.notes)
        placement.preferences.append(SpreadPreference(descriptor=str(preference.take("spread", ""))))
        preference.finish()
    placement.max_replicas = part.take("max_replicas_per_node", 0)
    strategy = part.parse("x-strategy", lambda value: _choice(value, _STRATEGIES, "strategy"))
    placement.strategy = Placement.CLUSTER_DEFAULT if strategy is None else strategy
    for item, position in part.items("x-affinities"):
        placement.affinities.append(part.parsed(str(item), affinity_from_text, position))
    part.finish()
    platform = service.take("platform")
    if platform:
        os_name, _, architecture = str(platform).partition("/")
        placement.platforms.append(Platform(os=os_name, architecture=architecture.partition("/")[0]))


def _resources(spec: ServiceSpec, part: Part, service: Part) -> None:
    limits, reservations = part.part("limits"), part.part("reservations")
    resources = spec.task.resources
    _amounts(resources.limits, limits)
    _amounts(resources.reservations, reservations)
    older = (
        ("cpus", "nano_cpus", parse_nano_cpus, resources.limits),
        ("mem_limit", "memory_bytes", parse_size, resources.limits),
        ("pids_limit", "pids", _pids, resources.limits),
        ("mem_reservation", "memory_bytes", parse_size, resources.reservations),
    )
    for key, attribute, parser, target in older:
        value = service.parse(key, parser)
        if value is not None and not getattr(target, attribute):
            setattr(target, attribute, value)
    for item, position in reservations.items("generic_resources"):
        discrete = Part(item, position, part.notes).part("discrete_resource_spec")
        resources.reservations.generic[str(discrete.take("kind", ""))] = int(discrete.take("value", 0))
        discrete.finish()
    _devices(spec, reservations, "devices")
    _devices(spec, service, "gpus")
    for rest in (limits, reservations, part):
        rest.finish()


def _amounts(target: Resources, part: Part) -> None:
    cpus = part.parse("cpus", parse_nano_cpus)
    memory = part.parse("memory", parse_size)
    pids = part.parse("pids", _pids)
    target.nano_cpus, target.memory_bytes, target.pids = cpus or 0, memory or 0, pids or 0


def _pids(value: Any) -> int:
    return 0 if str(value) == "-1" else parse_whole(str(value), "number of processes")


def _devices(spec: ServiceSpec, part: Part, key: str) -> None:
    if part_value := part.take(key):
        items = [{"count": "all"}] if part_value == "all" else part_value
        for number, item in enumerate(items):
            device = Part(item, (*part.position, key, number), part.notes)
            spec.task.container.device_requests.append(_device_request(device, is_gpu=key == "gpus"))


def _device_request(device: Part, *, is_gpu: bool) -> DeviceRequest:
    count = device.take("count")
    request = DeviceRequest(
        driver=str(device.take("driver", "")),
        device_ids=texts(device.take("device_ids")),
        capabilities=texts(device.take("capabilities")) or (["gpu"] if is_gpu else []),
    )
    if count is None:
        request.count = 0 if request.device_ids else -1
    else:
        request.count = -1 if count == "all" else device.parsed(str(count), _count, (*device.position, "count"))
    request.options.update({name: value or "" for name, value in pairs(device.take("options")).items()})
    device.finish()
    return request


def _count(text: str) -> int:
    return parse_whole(text, "number of devices")


def _restart(spec: ServiceSpec, deploy: Part, service: Part) -> None:
    """`deploy.restart_policy`, or else the older `restart`."""
    older = service.take("restart")
    if "restart_policy" not in deploy:
        if older is not None:
            policy = service.parsed(str(older), parse_restart, (*service.position, "restart"))
            spec.task.restart.CopyFrom(policy)
        return
    part = deploy.part("restart_policy")
    restart = spec.task.restart
    condition = part.parse("condition", lambda value: _choice(value, _CONDITIONS, "restart condition"))
    restart.condition = RestartPolicy.ANY if condition is None else condition
    for key in ("delay", "window"):
        duration = part.parse(key, parse_duration)
        if duration is not None:
            getattr(restart, key).CopyFrom(duration)
    restart.max_attempts = part.parse("max_attempts", lambda value: parse_whole(str(value), "number")) or 0
    part.finish()


def parse_restart(text: str) -> RestartPolicy:
    """`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:3`."""
    name, colon, attempts = text.partition(":")
    if name == "on-failure":
        return RestartPolicy(
            condition=RestartPolicy.ON_FAILURE,
            max_attempts=parse_whole(attempts, "number of attempts") if colon else 0,
        )
    if text in ("always", "unless-stopped"):
        return RestartPolicy(condition=RestartPolicy.ANY)
    if text in ("no", "false", "False"):
        return RestartPolicy(condition=RestartPolicy.NONE)
    raise ValueError(f"{text!r} is no restart policy; use no, always, on-failure[:N] or unless-stopped")


def _update(config: UpdateConfig, part: Part) -> None:
    parallelism = part.parse("parallelism", lambda value: parse_whole(scalar_text(value), "number of tasks"))
    config.parallelism = 1 if parallelism is None else parallelism  # 0 is: all at once
    for key in ("delay", "monitor"):
        duration = part.parse(key, parse_duration)
        if duration is not None:
            getattr(config, key).CopyFrom(duration)
    action = part.parse("failure_action", lambda value: _choice(value, _ACTIONS, "failure action"))
    config.failure_action = UpdateConfig.PAUSE_UPDATE if action is None else action
    order = part.parse("order", lambda value: _choice(value, _ORDERS, "order"))
    config.order = UpdateConfig.STOP_FIRST if order is None else order
    ratio = part.parse("max_failure_ratio", float) or 0.0
    if not 0 <= ratio <= 1:
        raise part.error("max_failure_ratio is between 0 and 1", (*part.position, "max_failure_ratio"))
    config.max_failure_ratio = ratio
    canary = part.parse("x-canary", lambda value: parse_share(str(value)))
    if canary is not None:
        config.canary.CopyFrom(canary)
    part.finish()
