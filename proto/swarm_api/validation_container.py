"""Checks of what a container is made from."""

import re
import signal
from collections import Counter
from collections.abc import Iterator

from swarm_api.specs_pb2 import ContainerSpec
from swarm_api.templates import TemplateError, sample
from swarm_api.types_pb2 import FileTarget, HealthConfig, Mount
from swarm_api.validation_words import duration_problems

# As github.com/distribution/reference has it.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SHORTEST_HEALTH_NS = 10**6
_REALTIME_SIGNAL = re.compile(r"RTM(?:IN(?:\+\d{1,2})?|AX(?:-\d{1,2})?)")


def container_problems(spec: ContainerSpec) -> Iterator[str]:
    """What is wrong with a container's spec, one sentence each."""
    try:
        spec = sample(spec)
    except TemplateError as error:
        yield f"{error}."
        return
    yield from _image(spec.image)
    yield from _environment(spec)
    yield from _process(spec)
    yield from _shared_namespaces(spec)
    yield from _mounts(spec)
    yield from _files(spec)
    yield from _health(spec.healthcheck)
    for ulimit in spec.ulimits:
        if ulimit.hard != -1 and not -1 <= ulimit.soft <= ulimit.hard:
            yield f"task.container.ulimits sets {ulimit.name} softly to {ulimit.soft}, above its hard {ulimit.hard}."


def _image(image: str) -> Iterator[str]:
    if not image:
        yield "task.container.image is missing: a service needs an image."
    elif not _IMAGE.fullmatch(image):
        yield (
            f"task.container.image {image!r} is no image reference: use [REGISTRY/]NAME[:TAG], "
            "the name in lower-case letters and digits."
        )


def _environment(spec: ContainerSpec) -> Iterator[str]:
    for entry in spec.env:
        name = entry.partition("=")[0]
        if not name or any(c.isspace() or c == "\0" for c in name):
            yield f"task.container.env has the entry {entry!r}; use NAME=value, or NAME alone, without blanks in NAME."
    for entry in spec.hosts:
        name, separator, address = entry.partition(":")
        if not (name and separator and address):
            yield f"task.container.hosts has the entry {entry!r}; use NAME:ADDRESS."


def _process(spec: ContainerSpec) -> Iterator[str]:
    if spec.stop_signal and not is_signal(spec.stop_signal):
        yield f"task.container.stop_signal {spec.stop_signal!r} is no signal; use a name such as SIGTERM, or a number."
    yield from duration_problems("task.container", stop_grace_period=spec.stop_grace_period)
    if spec.dir and not spec.dir.startswith("/"):
        yield f"task.container.dir {spec.dir!r} is not an absolute path."
    if spec.hostname and not _HOSTNAME.fullmatch(spec.hostname):
        yield f"task.container.hostname {spec.hostname!r} is not a host name."


def _shared_namespaces(spec: ContainerSpec) -> Iterator[str]:
    for field in ("pid_mode", "ipc_mode"):
        kind = getattr(spec, field).partition(":")[0]
        if kind in ("container", "service"):
            yield f"task.container.{field} shares a namespace with another container, which may be on another node."


def is_signal(text: str) -> bool:
    """Whether `text` names a signal: SIGTERM, TERM, RTMIN+3, or a number."""
    if text.isdigit():
        return 1 <= int(text) <= 64
    name = text.upper().removeprefix("SIG")
    return f"SIG{name}" in signal.Signals.__members__ or _REALTIME_SIGNAL.fullmatch(name) is not None


def _mounts(spec: ContainerSpec) -> Iterator[str]:
    for mount in spec.mounts:
        yield from _mount(mount)
    for target, count in Counter(mount.target.rstrip("/") for mount in spec.mounts).items():
        if count > 1 and target:
            yield f"task.container.mounts mounts {count} things at {target}."


def _mount(mount: Mount) -> Iterator[str]:
    if not mount.target.startswith("/"):
        yield f"task.container.mounts has the target {mount.target!r}, which is not an absolute path."
    if mount.type == Mount.BIND and not mount.source.startswith("/"):
        yield f"task.container.mounts binds {mount.source!r}, which is not an absolute path on the node."
    if mount.type == Mount.VOLUME and mount.source and not _VOLUME.fullmatch(mount.source):
        yield f"task.container.mounts names the volume {mount.source!r}; use letters, digits, '_', '.' and '-'."
    if mount.type == Mount.TMPFS and mount.source:
        yield f"task.container.mounts gives the tmpfs at {mount.target} a source; it has none."
    if mount.tmpfs_size_bytes < 0:
        yield f"task.container.mounts gives the tmpfs at {mount.target} a negative size."


def _files(spec: ContainerSpec) -> Iterator[str]:
    secrets = [("secrets", ref.secret_id or ref.secret_name, ref.target) for ref in spec.secrets]
    configs = [("configs", ref.config_id or ref.config_name, ref.target) for ref in spec.configs]
    for field, source, target in (*secrets, *configs):
        yield from _file(field, source, target)
    for field, files in (("secrets", secrets), ("configs", configs)):
        for name, count in Counter(target.name for _, _, target in files).items():
            if count > 1 and name:
                yield f"task.container.{field} puts {count} files at {name}."


def _file(field: str, source: str, target: FileTarget) -> Iterator[str]:
    if not source:
        yield f"task.container.{field} has an entry that names nothing."
    for name, number in (("uid", target.uid), ("gid", target.gid)):
        if number and not number.isdigit():
            yield f"task.container.{field} has the {name} {number!r} for {source}; use a number."
    if target.mode > 0o7777:
        yield f"task.container.{field} has the mode {target.mode:o} for {source}; at most 7777 is one."


def _health(check: HealthConfig) -> Iterator[str]:
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        yield f"task.container.healthcheck.test begins with {check.test[0]!r}; use NONE, CMD or CMD-SHELL."
    elif len(check.test) == 1 and check.test[0] != "NONE":
        yield "task.container.healthcheck.test has no command."
    times = {name: getattr(check, name) for name in ("interval", "timeout", "start_period", "start_interval")}
    yield from duration_problems("task.container.healthcheck", **times)
    for name, time in times.items():
        if time.seconds == 0 and 0 < time.nanos < _SHORTEST_HEALTH_NS:
            yield f"task.container.healthcheck.{name} is shorter than a millisecond, which Docker refuses."
