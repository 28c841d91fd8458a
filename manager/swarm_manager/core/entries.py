"""Changes cut into entries of bounded size."""

from collections.abc import Iterable, Iterator

from swarm_api.store_pb2 import Change


def entries(changes: Iterable[Change], max_size_bytes: int) -> Iterator[list[Change]]:
    """The changes in order, as lists for one entry each; a single change larger than the limit is a list of its own."""
    entry: list[Change] = []
    size_bytes = 0
    for change in changes:
        change_size_bytes = change.ByteSize()
        if entry and size_bytes + change_size_bytes > max_size_bytes:
            yield entry
            entry, size_bytes = [], 0
        entry.append(change)
        size_bytes += change_size_bytes
    if entry:
        yield entry
