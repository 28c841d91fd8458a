"""`init`, `join`, `leave`: this machine becomes a node, and is one no more."""

import contextlib
import socket

import click
from swarm_api import defaults
from swarm_api.node_pb2 import InitRequest, JoinRequest, JoinResponse, LeaveRequest
from swarm_api.types_pb2 import NodeAvailability, NodeRole

from swarm_cli.commands.token import join_text
from swarm_cli.commands.unlocking import unlock_text
from swarm_cli.daemon import Daemon, local_node_id, node_file
from swarm_cli.errors import CliError
from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.session import Session, current

_INIT_S = 60.0
_JOIN_S = 60.0
_LEAVE_S = 120.0

availability_option = click.option(
    "--availability",
    type=click.Choice(["active", "pause", "drain"]),
    default="active",
    show_default=True,
    help="active: this machine runs containers; pause, drain: it does not.",
)
config_option = click.option("--config", "config_file", metavar="FILE", help="The daemon's TOML file.")


listen_option = click.option(
    "--listen-address",
    "--listen-addr",
    metavar="HOST[:PORT]",
    default="",
    help="Where a manager listens. Default: all addresses, and the advertised port.",
)


@click.command()
@click.option(
    "--advertise-address",
    "--advertise-addr",
    metavar="HOST[:PORT]",
    help=f"The address other machines reach this one at. Default: that of the default route, port {defaults.API_PORT}.",
)
@listen_option
@click.option("--name", default="", help="The cluster's name.")
@click.option("--address-pool", "--default-addr-pool", "pools", multiple=True, metavar="CIDR", help="For networks.")
@click.option(
    "--subnet-prefix-length",
    "--default-addr-pool-mask-length",
    "prefix_length",
    type=click.IntRange(8, 29),
    default=defaults.SUBNET_PREFIX_LENGTH,
    show_default=True,
    help="How large a network's subnet is.",
)
@click.option(
    "--vxlan-port",
    "--data-path-port",
    type=click.IntRange(1024, 65535),
    default=defaults.VXLAN_PORT,
    show_default=True,
    help="The UDP port of overlay networks.",
)
@click.option("--autolock", is_flag=True, help="Managers that start wait for 'swarm-cli unlock'; the key is printed.")
@availability_option
@config_option
@format_option
def init(
    advertise_address: str | None,
    listen_address: str,
    name: str,
    pools: tuple[str, ...],
    prefix_length: int,
    vxlan_port: int,
    autolock: bool,
    availability: str,
    config_file: str | None,
) -> None:
    """Make a cluster with this machine as its first manager.

    Starts the node's daemon (under systemd where it runs), makes the cluster's certificate authority, and
    prints the command that joins further machines.
    """
    session = current()
    address = with_port(advertise_address or default_address())
    daemon = Daemon.of(session, config_file)
    refuse_second(local_node_id(session))
    daemon.ensure_running()
    request = InitRequest(
        advertise_address=address,
        listen_address=with_port(listen_address) if listen_address else "",
        name=name,
        address_pools=pools,
        subnet_prefix_length=prefix_length,
        vxlan_port=vxlan_port,
        autolock=autolock,
        availability=NodeAvailability.Value(availability.upper()),
    )
    made = daemon.call(lambda stub: stub.Init, request, _INIT_S)
    if session.format != "table":
        print_document(made, session.format)
        return
    click.echo(f"The cluster is made: this node ({made.node_id}) is now a manager.\n")
    click.echo(join_text("worker", made.worker_token, address))
    click.echo("To add a manager, run 'swarm-cli join-token manager' here and follow what it prints.")
    if made.unlock_key:
        click.echo()
        click.echo(unlock_text(made.unlock_key))


def refuse_second(node_id: str) -> None:
    """Raise CliError when this machine is a node already."""
    if node_id:
        raise CliError(
            f"This machine is node {node_id} of a cluster already; 'swarm-cli leave' takes it out of that one first."
        )


@click.command()
@click.argument("addresses", nargs=-1, required=True, metavar="HOST:PORT...")
@click.option("--token", required=True, help="What 'swarm-cli join-token' printed on a manager.")
@click.option("--advertise-address", "--advertise-addr", metavar="HOST[:PORT]", default="", help="As others reach it.")
@listen_option
@availability_option
@config_option
@format_option
def join(
    addresses: tuple[str, ...],
    token: str,
    advertise_address: str,
    listen_address: str,
    availability: str,
    config_file: str | None,
) -> None:
    """Make this machine a node of the cluster whose managers are at HOST:PORT.

    The token decides whether it becomes a worker or a manager; 'swarm-cli join-token' on a manager prints it.
    """
    session = current()
    check_token(token)
    remote = [with_port(address) for address in addresses]
    daemon = Daemon.of(session, config_file)
    refuse_second(local_node_id(session))
    daemon.ensure_running()
    request = JoinRequest(
        token=token,
        remote_addresses=remote,
        advertise_address=with_port(advertise_address) if advertise_address else "",
        listen_address=with_port(listen_address) if listen_address else "",
        availability=NodeAvailability.Value(availability.upper()),
    )
    joined: JoinResponse = daemon.call(lambda stub: stub.Join, request, _JOIN_S)
    if session.format != "table":
        print_document(joined, session.format)
        return
    role = "manager" if joined.role == NodeRole.MANAGER else "worker"
    click.echo(f"This node ({joined.node_id}) joined the cluster as a {role}.")


def check_token(token: str) -> None:
    """Raise CliError when it can be no join token."""
    from swarm_api.join_token import JoinToken, TokenError

    try:
        JoinToken.parse(token)
    except TokenError as error:
        raise CliError(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.") from error


@click.command()
@click.option("--force", "-f", is_flag=True, help="Also where it costs the quorum, or no manager can be told.")
def leave(force: bool) -> None:
    """Take this machine out of its cluster: its containers stop, its identity and data are removed.

    The daemon that 'init' or 'join' started is stopped, too.
    """
    session = current()
    daemon = Daemon.of(session)
    if not local_node_id(session):
        raise CliError("This machine is not part of a cluster: there is nothing to leave.")
    daemon.ensure_running()
    if "manager" in str(node_file(session).get("role")):
        _warn_of_quorum(session)
    daemon.call(lambda stub: stub.Leave, LeaveRequest(force=force), _LEAVE_S)
    daemon.stop()
    click.echo("This node left the cluster.")


def _warn_of_quorum(session: Session) -> None:
    """Say what is left when this manager goes; nothing when no manager answers: then the daemon says what is wrong."""
    from swarm_api.errors import ClientError

    from swarm_cli.quorum import role_warning

    with contextlib.suppress(ClientError):
        warning = role_warning(session.client.info(), 1, NodeRole.WORKER)
        if warning:
            click.echo(f"Warning: {warning}", err=True)


def with_port(address: str) -> str:
    """HOST or HOST:PORT as HOST:PORT."""
    from swarm_api.access import parse_addresses

    return parse_addresses([address])[0]


def default_address() -> str:
    """The address of the interface that the default route leaves by; CliError when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: connecting a UDP socket only picks the route
            return str(probe.getsockname()[0])
        except OSError:
            raise CliError(
                "This machine has no default route, so its address cannot be told: give --advertise-address HOST."
            ) from None
