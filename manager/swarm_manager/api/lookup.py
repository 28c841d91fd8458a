"""Finding objects by what people type (an id, a unique beginning of one, or a name), and the filters of lists."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message
from swarm_api.control_pb2 import Filter
from swarm_api.objects_pb2 import Node, ObjectKind, Stack, Task
from swarm_api.types_pb2 import Annotations

from swarm_manager.core.kinds import KINDS
from swarm_manager.core.snapshot import View
from swarm_manager.errors import BadRequestError, NotFoundError

M = TypeVar("M", bound=Message)
_SHOWN = 3


def annotations_of(thing: Any) -> Annotations:
    """The name and labels of any object."""
    if isinstance(thing, Stack):
        return thing.annotations
    if isinstance(thing, Task):
        return thing.service_annotations
    annotations: Annotations = thing.spec.annotations
    return annotations


def shown_name(thing: Any) -> str:
    """What people call it: a node by its machine's host name unless it was given another."""
    if isinstance(thing, Node):
        return thing.spec.annotations.name or thing.description.hostname or thing.id
    if isinstance(thing, Task):
        return f"{thing.service_annotations.name}.{thing.slot or thing.node_id}"
    return annotations_of(thing).name


def find(view: View, kind: "ObjectKind.ValueType", text: str, type_: type[M]) -> M:
    """The one object meant by `text`; NotFoundError, or BadRequestError when there are several."""
    noun = KINDS[kind].noun
    if not text:
        raise BadRequestError(f"which {noun}? give its id or its name")
    ids = view.ids_matching(kind, text)
    if len(ids) > 1:
        shown = ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
        raise BadRequestError(f"{text!r} means {len(ids)} {noun}s ({shown}): use a whole id")
    found = view.get(kind, ids[0]) if ids else None
    if not isinstance(found, type_):
        raise NotFoundError(f"there is no {noun} {text!r}")
    return found


def matches(wanted: Filter, thing: Any) -> bool:
    """Whether every filter that is set has a value that fits."""
    tests = (
        not wanted.ids or thing.id in wanted.ids,
        not wanted.id_prefixes or thing.id.startswith(tuple(wanted.id_prefixes)),
        not wanted.names or shown_name(thing) in wanted.names,
        not wanted.name_prefixes or shown_name(thing).startswith(tuple(wanted.name_prefixes)),
        not wanted.labels or _labels_match(wanted.labels, thing),
    )
    return all(tests)


def _labels_match(wanted: Mapping[str, str], thing: Any) -> bool:
    labels = annotations_of(thing).labels
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())


def select(things: Iterable[M], wanted: Filter) -> list[M]:
    """What the filter lets through, by name and id."""
    chosen = [thing for thing in things if matches(wanted, thing)]
    return sorted(chosen, key=lambda thing: (shown_name(thing), thing.id))  # type: ignore[attr-defined]  # has an id
