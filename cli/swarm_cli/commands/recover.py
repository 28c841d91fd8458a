"""`recover`: the last manager of a cluster that lost its quorum goes on alone."""

import sys

import click
from swarm_api.node_pb2 import RecoverRequest, RecoverResponse

from swarm_cli.commands.unlocking import read_unlock_key, unlock_key_option
from swarm_cli.daemon import Daemon, local_node_id
from swarm_cli.errors import CliError, InputError
from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.session import current

_RECOVER_S = 180.0
_QUESTION = """\
This makes this node the cluster's only manager, with what it holds. Writes that were acknowledged and never reached it
are lost, and the other managers have to come back as new ones. Bring them back instead, if that is possible at all.
Go on?"""


@click.command()
@click.option(
    "--force-new-cluster", is_flag=True, help="Needed: says that the other managers will not come back as they were."
)
@click.option("--even-with-quorum", is_flag=True, help="Also when the other managers have a leader: it is given up.")
@unlock_key_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--config", "config_file", metavar="FILE", help="The daemon's TOML file.")
@format_option
def recover(
    force_new_cluster: bool, even_with_quorum: bool, asks_for_key: bool, yes: bool, config_file: str | None
) -> None:
    """Make this manager, whose cluster lost its quorum for good, the only one.

    It keeps all it has: services, secrets, nodes, tokens. Workers find it by themselves, and their containers run on.
    Former managers that come back become workers; promote them to have redundant masters again.
    """
    session = current()
    if not force_new_cluster:
        raise click.UsageError("recover gives up all other managers: say so with --force-new-cluster")
    daemon = Daemon.of(session, config_file)
    if not local_node_id(session):
        raise CliError("This machine is not part of a cluster: run this on the manager that is left.")
    _confirm(yes)
    daemon.ensure_running()
    unlock_key = read_unlock_key() if asks_for_key else ""
    request = RecoverRequest(even_with_quorum=even_with_quorum, unlock_key=unlock_key)
    made = daemon.call(lambda stub: stub.Recover, request, _RECOVER_S)
    if session.format != "table":
        print_document(made, session.format)
        return
    click.echo(_recovered(made))


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("There is no terminal to ask whether you mean it: say so with --yes.")
    click.confirm(_QUESTION, abort=True, err=True)


def _recovered(made: RecoverResponse) -> str:
    said = [f"This node ({made.node_id}) is now the only manager of cluster {made.cluster_id}, in era {made.era}."]
    if made.unconfirmed:
        entries = "log entry" if made.unconfirmed == 1 else "log entries"
        said.append(f"Kept as well: {made.unconfirmed} {entries} that it did not know to be committed.")
    if made.former_managers:
        said.append(
            f"Managers of before, workers now: {', '.join(made.former_managers)}. 'swarm-cli node promote' makes those "
            "that come back managers again; 'swarm-cli node rm' removes those that do not."
        )
    return "\n".join(said)
