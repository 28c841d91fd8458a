"""`swarm-cli unlock-key` and `unlock`: the key that managers wait for when autolock is on."""

import os
import sys
from typing import TYPE_CHECKING

import click
from swarm_api.errors import AccessError

from swarm_cli.daemon import run_dir
from swarm_cli.errors import CliError, InputError
from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.session import current

if TYPE_CHECKING:
    from swarm_api.client import Client

_LONGEST_KEY = 4096

#: Of commands that work on the data of a manager that does not run.
unlock_key_option = click.option(
    "--unlock-key",
    "asks_for_key",
    is_flag=True,
    help="Needed with autolock: ask for the unlock key, or read it from stdin where that is no terminal.",
)


@click.command("unlock-key")
@click.option("--rotate", is_flag=True, help="Make a new key first; managers that are off take the old one once more.")
@click.option("--quiet", "-q", is_flag=True, help="Print the key only.")
@format_option
def unlock_key(rotate: bool, quiet: bool) -> None:
    """Print the key that unlocks a manager after its start.

    Keep it outside of the cluster: without it, a cluster whose managers all stopped cannot be started again.
    """
    session = current()
    key = session.client.rotate_unlock_key() if rotate else session.client.unlock_key()
    if not key:
        raise CliError(
            "Autolock is off, so there is no unlock key; 'swarm-cli cluster update --autolock on' makes one."
        )
    if quiet:
        click.echo(key)
    elif session.format != "table":
        print_document({"unlock_key": key}, session.format)
    else:
        click.echo(unlock_text(key))


def unlock_text(key: str) -> str:
    """What to do with the key."""
    return (
        f"To unlock a manager after its start, run there, as root, 'swarm-cli unlock' and give it:\n\n    {key}\n\n"
        "Keep this key outside of the cluster: when all managers have stopped, nothing else starts them again."
    )


@click.command()
def unlock() -> None:
    """Unlock this machine's manager, which waits since its start.

    The key is asked for without showing it, or read from stdin where that is no terminal.
    """
    session = current()
    socket = run_dir(session) / "manager.sock"
    client = _local_client(str(socket)) if socket.exists() else None
    if client is None:
        raise CliError(f"No manager runs on this machine ({socket} does not exist), so there is nothing to unlock.")
    with client:
        client.unlock(read_unlock_key())
    click.echo("The manager is unlocked, and starts.")


def _local_client(path: str) -> "Client":
    from swarm_api.access import Access, Endpoint
    from swarm_api.client import Client

    if not os.access(path, os.R_OK | os.W_OK):
        raise AccessError("Only root may unlock a manager: use sudo.")
    return Client(Access((Endpoint(f"unix:{path}"),)))


def read_unlock_key() -> str:
    """The key from the terminal, without echo, or from stdin; InputError when there is none."""
    if sys.stdin.isatty():
        key = str(click.prompt("Unlock key", hide_input=True, err=True))
    else:
        key = sys.stdin.read(_LONGEST_KEY)
    if not key.strip():
        raise InputError("No key was given: type it when asked, or pipe it in.")
    return key.strip()
