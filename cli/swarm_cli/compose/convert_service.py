"""One service of a compose file as a ServiceSpec."""

import ipaddress
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_api.naming import STACK_LABEL, name_error
from swarm_api.specs_pb2 import ContainerSpec, Device, ServiceDependency, ServiceSpec, Ulimit
from swarm_api.types_pb2 import HealthConfig, PortConfig

from swarm_cli.classic import take_placement
from swarm_cli.compose.convert_deploy import apply_deploy
from swarm_cli.compose.convert_files import config_references, secret_references
from swarm_cli.compose.convert_mounts import mounts
from swarm_cli.compose.convert_networks import attachments
from swarm_cli.compose.load import Project
from swarm_cli.compose.part import Part, pairs, scalar_text, texts
from swarm_cli.compose.validate import dependencies
from swarm_cli.compose.variables import read_env_file
from swarm_cli.container_flags import parse_device
from swarm_cli.ports import is_any_address, parse_protocol, parse_publish_mode, parse_range, parse_short
from swarm_cli.quantities import parse_duration, parse_size

if TYPE_CHECKING:
    from swarm_cli.compose.convert import Names

_CONDITIONS = {
    "service_started": ServiceDependency.STARTED,
    "service_healthy": ServiceDependency.HEALTHY,
    "service_completed_successfully": ServiceDependency.COMPLETED,
}
_PULL = {
    "always": ContainerSpec.ALWAYS,
    "never": ContainerSpec.NEVER,
    "missing": ContainerSpec.MISSING,
    "if_not_present": ContainerSpec.MISSING,
}
#: Keys whose meaning a cluster keeps without doing anything: naming them would only make noise.
_WITHOUT_EFFECT = ("profiles", "expose")
_REASONS = {
    "build": "images are not built here; build and push the image, or load it on the nodes, and name it in 'image'",
    "container_name": "a service may have many containers, so the cluster names them",
    "links": "services in one network reach each other by name without it",
    "attach": "the cluster runs containers in the background",
    "develop": "it is for development on one machine",
}


def service_spec(project: Project, names: "Names", short: str, part: Part) -> ServiceSpec:
    """The service's spec; ComposeError names a value that is wrong."""
    spec = ServiceSpec()
    spec.annotations.name = names.service(short)
    reason = name_error(spec.annotations.name, "service")
    if reason:
        raise part.error(reason)
    apply_deploy(spec, part)
    _identity(spec.task.container, part, names.stack)
    _commands(spec.task.container, part)
    spec.task.container.env.extend(environment(project, part))
    _classic_placement(spec, names, project, part)
    _health(spec.task.container.healthcheck, part)
    _isolation(spec.task.container, part)
    spec.task.container.mounts.extend(mounts(project, names, part))
    spec.task.container.secrets.extend(secret_references(names, part))
    spec.task.container.configs.extend(config_references(names, part))
    spec.task.networks.extend(attachments(names, short, part))
    spec.endpoint.ports.extend(ports(part))
    _logging(spec, part)
    _depends_on(spec, names, project, part)
    for key in _WITHOUT_EFFECT:
        part.take(key)
    part.finish(_REASONS)
    return spec


def _classic_placement(spec: ServiceSpec, names: "Names", project: Project, part: Part) -> None:
    """Placement that is written into the environment, as classic Swarm's compose files have it."""

    def rename(name: str) -> str:
        return names.service(name) if name in project.services else name

    try:
        take_placement(spec.task, rename)
    except ValueError as error:
        raise part.error(str(error), (*part.position, "environment")) from error


def _identity(container: ContainerSpec, part: Part, stack: str) -> None:
    container.image = str(part.take("image", ""))
    if not container.image:
        raise part.error("it has no image: a cluster cannot build one; name an image the nodes have or can pull")
    container.labels.update({key: value or "" for key, value in pairs(part.take("labels")).items()})
    container.labels[STACK_LABEL] = stack
    container.hostname = str(part.take("hostname", ""))
    container.domainname = str(part.take("domainname", ""))
    container.user = str(part.take("user", ""))
    container.dir = str(part.take("working_dir", ""))
    container.groups.extend(texts(part.take("group_add")))
    container.tty = bool(part.take("tty", False))
    container.open_stdin = bool(part.take("stdin_open", False))
    container.read_only = bool(part.take("read_only", False))
    init = part.take("init")
    if init is not None:
        container.init = bool(init)
    policy = part.take("pull_policy")
    if policy is not None and policy not in _PULL:
        part.notes.warn(
            (*part.position, "pull_policy"), f"is {policy!r}, which is not supported yet: 'missing' is used."
        )
    container.pull_policy = _PULL.get(policy or "missing", ContainerSpec.MISSING)


