"""Affinities: `service == db` keeps a task beside others, `image != redis*` away from them.

Kinds, and what the pattern is compared with:
    service     the name or id of a task's service
    container   the task's name (`web.1`), the id of the task, the name of its container
    image       the task's image, with its tag or without
    label       `KEY=PATTERN`: a label of the service or of the container
A pattern is a word, a glob or `/regex/` (see `patterns`).  Only tasks that are wanted on a node count.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from swarm_api.naming import container_name, task_name
from swarm_api.objects_pb2 import Task
from swarm_api.patterns import Pattern, PatternError, parse_pattern
from swarm_api.specs_pb2 import Affinity

_FORM = re.compile(r"\s*(?P<key>[^\s=!]+)\s*(?P<operator>==|!=)(?P<soft>~?)\s*(?P<pattern>\S.*?)\s*")
_LABEL = "label"


class AffinityError(ValueError):
    """An affinity that cannot be read; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One affinity, ready to be asked of tasks."""

    text: str
    anti: bool
    soft: bool
    matches: Callable[[Task], bool]


def affinity_from_text(text: str) -> Affinity:
    """`service == db`, `container != web*`, `image ==~ redis`, `tier == front` (a label). Raises AffinityError."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise AffinityError(f"The affinity {text!r} is not of the form KEY == PATTERN or KEY != PATTERN.")
    key, pattern = found["key"], found["pattern"]
    kind = key.lower()
    if kind not in _NAMES_OF:
        label = key[len("label.") :] if kind.startswith("label.") else key
        kind, pattern = _LABEL, f"{label}={pattern}"
    affinity = Affinity(kind=kind, pattern=pattern, anti=found["operator"] == "!=", soft=bool(found["soft"]))
    parse_affinity(affinity)
    return affinity


def affinity_text(affinity: Affinity) -> str:
    """As people write it."""
    key, pattern = affinity.kind, affinity.pattern
    if affinity.kind == _LABEL:
        key, _, pattern = affinity.pattern.partition("=")
    return f"{key} {'!=' if affinity.anti else '=='}{'~' if affinity.soft else ''} {pattern}"


def parse_affinity(affinity: Affinity) -> Rule:
    """The rule that an affinity of a spec says. Raises AffinityError."""
    text = affinity_text(affinity)
    try:
        if affinity.kind == _LABEL:
            test = _label_test(affinity.pattern)
        elif affinity.kind in _NAMES_OF and affinity.pattern:
            test = _names_test(_NAMES_OF[affinity.kind], parse_pattern(affinity.pattern))
        else:
            kinds = ", ".join((*_NAMES_OF, _LABEL))
            raise AffinityError(f"The affinity {text!r} needs a pattern, and a kind of: {kinds}.")
    except PatternError as error:
        raise AffinityError(f"The affinity {text!r} has a pattern that cannot be used: {error}") from error
    return Rule(text, affinity.anti, affinity.soft, test)


def _label_test(pattern: str) -> Callable[[Task], bool]:
    key, sign, value = pattern.partition("=")
    if not key or not sign:
        raise AffinityError(f"The affinity for the label {pattern!r} is not of the form KEY=PATTERN.")
    wanted = parse_pattern(value)

    def test(task: Task) -> bool:
        places = (task.service_annotations.labels, task.spec.container.labels)
        return any(key in labels and wanted.matches(labels[key]) for labels in places)

    return test


def _names_test(names: Callable[[Task], tuple[str, ...]], wanted: Pattern) -> Callable[[Task], bool]:
    return lambda task: any(wanted.matches(name) for name in names(task))


def _service_names(task: Task) -> tuple[str, ...]:
    return (task.service_annotations.name, task.service_id)


def _container_names(task: Task) -> tuple[str, ...]:
    return (task_name(task), task.id, container_name(task))


def _image_names(task: Task) -> tuple[str, ...]:
    image = task.spec.container.image.partition("@")[0]
    folder, slash, name = image.rpartition("/")
    return (image, f"{folder}{slash}{name.partition(':')[0]}")


_NAMES_OF: dict[str, Callable[[Task], tuple[str, ...]]] = {
    "service": _service_names,
    "container": _container_names,
    "image": _image_names,
}
