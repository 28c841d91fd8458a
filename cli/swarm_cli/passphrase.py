"""The passphrase of a backup: from a file, from the environment, or asked for without an echo."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from swarm_cli.errors import InputError

VARIABLE = "RAFTSWARM_BACKUP_PASSPHRASE"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def passphrase_option(command: _Command) -> _Command:
    """`--passphrase-file FILE`."""
    return click.option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Holds the passphrase (without a newline at its end). Default: {VARIABLE}, else it is asked for.",
    )(command)


def read_passphrase(file: str | None, *, is_new: bool) -> bytes:
    """The passphrase; a new one is asked for twice.  InputError when there is none, or it is empty."""
    found = _given(file)
    if found is None:
        found = _asked(is_new=is_new)
    if not found:
        raise InputError("The passphrase is empty: a backup holds all secrets and the CA's key, so it needs one.")
    return found


def _given(file: str | None) -> bytes | None:
    if file is None:
        variable = os.environ.get(VARIABLE)
        return None if variable is None else os.fsencode(variable)
    try:
        return Path(file).read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise InputError(f"The passphrase file {file} cannot be read: {error.strerror}.") from error


def _asked(*, is_new: bool) -> bytes:
    if not sys.stdin.isatty():
        raise InputError(f"There is no terminal to ask for the passphrase: give --passphrase-file, or set {VARIABLE}.")
    text: str = click.prompt("Passphrase of the backup", hide_input=True, confirmation_prompt=is_new, err=True)
    return text.encode(errors="surrogateescape")
