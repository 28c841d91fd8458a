"""Snapshots as bytes, in small framed chunks, so that nothing else of the process waits for long.

Each frame is a length and a CRC-32 (4 bytes each, big-endian) and a protobuf message: a `SnapshotHeader`, then the
objects, then the remembered requests, oldest first.  Objects are in the order of kinds and ids: managers at the same
index write the same bytes.
"""

import heapq
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from swarm_api.objects_pb2 import Object, Task
from swarm_api.store_pb2 import RememberedRequest, SnapshotHeader

from swarm_manager.core.draft import Draft
from swarm_manager.core.kinds import KINDS, Stored, unwrap, wrap
from swarm_manager.core.snapshot import Snapshot

SCHEMA_VERSION = 1

#: How many requests are remembered: minutes of a busy cluster, against retries that come within seconds.
REMEMBERED_REQUESTS = 4096

CHUNK_SIZE_BYTES = 64 * 1024

#: How many tasks are added in one call, during which no other thread of the process runs.
TASKS_AT_ONCE = 1024

#: How many objects are sorted in one call, for the same reason.
SORTED_AT_ONCE = 512
M = TypeVar("M", bound=Message)
_FRAME = struct.Struct(">II")
_ID = attrgetter("id")


class SnapshotError(ValueError):
    """The bytes are no whole, intact snapshot that this version can read. The message says what is wrong."""


def dump(snapshot: Snapshot) -> Iterator[bytes]:
    """The snapshot's bytes, in chunks of about 64 kB."""
    chunk = bytearray()
    for message in _messages(snapshot):
        chunk += _frame(message.SerializeToString(deterministic=True))
        if len(chunk) >= CHUNK_SIZE_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def load(data: bytes | memoryview) -> Snapshot:
    """The snapshot of what `dump` wrote. Raises SnapshotError for anything else."""
    frames = _frames(data)
    header = _parse(SnapshotHeader(), next(frames, None), "head")
    if header.schema_version != SCHEMA_VERSION:
        raise SnapshotError(f"The snapshot has schema version {header.schema_version}; this is {SCHEMA_VERSION}.")
    draft = Draft(Snapshot())
    _load_objects(draft, frames, header.objects)
    for _ in range(header.requests):
        draft.remember(_parse(RememberedRequest(), next(frames, None), "requests"), REMEMBERED_REQUESTS)
    if next(frames, None) is not None:
        raise SnapshotError("The snapshot goes on after its end.")
    return draft.snapshot(header.index)


def in_order(snapshot: Snapshot) -> Iterator[Stored]:
    """All objects, in the order in which they are written."""
    for number in KINDS:
        yield from _by_id(snapshot.all_of(number))


def _messages(snapshot: Snapshot) -> Iterator[Message]:
    yield SnapshotHeader(
        schema_version=SCHEMA_VERSION,
        index=snapshot.index,
        objects=sum(1 for kind in KINDS for _ in snapshot.all_of(kind)),
        requests=len(snapshot.requests),
    )
    for number, kind in KINDS.items():
        for obj in _by_id(snapshot.all_of(number)):
            yield wrap(kind, obj)
    for number in range(snapshot.first_request, snapshot.next_request):
        yield snapshot.requests[snapshot.request_order[number]]


def _by_id(objects: Iterator[Stored]) -> Iterator[Stored]:
    """In the order of their ids: sorted in runs that are merged, so that no single call takes long."""
    runs = []
    while run := list(islice(objects, SORTED_AT_ONCE)):
        run.sort(key=_ID)
        runs.append(run)
    return heapq.merge(*runs, key=_ID)


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _frames(data: bytes | memoryview) -> Iterator[bytes]:
    offset = 0
    while offset < len(data):
        if offset + _FRAME.size > len(data):
            raise SnapshotError("The snapshot is cut off.")
        size, checksum = _FRAME.unpack_from(data, offset)
        offset += _FRAME.size
        payload = bytes(data[offset : offset + size])
        if len(payload) != size:
            raise SnapshotError("The snapshot is cut off.")
        if zlib.crc32(payload) != checksum:
            raise SnapshotError(f"The snapshot is damaged at byte {offset}.")
        yield payload
        offset += size


def _parse(message: M, payload: bytes | None, what: str) -> M:
    if payload is None:
        raise SnapshotError(f"The snapshot ends in the middle of its {what}.")
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise SnapshotError(f"The snapshot's {what} cannot be read.") from error
    return message


def _load_objects(draft: Draft, frames: Iterator[bytes], count: int) -> None:
    tasks: dict[str, Task] = {}
    for _ in range(count):
        found = unwrap(_parse(Object(), next(frames, None), "objects"))
        if found is None:
            raise SnapshotError("The snapshot holds an object of a kind this version does not know.")
        kind, obj = found
        object_id: str = obj.id
        if not object_id or object_id in tasks or draft.get(kind.number, object_id) is not None:
            raise SnapshotError(f"The snapshot holds the {kind.noun} {object_id} twice, or one without an id.")
        if isinstance(obj, Task):
            tasks[object_id] = obj  # nearly all there is: added many at once
        else:
            draft.put(kind.number, obj)
        if len(tasks) == TASKS_AT_ONCE:
            draft.add_tasks(tasks)
            tasks = {}
    draft.add_tasks(tasks)