def _commands(container: ContainerSpec, part: Part) -> None:
    for key, field in (("entrypoint", container.command), ("command", container.args)):
        words = part.parse(key, _words)
        field.extend(words or [])
    container.stop_signal = str(part.take("stop_signal", ""))
    grace = part.parse("stop_grace_period", parse_duration)
    if grace is not None:
        container.stop_grace_period.CopyFrom(grace)


def _words(value: Any) -> list[str]:
    """A command as a list, or as one string that is split as a shell would."""
    if isinstance(value, list):
        return [scalar_text(word) for word in value]
    try:
        return shlex.split(str(value))
    except ValueError as error:
        raise ValueError(f"the command cannot be split into words: {error}") from error


def environment(project: Project, part: Part) -> list[str]:
    """`env_file` first, then `environment` over it; a NAME without a value comes from the shell, if it is there."""
    found: dict[str, str | None] = {}
    for item, position in part.items("env_file"):
        entry = Part({"path": item} if isinstance(item, str) else item, position, part.notes)
        path = project.folder / Path(str(entry.take("path", ""))).expanduser()
        is_required, form = entry.take("required", True), entry.take("format", "")
        entry.finish()
        if path.exists() or is_required is not False:
            found.update(read_env_file(path, project.lookup, is_raw=form == "raw"))
    for key, value in pairs(part.take("environment")).items():
        if not key:
            raise part.error("a variable has no name", (*part.position, "environment"))
        found[key] = project.lookup(key) if value is None else value
    return [f"{key}={value}" for key, value in found.items() if value is not None]


def _health(check: HealthConfig, part: Part) -> None:
    health = part.part("healthcheck")
    is_disabled = bool(health.take("disable", False))
    test = health.take("test")
    if is_disabled:
        check.test.append("NONE")
    elif isinstance(test, str):
        check.test.extend(["CMD-SHELL", test])
    elif test:
        if test[0] not in ("NONE", "CMD", "CMD-SHELL"):
            raise health.error("a test that is a list begins with CMD, CMD-SHELL or NONE", (*health.position, "test"))
        check.test.extend(texts(test))
    for key in ("interval", "timeout", "start_period", "start_interval"):
        duration = health.parse(key, parse_duration)
        if duration is not None:
            getattr(check, key).CopyFrom(duration)
    check.retries = int(health.take("retries", 0))
    health.finish()


def _isolation(container: ContainerSpec, part: Part) -> None:
    """What the container may do, and what it sees of the machine."""
    container.privileged = bool(part.take("privileged", False))
    for key in ("cap_add", "cap_drop", "security_opt"):
        getattr(container, key).extend(texts(part.take(key)))
    container.sysctls.update({key: value or "" for key, value in pairs(part.take("sysctls")).items()})
    container.hosts.extend(_hosts(part))
    container.dns_config.nameservers.extend(texts(part.take("dns")))
    container.dns_config.search.extend(texts(part.take("dns_search")))
    container.dns_config.options.extend(texts(part.take("dns_opt")))
    container.shm_size_bytes = part.parse("shm_size", parse_size) or 0
    container.memory_swap_bytes = part.parse("memswap_limit", _swap) or 0
    for key, attribute in (
        ("pid", "pid_mode"),
        ("ipc", "ipc_mode"),
        ("userns_mode", "userns_mode"),
        ("uts", "uts_mode"),
        ("cgroup", "cgroupns_mode"),
        ("runtime", "runtime"),
        ("isolation", "isolation"),
        ("cpuset", "cpuset_cpus"),
        ("cgroup_parent", "cgroup_parent"),
    ):
        setattr(container, attribute, str(part.take(key, "")))
    container.cpu_shares = int(part.take("cpu_shares", 0))
    container.device_cgroup_rules.extend(texts(part.take("device_cgroup_rules")))
    container.oom_score_adj = int(part.take("oom_score_adj", 0))
    container.oom_kill_disable = bool(part.take("oom_kill_disable", False))
    swappiness = part.take("mem_swappiness")
    if swappiness is not None:
        container.memory_swappiness = int(swappiness)
    container.storage_opt.update({key: scalar_text(value) for key, value in part.take("storage_opt", {}).items()})
    container.annotations.update({key: value or "" for key, value in pairs(part.take("annotations")).items()})
    container.devices.extend(_device(item, Part({}, position, part.notes)) for item, position in part.items("devices"))
    container.ulimits.extend(_ulimits(part.part("ulimits")))


def _swap(value: Any) -> int:
    return -1 if str(value) == "-1" else parse_size(value)


