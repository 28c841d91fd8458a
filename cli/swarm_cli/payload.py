"""The data of a secret or a config, and their list: both nouns have the same commands."""

import sys
from collections.abc import Sequence
from pathlib import Path

from swarm_api import defaults
from swarm_api.objects_pb2 import Config, Secret

from swarm_cli.errors import InputError
from swarm_cli.render.text import Column, Table
from swarm_cli.render.times import ago


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


def payload_table(items: Sequence[Secret | Config]) -> Table:
    """One line each, by name."""
    table = Table([Column(title) for title in ("ID", "NAME", "CREATED", "UPDATED")])
    for item in sorted(items, key=lambda one: one.spec.annotations.name):
        table.add(item.id[:12], item.spec.annotations.name, ago(item.meta.created_at), ago(item.meta.updated_at))
    return table
