"""The data of a secret or a config, and their list: both nouns have the same commands."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from swarm_api import defaults
from swarm_api.objects_pb2 import Config, Secret
from swarm_api.specs_pb2 import ConfigSpec, SecretSpec

from swarm_cli.errors import InputError
from swarm_cli.render.text import Column, Table
from swarm_cli.render.times import ago

_File = TypeVar("_File", Secret, Config)


def read_data(path: str, what: str) -> bytes:
    """The file's bytes, or standard input's for `-`; InputError when it cannot be read or is too large."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"The {what}'s file {path} cannot be read: {error.strerror}.") from error
    if len(data) > defaults.MAX_SECRET_SIZE_BYTES:
        raise InputError(
            f"The {what} is {len(data)} bytes long; at most {defaults.MAX_SECRET_SIZE_BYTES} bytes are allowed."
        )
    return data


def read_new_data(path: str | None, what: str) -> bytes:
    """As `read_data`, for an update: nothing without a file, and InputError for an empty one."""
    data = read_data(path, what) if path else b""
    if path and not data:
        raise InputError(f"The {what}'s file {path} is empty: a {what} needs some data.")
    return data


def change_labels(
    spec: SecretSpec | ConfigSpec,
    existing: Secret | Config,
    added: Iterable[tuple[str, str]],
    removed: Iterable[str],
) -> None:
    """Give the spec the labels of what it changes, with these changes."""
    labels = dict(existing.spec.annotations.labels) | dict(added)
    spec.annotations.labels.update({key: value for key, value in labels.items() if key not in set(removed)})


def current_versions(items: Iterable[_File]) -> list[_File]:
    """Those that no update has replaced."""
    return [item for item in items if not item.replaced_by]


def payload_table(items: Sequence[Secret | Config]) -> Table:
    """One line each, by name."""
    table = Table([Column(title) for title in ("ID", "NAME", "CREATED", "UPDATED")])
    for item in sorted(items, key=lambda one: one.spec.annotations.name):
        table.add(item.id[:12], item.spec.annotations.name, ago(item.meta.created_at), ago(item.meta.updated_at))
    return table
