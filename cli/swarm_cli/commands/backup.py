"""`backup` and `restore`: the whole cluster as one encrypted file, and a cluster made from it."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from google.protobuf.duration_pb2 import Duration
from swarm_api import defaults
from swarm_api.backup_pb2 import BackupHead
from swarm_api.eras import era_of
from swarm_api.node_pb2 import RestoreRequest, RestoreResponse
from swarm_api.types_pb2 import NodeAvailability

from swarm_cli.commands.cluster import (
    availability_option,
    config_option,
    default_address,
    listen_option,
    refuse_second,
    with_port,
)
from swarm_cli.daemon import Daemon, local_node_id
from swarm_cli.errors import CliError, InputError
from swarm_cli.new_file import new_file
from swarm_cli.options import format_option
from swarm_cli.parsed import Parsed
from swarm_cli.passphrase import passphrase_option, read_passphrase
from swarm_cli.quantities import parse_duration
from swarm_cli.render.document import print_document
from swarm_cli.session import current

if TYPE_CHECKING:
    from swarm_api.client import Client

_RESTORE_S = 180.0
_SHOWN = ("service", "stack", "network", "secret", "config", "node", "task")


@click.command()
@click.argument("file", metavar="FILE|-")
@passphrase_option
@click.option("--force", "-f", is_flag=True, help="Replace a file of that name.")
@click.option("--check", is_flag=True, help="Make none: read the file to its end, and show what is in it.")
@format_option
def backup(file: str, passphrase_file: str | None, force: bool, check: bool) -> None:
    """Write all the cluster is into an encrypted file, or to standard output (-).

    Services, networks, secrets, configs, stacks, nodes, tokens, settings and the cluster's certificate authority, as of
    one moment; the cluster works on meanwhile. Keep the passphrase elsewhere: without it the file is worthless, and
    whoever has both can join your cluster. 'swarm-cli restore' makes a cluster from it.
    """
    if check:
        head = read_backup(file, read_passphrase(passphrase_file, is_new=False))
        said = f"{file} is whole: {_contents(head)}."
    else:
        if file == "-" and sys.stdout.isatty():
            raise InputError("A backup is no text for a terminal: name a file, or pipe it.")
        client = current().client
        with _target(file, force=force) as target:  # first: nobody is asked for the passphrase of what cannot be
            head = _write(client, read_passphrase(passphrase_file, is_new=True), target)
        said = f"Backed up to {'standard output' if file == '-' else file}: {_contents(head)}."
    if current().format != "table" and (check or file != "-"):
        print_document(head, current().format)
    else:
        click.echo(said, err=file == "-" and not check)


def _target(file: str, *, force: bool) -> contextlib.AbstractContextManager[IO[bytes]]:
    return contextlib.nullcontext(sys.stdout.buffer) if file == "-" else new_file(Path(file), force=force)


def _write(client: "Client", passphrase: bytes, target: IO[bytes]) -> BackupHead:
    from swarm_api.backup_file import pack, seal

    head, state = client.backup()
    for piece in seal(pack(head, state), passphrase):
        target.write(piece)
    target.flush()
    return head


def read_backup(file: str, passphrase: bytes) -> BackupHead:
    """The head of a backup that was read to its end; InputError or CliError unless all of it is as it was written."""
    from swarm_api.backup_file import BackupFileError, unpack, unseal

    try:
        with _source(file) as source:
            return unpack(unseal(source, passphrase))[0]
    except OSError as error:
        raise InputError(f"The backup {file} cannot be read: {error.strerror}.") from error
    except BackupFileError as error:
        raise CliError(f"{file}: {error}") from error


@contextlib.contextmanager
def _source(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as opened:
        yield opened


def _contents(head: BackupHead) -> str:
    counts = ", ".join(f"{head.objects[kind]} {kind}{'' if head.objects[kind] == 1 else 's'}" for kind in _SHOWN)
    taken = f"{head.taken_at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"cluster {head.cluster_name or 'default'} ({head.cluster_id}) as of {taken}, version {head.index}, era "
        f"{era_of(head.term)}, by raftswarm {head.raftswarm_version}: {counts}"
    )


@click.command()
@click.argument("file")
@passphrase_option
@click.option(
    "--advertise-address",
    "--advertise-addr",
    metavar="HOST[:PORT]",
    help="The address other machines reach this one at. Default: that of the default route.",
)
@listen_option
@availability_option
@click.option(
    "--wait-for-nodes",
    type=Parsed("duration", parse_duration),
    default=f"{defaults.NODES_DUE_AFTER_S:.0f}s",
    show_default=True,
    metavar="DURATION",
    help="How long the tasks of the old nodes are left to them; those of nodes not back by then run elsewhere.",
)
@config_option
@format_option
def restore(
    file: str,
    passphrase_file: str | None,
    advertise_address: str | None,
    listen_address: str,
    availability: str,
    wait_for_nodes: Duration,
    config_file: str | None,
) -> None:
    """Make a cluster from a backup, with this machine, which is no node, as its only manager.

    It has the old cluster's identity, so nodes of that one may come back: 'swarm-cli rejoin HOST:PORT' on each. What
    runs on them runs on. The old managers are workers of the new cluster; those not brought over must stay off.
    """
    session = current()
    refuse_second(local_node_id(session))
    passphrase = read_passphrase(passphrase_file, is_new=False)
    read_backup(file, passphrase)
    address = with_port(advertise_address or default_address())
    daemon = Daemon.of(session, config_file)
    daemon.ensure_running()
    request = RestoreRequest(
        path=str(Path(file).absolute()),
        passphrase=passphrase,
        advertise_address=address,
        listen_address=with_port(listen_address) if listen_address else "",
        availability=NodeAvailability.Value(availability.upper()),
        nodes_due_after=wait_for_nodes,
    )
    made = daemon.call(lambda stub: stub.Restore, request, _RESTORE_S)
    if session.format != "table":
        print_document(made, session.format)
        return
    click.echo(_restored(made, address))


def _restored(made: RestoreResponse, address: str) -> str:
    taken = f"{made.taken_at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"Cluster {made.cluster_id} is restored as of {taken}: this node ({made.node_id}) is its only manager, in era "
        f"{made.era}.\n"
        f"It had the nodes {', '.join(made.nodes) or 'none'}. On each that is to come back, run:\n\n"
        f"    swarm-cli rejoin {address}\n\n"
        "Managers of before come back as workers; 'swarm-cli node promote' makes them managers again. Keep those that "
        "do not come back switched off, and remove them with 'swarm-cli node rm'."
    )
