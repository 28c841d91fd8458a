"""The flags of `service create` and `service update` about the container itself, under docker's names.

A flag with one value has one name in both commands.  One that may be given several times is `--dns` in create, and
`--dns-add` and `--dns-rm` in update.
"""

import copy
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from swarm_api.specs_pb2 import ContainerSpec, Device, DeviceRequest, Ulimit

from swarm_cli.fields import parse_fields, split_pair
from swarm_cli.parsed import Parsed
from swarm_cli.quantities import parse_size, parse_whole

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PULL = {"missing": ContainerSpec.MISSING, "always": ContainerSpec.ALWAYS, "never": ContainerSpec.NEVER}


def parse_device(text: str) -> Device:
    """`/dev/HOST[:/dev/CONTAINER[:rwm]]`."""
    host, *rest = text.split(":")
    if not host.startswith("/") or len(rest) > 2:
        raise ValueError(f"{text!r} is no device: write /dev/HOST[:/dev/CONTAINER[:rwm]].")
    target, permissions = (rest + [""] * 2)[:2]
    if target and not target.startswith("/"):
        target, permissions = "", target
    if set(permissions) - set("rwm"):
        raise ValueError(f"{permissions!r} are no permissions of a device: use some of r, w and m.")
    return Device(host_path=host, container_path=target or host, permissions=permissions or "rwm")


def parse_ulimit(text: str) -> Ulimit:
    """`nofile=1024` or `nofile=1024:2048`; -1: no limit."""
    name, value = split_pair(text, "ulimit")
    soft, _, hard = value.partition(":")
    try:
        return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))
    except ValueError:
        raise ValueError(f"{text!r} is no ulimit: write NAME=SOFT[:HARD], such as nofile=1024:2048.") from None


def parse_gpus(text: str) -> DeviceRequest:
    """`all`, a number, or `count=2,driver=nvidia`, `device=0`, `capabilities=compute`."""
    request = DeviceRequest(capabilities=["gpu"])
    if "=" not in text:
        request.count = _gpu_count(text)
        return request
    fields = parse_fields(text, "--gpus", ("count", "device", "driver", "capabilities"))
    request.driver = fields.get("driver", "")
    request.device_ids.extend(next(csv.reader([fields.get("device", "")]), []))
    request.capabilities.extend(next(csv.reader([fields.get("capabilities", "")]), []))
    if not request.device_ids:
        request.count = _gpu_count(fields.get("count", "all"))
    elif "count" in fields:
        raise ValueError("--gpus takes a count or devices, not both.")
    return request


def _gpu_count(text: str) -> int:
    return -1 if text == "all" else parse_whole(text, "number of GPUs")


def _parse_swap(text: str) -> int:
    return -1 if text == "-1" else parse_size(text)


@dataclass(frozen=True, slots=True)
class _List:
    """A flag that may be given several times; `key` tells which earlier one it replaces, and what --*-rm names."""

    flag: str
    field: str  # of the container, with a dot where it is a part's
    metavar: str
    help: str
    parse: Callable[[str], Any] = str
    key: Callable[[Any], str] = str

    @property
    def type(self) -> Any:
        """For click."""
        return click.STRING if self.parse is str else Parsed(self.flag, self.parse)

    @property
    def stem(self) -> str:
        """As the names of parameters have it."""
        return self.flag.replace("-", "_")

    def held(self, container: ContainerSpec) -> Any:
        """The field itself."""
        part, _, field = self.field.rpartition(".")
        return getattr(getattr(container, part) if part else container, field)


def _pair(text: str) -> tuple[str, str]:
    return split_pair(text, "option")


_LISTS = (
    _List("host", "hosts", "NAME:ADDRESS", "An extra host name in the containers."),
    _List("dns", "dns_config.nameservers", "ADDRESS", "A name server for the containers."),
    _List("dns-search", "dns_config.search", "DOMAIN", "A domain in which names are looked up."),
    _List("dns-option", "dns_config.options", "OPTION", "An option of resolv.conf."),
    _List("group", "groups", "GROUP", "A further group of the user."),
    _List("ulimit", "ulimits", "NAME=SOFT[:HARD]", "A limit of its processes.", parse_ulimit, lambda u: str(u.name)),
    _List(
        "device", "devices", "PATH[:TARGET[:rwm]]", "A device of its node.", parse_device, lambda d: d.container_path
    ),
    _List("device-cgroup-rule", "device_cgroup_rules", "RULE", "Devices it may use, such as 'c 1:3 rwm'."),
    _List("security-opt", "security_opt", "OPTION", "A security option, such as no-new-privileges=true."),
)
_MAPS = (
    _List("sysctl", "sysctls", "KEY=VALUE", "A kernel setting of the container's own.", _pair),
    _List("storage-opt", "storage_opt", "KEY=VALUE", "An option of the storage driver.", _pair),
    _List("annotation", "annotations", "KEY=VALUE", "An annotation for the runtime.", _pair),
)
_SINGLE = {  # flag -> field of the container
    "interactive": "open_stdin",
    "privileged": "privileged",
    "domainname": "domainname",
    "shm_size": "shm_size_bytes",
    "pid": "pid_mode",
    "ipc": "ipc_mode",
    "uts": "uts_mode",
    "userns": "userns_mode",
    "cgroupns": "cgroupns_mode",
    "cgroup_parent": "cgroup_parent",
    "runtime": "runtime",
    "oom_score_adj": "oom_score_adj",
    "oom_kill_disable": "oom_kill_disable",
    "memory_swap": "memory_swap_bytes",
    "memory_swappiness": "memory_swappiness",
    "cpu_shares": "cpu_shares",
    "cpuset_cpus": "cpuset_cpus",
}


