"""Placement constraints: `node.labels.disk == ssd`. Read here; the scheduler asks them of nodes.

A value is a pattern as in classic Swarm (see `patterns`): `web*`, `/regex/`, or just itself.  `==~` and `!=~` are soft:
nodes that meet them are taken first, and any other when there is none.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from swarm_api.objects_pb2 import Node
from swarm_api.patterns import Pattern, PatternError, parse_pattern
from swarm_api.types_pb2 import NodeRole


class ConstraintError(ValueError):
    """A constraint that cannot be read; the message is a sentence for people."""


_FORM = re.compile(r"\s*(?P<key>[^\s=!]+)\s*(?P<operator>==|!=)(?P<soft>~?)\s*(?P<value>.*?)\s*")
_VALUE = re.compile(r"[A-Za-z0-9:\-_.*()?+\[\]\\^$|/ ]+")


def _role(node: Node) -> str:
    return NodeRole.Name(node.spec.role).lower()


#: What can be asked of a node. Role is the wanted one, as in Docker Swarm.
_FIELDS: Mapping[str, Callable[[Node], str]] = {
    "node.id": lambda node: node.id,
    "node.hostname": lambda node: node.description.hostname,
    "node.ip": lambda node: node.status.address,
    "node.role": _role,
    "node.platform.os": lambda node: node.description.platform.os,
    "node.platform.arch": lambda node: node.description.platform.architecture,
    "engine.storagedriver": lambda node: node.description.engine.storage_driver,
    "engine.kernelversion": lambda node: node.description.engine.kernel_version,
}
_LABELS: Mapping[str, Callable[[Node], Mapping[str, str]]] = {
    "node.labels.": lambda node: node.spec.annotations.labels,
    "engine.labels.": lambda node: node.description.engine.labels,
}
_KEYS_TEXT = f"{', '.join(_FIELDS)}, node.labels.NAME and engine.labels.NAME"

#: Names that people use for the same architecture.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i386": "386", "i686": "386"}


@dataclass(frozen=True, slots=True)
class Constraint:
    """One condition on a node."""

    text: str
    key: str
    equal: bool
    value: Pattern
    soft: bool = False

    def matches(self, node: Node) -> bool:
        """Whether the node meets the condition. A label that is not there equals nothing."""
        have = value_of(node, self.key)
        return (have is not None and self.value.matches(have)) is self.equal


def value_of(node: Node, key: str) -> str | None:
    """What a node has under a key, in the form that is compared; None for a label it does not have."""
    if (field := _FIELDS.get(key)) is not None:
        return _normal(key, field(node))
    prefix = _label_prefix(key)
    return _LABELS[prefix](node).get(key[len(prefix) :])


def parse_constraint(text: str) -> Constraint:
    """The constraint that `text` says. Raises ConstraintError."""
    found = _FORM.fullmatch(text)
    if found is None or not found["value"]:
        raise ConstraintError(f"The constraint {text!r} is not of the form KEY == VALUE or KEY != VALUE.")
    key, value = known_key(found["key"], f"The constraint {text!r}"), found["value"]
    if not _VALUE.fullmatch(value):
        raise ConstraintError(f"The constraint {text!r} has a value with characters that cannot be compared.")
    if key == "node.role" and value.lower() not in ("manager", "worker") and value.isalpha():
        raise ConstraintError(f"The constraint {text!r} asks for a role that is neither manager nor worker.")
    try:
        pattern = parse_pattern(value if value.startswith("/") else _normal(key, value))
    except PatternError as error:
        raise ConstraintError(f"The constraint {text!r} has a value that cannot be used: {error}") from error
    return Constraint(text.strip(), key, found["operator"] == "==", pattern, bool(found["soft"]))


def parse_constraints(texts: Iterable[str], *, skip_unreadable: bool = False) -> list[Constraint]:
    """All of them. Raises ConstraintError for the first that cannot be read, unless those are to be skipped."""
    found = []
    for text in texts:
        try:
            found.append(parse_constraint(text))
        except ConstraintError:
            if not skip_unreadable:
                raise
    return found


def known_key(key: str, user: str) -> str:
    """The key as it is compared; ConstraintError, which begins with `user`, when nodes have no such thing."""
    if key.lower() in _FIELDS:
        return key.lower()
    prefix = _label_prefix(key)
    if not prefix or len(key) == len(prefix):
        raise ConstraintError(f"{user} asks for {key!r}; known are {_KEYS_TEXT}.")
    return prefix + key[len(prefix) :]


def _label_prefix(key: str) -> str:
    return next((prefix for prefix in _LABELS if key.lower().startswith(prefix)), "")


def _normal(key: str, value: str) -> str:
    if key == "node.platform.arch":
        return _ARCHITECTURES.get(value.lower(), value.lower())
    return value.lower() if key in ("node.role", "node.platform.os") else value


def same_architecture(one: str, other: str) -> bool:
    """Whether two names mean the same architecture (amd64 and x86_64)."""
    return _normal("node.platform.arch", one) == _normal("node.platform.arch", other)
