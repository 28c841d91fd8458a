"""The kinds of objects: how each is called in a snapshot, in an `Object`, and by people."""

from dataclasses import dataclass

from swarm_api.objects_pb2 import (
    Cluster,
    Config,
    Network,
    Node,
    Object,
    ObjectKind,
    Secret,
    Service,
    Stack,
    Task,
)

#: Any one object that is kept in a snapshot.
Stored = Node | Service | Task | Network | Secret | Config | Stack | Cluster


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: `noun` is also its field in `Object`, `plural` its map in a snapshot."""

    number: int
    noun: str
    plural: str
    message: type[Stored]
    unique_names: bool = False


KINDS: dict[int, Kind] = {
    kind.number: kind
    for kind in (
        Kind(ObjectKind.CLUSTER, "cluster", "cluster", Cluster),
        Kind(ObjectKind.NODE, "node", "nodes", Node),
        Kind(ObjectKind.NETWORK, "network", "networks", Network, unique_names=True),
        Kind(ObjectKind.SECRET, "secret", "secrets", Secret, unique_names=True),
        Kind(ObjectKind.CONFIG, "config", "configs", Config, unique_names=True),
        Kind(ObjectKind.STACK, "stack", "stacks", Stack, unique_names=True),
        Kind(ObjectKind.SERVICE, "service", "services", Service, unique_names=True),
        Kind(ObjectKind.TASK, "task", "tasks", Task),
    )
}

KIND_OF_NOUN: dict[str, Kind] = {kind.noun: kind for kind in KINDS.values()}


def name_of(obj: Stored) -> str:
    """What people call the object; empty for what has no name of its own (tasks, unnamed nodes)."""
    if isinstance(obj, Task):
        return ""
    if isinstance(obj, Stack):
        return obj.annotations.name
    return obj.spec.annotations.name


def is_leaving(obj: Stored) -> bool:
    """Whether the object was removed by its user and only waits for what hangs on it to end."""
    return isinstance(obj, Service | Network) and obj.pending_delete


def wrap(kind: Kind, obj: Stored) -> Object:
    """The object as an `Object` (a copy)."""
    wrapped = Object()
    getattr(wrapped, kind.noun).CopyFrom(obj)
    return wrapped


def unwrap(wrapped: Object) -> tuple[Kind, Stored] | None:
    """The kind and a copy of the message in an `Object`; None when it is empty.

    A copy, because a part of a protobuf message keeps the whole of it in memory.
    """
    noun = wrapped.WhichOneof("kind")
    if noun is None:
        return None
    kind = KIND_OF_NOUN[noun]
    message = kind.message()
    message.CopyFrom(getattr(wrapped, noun))
    return kind, message
