"""What differs between two messages, as paths of fields: `task.container.image, replicated.replicas`."""

from collections.abc import Iterable

from google.protobuf.message import Message


def changed_fields(old: Message, new: Message, limit: int = 4) -> str:
    """The paths of the fields that differ, for people; beyond `limit` of them an ellipsis. Empty: none differs."""
    paths = list(_differences(old, new, ""))
    return ", ".join(paths[:limit]) + (", ..." if len(paths) > limit else "")


def _differences(old: Message, new: Message, prefix: str) -> Iterable[str]:
    for field in old.DESCRIPTOR.fields:
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if isinstance(before, Message) and isinstance(after, Message):
            yield from _differences(before, after, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name
