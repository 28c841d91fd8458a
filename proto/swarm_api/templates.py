"""Templates in a container's spec, which its node fills in: `NODE={{.Node.Hostname}}`.

They are Docker Swarm's, and stand where Docker Swarm has them: in the environment, the host name, and the mounts
(source, target, a volume's labels and driver options); also in the data of secrets and configs with `templating`.

    {{.Node.ID}} {{.Node.Hostname}} {{.Node.Platform.OS}} {{.Node.Platform.Architecture}}
    {{.Service.ID}} {{.Service.Name}} {{.Service.Labels.KEY}} {{index .Service.Labels "KEY"}}
    {{.Task.ID}} {{.Task.Name}} {{.Task.Slot}}
    {{"{{"}}  stands for two braces that begin no template

A label the service does not have is the empty text. Of a global service, which has no slots, the slot is the node's id.
Pure: the manager checks with the same code (`sample`) the worker expands by.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm_api.naming import container_name
from swarm_api.objects_pb2 import NodeDescription, Task
from swarm_api.specs_pb2 import ContainerSpec
from swarm_api.types_pb2 import Mount

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TEMPLATE = re.compile(rf"\{{\{{\s*((?:{_QUOTED}|[^\"}}])*?)\s*\}}\}}")
_LABEL = re.compile(rf"\.Service\.Labels\.(?P<key>\S+)|index\s+\.Service\.Labels\s+(?P<quoted>{_QUOTED})")
_ESCAPE = re.compile(r"\\(.)")
_FIELDS = (
    ".Node.ID",
    ".Node.Hostname",
    ".Node.Platform.OS",
    ".Node.Platform.Architecture",
    ".Service.ID",
    ".Service.Name",
    ".Task.ID",
    ".Task.Name",
    ".Task.Slot",
)


class TemplateError(ValueError):
    """A text has a template that means nothing; the text says which, and what to write."""


@dataclass(frozen=True, slots=True)
class Values:
    """What templates stand for: the fields by name (`.Node.ID`), and the service's labels."""

    fields: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


def values_of(task: Task, node_id: str, node: NodeDescription) -> Values:
    """What templates stand for in a task on its node."""
    fields = {
        ".Node.ID": node_id,
        ".Node.Hostname": node.hostname,
        ".Node.Platform.OS": node.platform.os,
        ".Node.Platform.Architecture": node.platform.architecture,
        ".Service.ID": task.service_id,
        ".Service.Name": task.service_annotations.name,
        ".Task.ID": task.id,
        ".Task.Name": container_name(task),
        ".Task.Slot": str(task.slot) if task.slot else node_id,
    }
    return Values(fields, dict(task.service_annotations.labels))


def expand(text: str, values: Values) -> str:
    """The text with its templates filled in; TemplateError when one of them means nothing."""
    if "{{" not in text:
        return text
    parts, end = [], 0
    for match in _TEMPLATE.finditer(text):
        parts += [_plain(text[end : match.start()]), _value(match[1], values)]
        end = match.end()
    return "".join([*parts, _plain(text[end:])])


def _plain(text: str) -> str:
    if "{{" in text:
        raise TemplateError(
            f"the template {text[text.index('{{') :][:40]!r} has no end; close it with '}}}}', or write "
            '{{"{{"}} for two plain braces'
        )
    return text


def _value(expression: str, values: Values) -> str:
    if expression in values.fields:
        return values.fields[expression]
    if re.fullmatch(_QUOTED, expression):
        return _unquoted(expression)
    label = _LABEL.fullmatch(expression)
    if label is None:
        raise TemplateError(
            f"{{{{{expression}}}}} is no template; there are {', '.join(_FIELDS)} and .Service.Labels.KEY, and "
            '{{"{{"}} stands for two plain braces'
        )
    key = label["key"] or _unquoted(label["quoted"])
    return values.labels.get(key, "")


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(r"\1", text[1:-1])


def expand_container(spec: ContainerSpec, values: Values) -> ContainerSpec:
    """A copy of the spec with all templates filled in; TemplateError names the field of one that means nothing."""
    expanded = ContainerSpec()
    expanded.CopyFrom(spec)
    with _naming("hostname"):
        expanded.hostname = expand(spec.hostname, values)
    for number, entry in enumerate(spec.env):
        with _naming("env"):
            expanded.env[number] = expand(entry, values)
    for mount in expanded.mounts:
        with _naming("mounts"):
            _expand_mount(mount, values)
    return expanded


def _expand_mount(mount: Mount, values: Values) -> None:
    mount.source = expand(mount.source, values)
    mount.target = expand(mount.target, values)
    for texts in (mount.volume_labels, mount.volume_driver_opts):
        for key in texts:
            texts[key] = expand(texts[key], values)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except TemplateError as error:
        raise TemplateError(f"task.container.{name}: {error}") from error


def sample(spec: ContainerSpec) -> ContainerSpec:
    """The spec as some task might have it, each template an `x`, so that the rest of it can be checked.

    TemplateError says which template means nothing.
    """
    return expand_container(spec, _some_values())


def data_template_problems(data: bytes) -> Iterator[str]:
    """What is wrong with the templates of a secret or config that has some."""
    try:
        expand(data.decode(), _some_values())
    except UnicodeDecodeError:
        yield "data is no UTF-8 text, so it can have no templates; leave templating out."
    except TemplateError as error:
        yield f"data: {error}."


def _some_values() -> Values:
    return Values(dict.fromkeys(_FIELDS, "x"), _EveryLabel())


class _EveryLabel(dict[str, str]):
    def get(self, key: str, default: Any = None) -> str:  # noqa: ARG002 - dict's
        return "x"
