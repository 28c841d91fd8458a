"""A file that is there whole, or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from swarm_cli.errors import CliError


@contextlib.contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """To write to: a file of mode 0600 that takes its name, durably, when the block ends well, and else is removed.

    CliError when it cannot be written, or when the name is taken and not `force`.
    """
    _refuse_taken(path, force=force)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse_taken(path, force=force)
        Path(temporary).replace(path)
        _sync(path.parent)
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror or error}; nothing was left there.") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _refuse_taken(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise CliError(f"{path} is a folder: name a file.")
    if path.exists() and not force:
        raise CliError(f"{path} exists already: choose another name, or replace it with --force.")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