def single_options() -> list[Callable[[Any], Any]]:
    """The flags that are the same in both commands."""
    option, size = click.option, Parsed("bytes", parse_size)
    return [
        option("--interactive/--no-interactive", "-i", default=None, help="Keep the container's standard input open."),
        option("--privileged/--no-privileged", default=None, help="All power over the node, if the cluster allows."),
        option("--domainname", help="The containers' domain name."),
        option("--pull", type=click.Choice(list(_PULL)), help="When a node fetches the image."),
        option("--gpus", type=Parsed("gpus", parse_gpus), metavar="all|N|device=...", help="GPUs of its node."),
        option("--shm-size", type=size, help="The size of /dev/shm, such as 64m."),
        option("--pid", metavar="host", help="The namespace of its processes."),
        option("--ipc", metavar="private|shareable|host|none", help="The namespace of its shared memory."),
        option("--uts", metavar="host", help="The namespace of its host name."),
        option("--userns", metavar="host", help="The namespace of its users."),
        option("--cgroupns", metavar="private|host", help="The namespace of its control groups."),
        option("--cgroup-parent", help="The control group its own is made in."),
        option("--runtime", help="The engine's runtime that runs it."),
        option("--oom-score-adj", type=click.IntRange(-1000, 1000), help="How soon the kernel ends it for memory."),
        option("--oom-kill-disable/--no-oom-kill-disable", default=None, help="Never end it for memory."),
        option("--memory-swap", type=Parsed("bytes", _parse_swap), help="Memory and swap at most; -1: any swap."),
        option("--memory-swappiness", type=click.IntRange(0, 100), help="How soon it is swapped out."),
        option("--cpu-shares", type=click.IntRange(min=0), help="Its weight against other containers (1024)."),
        option("--cpuset-cpus", metavar="0-3,7", help="The CPUs it may run on."),
        option("--cap-add", multiple=True, metavar="CAPABILITY", help="Give the container a Linux capability."),
        option("--cap-drop", multiple=True, metavar="CAPABILITY", help="Take a Linux capability from it."),
    ]


def create_list_options(command: _Command) -> _Command:
    """The flags of create that may be given several times."""
    for one in reversed((*_LISTS, *_MAPS)):
        add = click.option(
            f"--{one.flag}", f"{one.stem}_add", multiple=True, type=one.type, metavar=one.metavar, help=one.help
        )
        command = add(command)
    return command


def update_list_options(command: _Command) -> _Command:
    """The same for update: --*-add and --*-rm."""
    for one in reversed((*_LISTS, *_MAPS)):
        what = one.metavar.partition("=")[0].partition("[")[0]
        remove = click.option(f"--{one.flag}-rm", multiple=True, metavar=what, help="Take it out.")
        add = click.option(f"--{one.flag}-add", multiple=True, type=one.type, metavar=one.metavar, help=one.help)
        command = add(remove(command))
    return command


def apply_container_flags(container: ContainerSpec, flags: Mapping[str, Any]) -> None:
    """Change `container` by the flags that were given."""
    for flag, field in _SINGLE.items():
        if flags.get(flag) is not None:
            setattr(container, field, flags[flag])
    if flags.get("pull") is not None:
        container.pull_policy = _PULL[flags["pull"]]
    if flags.get("gpus") is not None:
        del container.device_requests[:]
        container.device_requests.append(flags["gpus"])
    for one in _LISTS:
        _apply_list(one, container, flags)
    for one in _MAPS:
        _apply_map(one, container, flags)
    _apply_capabilities(container, flags.get("cap_add") or (), flags.get("cap_drop") or ())


def _apply_list(one: _List, container: ContainerSpec, flags: Mapping[str, Any]) -> None:
    added, removed = flags.get(f"{one.stem}_add") or (), flags.get(f"{one.stem}_rm") or ()
    if not added and not removed:
        return
    held = one.held(container)
    kept = {one.key(item): copy.deepcopy(item) for item in held if one.key(item) not in removed}
    kept.update((one.key(item), item) for item in added)
    del held[:]
    held.extend(kept.values())


def _apply_map(one: _List, container: ContainerSpec, flags: Mapping[str, Any]) -> None:
    for key in flags.get(f"{one.stem}_rm") or ():
        one.held(container).pop(key, None)
    for key, value in flags.get(f"{one.stem}_add") or ():
        one.held(container)[key] = value


def _apply_capabilities(container: ContainerSpec, added: Sequence[str], dropped: Sequence[str]) -> None:
    """What is added is dropped no more, and the other way round."""
    for new, held, other in (
        (added, container.cap_add, container.cap_drop),
        (dropped, container.cap_drop, container.cap_add),
    ):
        names = {_capability(name) for name in new}
        other[:] = [name for name in other if _capability(name) not in names]
        held[:] = [*(name for name in held if _capability(name) not in names), *new]


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")