def _hosts(part: Part) -> list[str]:
    written = part.take("extra_hosts")
    if isinstance(written, dict):
        return [f"{name}:{address}" for name, addresses in written.items() for address in texts(addresses)]
    found = []
    for number, item in enumerate(written or []):
        name, sign, address = str(item).partition("=") if "=" in str(item) else str(item).partition(":")
        if not sign or not name or not address:
            place = (*part.position, "extra_hosts", number)
            raise part.error(f"{item!r} is no extra host: write NAME=ADDRESS", place)
        found.append(f"{name}:{address.strip('[]')}")
    return found


def _device(item: Any, place: Part) -> Device:
    if isinstance(item, dict):
        part = Part(item, place.position, place.notes)
        source = str(part.take("source", ""))
        device = Device(
            host_path=source,
            container_path=str(part.take("target", source)),
            permissions=str(part.take("permissions", "rwm")),
        )
        part.finish()
        return device
    return place.parsed(str(item), parse_device, place.position)


def _ulimits(part: Part) -> list[Ulimit]:
    found = []
    for name in part.left():
        limit = part.take(name)
        both = limit if isinstance(limit, dict) else {"soft": limit, "hard": limit}
        place = (*part.position, name)
        soft, hard = (part.parsed(both.get(key), _ulimit, place) for key in ("soft", "hard"))
        found.append(Ulimit(name=name, soft=soft, hard=hard))
    return found


def _ulimit(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no limit: write a whole number, or -1 for none") from None


def ports(part: Part) -> list[PortConfig]:
    """The published ports."""
    found = []
    for item, position in part.items("ports"):
        place = Part(item if isinstance(item, dict) else {}, position, part.notes)
        found.extend(_long_port(place) if isinstance(item, dict) else _short_port(scalar_text(item), place))
    return found


def _short_port(text: str, place: Part) -> list[PortConfig]:
    found, host_ip = place.parsed(text, parse_short, place.position)
    _refuse_address(place, host_ip)
    return found


def _refuse_address(place: Part, host_ip: str) -> None:
    """A port of the mesh answers everywhere: to open it in silence would betray who wrote 127.0.0.1."""
    if host_ip and not is_any_address(host_ip):
        raise place.error(
            f"it names the host address {host_ip}, but a published port answers on all addresses of all nodes: leave "
            f"the address out, or write the long form with 'mode: host', which binds {host_ip} on the task's node alone"
        )


def _long_port(part: Part) -> list[PortConfig]:
    targets = part.parsed(str(part.take("target", "")), lambda text: parse_range(text, text), part.position)
    published_text = scalar_text(part.take("published", ""))
    published = [0] * len(targets)
    if published_text not in ("", "0"):
        published = part.parsed(published_text, lambda text: parse_range(text, text), part.position)
    if len(published) != len(targets):
        raise part.error("the published ports are not as many as the targets", (*part.position, "published"))
    common = PortConfig(
        name=str(part.take("name", "")),
        protocol=part.parse("protocol", lambda value: parse_protocol(str(value))) or PortConfig.TCP,
        publish_mode=part.parse("mode", lambda value: parse_publish_mode(str(value))) or PortConfig.INGRESS,
    )
    host_ip = str(part.take("host_ip", ""))
    if host_ip:
        part.parsed(host_ip, ipaddress.ip_address, (*part.position, "host_ip"))
        if common.publish_mode == PortConfig.INGRESS:
            _refuse_address(part, host_ip)
        elif not is_any_address(host_ip):
            common.host_ip = host_ip
    part.take("app_protocol")  # it tells people, and proxies, what is spoken there
    part.finish()
    found = []
    for target, outer in zip(targets, published, strict=True):
        port = PortConfig(target_port=target, published_port=outer)
        port.MergeFrom(common)
        found.append(port)
    return found


def _logging(spec: ServiceSpec, part: Part) -> None:
    logging = part.part("logging")
    driver, options = logging.take("driver", ""), logging.take("options", {})
    if driver or options:
        spec.task.log_driver.name = str(driver)
        spec.task.log_driver.options.update({key: scalar_text(value) for key, value in options.items()})
    logging.finish()


def _depends_on(spec: ServiceSpec, names: "Names", project: Project, part: Part) -> None:
    for name, options in dependencies({"depends_on": part.take("depends_on")}).items():
        option = Part(options, (*part.position, "depends_on", name), part.notes)
        condition = str(option.take("condition", "service_started"))
        is_required = option.take("required", True)
        if option.take("restart", False):
            option.notes.warn((*option.position, "restart"), "is not supported yet and has no effect.")
        option.finish()
        if name in project.services or is_required:
            spec.depends_on.append(
                ServiceDependency(
                    service=names.service(name), condition=_CONDITIONS[condition], optional=not is_required
                )
            )
