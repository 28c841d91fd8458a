"""`rejoin`: this machine comes back into its cluster when it cannot by itself."""

import click
from swarm_api.node_pb2 import RejoinRequest, RejoinResponse
from swarm_api.types_pb2 import NodeRole

from swarm_cli.commands.cluster import check_token, config_option, listen_option, with_port
from swarm_cli.commands.unlocking import read_unlock_key, unlock_key_option
from swarm_cli.daemon import Daemon, local_node_id
from swarm_cli.errors import CliError
from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.render.times import minute
from swarm_cli.session import current

_REJOIN_S = 90.0


@click.command()
@click.argument("addresses", nargs=-1, metavar="[HOST:PORT...]")
@click.option("--token", default="", help="A join token: where this node's certificate has ended.")
@click.option(
    "--advertise-address", "--advertise-addr", metavar="HOST[:PORT]", default="", help="This machine's new address."
)
@listen_option
@click.option(
    "--from-own-data",
    is_flag=True,
    help="On a manager, when the certificates of all managers have ended: make its new one here.",
)
@unlock_key_option
@config_option
@format_option
def rejoin(
    addresses: tuple[str, ...],
    token: str,
    advertise_address: str,
    listen_address: str,
    from_own_data: bool,
    asks_for_key: bool,
    config_file: str | None,
) -> None:
    """Take this node back into its cluster, as the node it is.

    HOST:PORT are managers, where those this node knows have other addresses now. With --token it gets a new certificate
    when the old one ended while the machine was off; with --advertise-address it tells the others where it is now.
    Containers run on.
    """
    session = current()
    if not (addresses or token or advertise_address or listen_address or from_own_data):
        raise click.UsageError(
            "nothing to change: give managers' addresses, --token, --advertise-address or --from-own-data"
        )
    if token and from_own_data:
        raise click.UsageError(
            "--token asks a manager for the certificate, --from-own-data makes it here: give one of them"
        )
    if token:
        check_token(token)
    request = RejoinRequest(
        remote_addresses=[with_port(address) for address in addresses],
        token=token,
        advertise_address=with_port(advertise_address) if advertise_address else "",
        listen_address=with_port(listen_address) if listen_address else "",
        from_own_data=from_own_data,
    )
    daemon = Daemon.of(session, config_file)
    if not local_node_id(session):
        raise CliError("This machine is not part of a cluster: 'swarm-cli join' makes it a node.")
    daemon.ensure_running()
    if asks_for_key:
        request.unlock_key = read_unlock_key()
    answer = daemon.call(lambda stub: stub.Rejoin, request, _REJOIN_S)
    if session.format != "table":
        print_document(answer, session.format)
        return
    click.echo(_sentence(answer))


def _sentence(answer: RejoinResponse) -> str:
    who = f"This node ({answer.node_id}, a {NodeRole.Name(answer.role).lower()})"
    until = f"its certificate is valid until {minute(answer.certificate_ends)}"
    if answer.connected:
        return f"{who} is back in its cluster; {until}."
    waiting_for = answer.waiting_for.rstrip(".") or "no manager has answered yet"
    return f"{who} goes on with what was changed, and has no session with a leader yet ({waiting_for}); {until}."
