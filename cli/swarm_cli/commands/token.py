"""`swarm-cli join-token`: the command that makes a machine a node."""

import click

from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.session import current


@click.command("join-token")
@click.argument("role", type=click.Choice(["worker", "manager"]))
@click.option("--rotate", is_flag=True, help="Make a new token first; the old one admits nobody any more.")
@click.option("--quiet", "-q", is_flag=True, help="Print the token only.")
@format_option
def join_token(role: str, rotate: bool, quiet: bool) -> None:
    """Print the command that joins a machine to this cluster as a worker or as a manager.

    Whoever has the token may join: keep it as a password is kept.
    """
    session = current()
    client = session.client
    if rotate:
        answer = client.rotate_join_token(worker=role == "worker", manager=role == "manager")
    else:
        answer = client.join_tokens()
    token = answer.tokens.manager if role == "manager" else answer.tokens.worker
    if quiet:
        click.echo(token)
    elif session.format != "table":
        print_document({"token": token, "manager_addresses": list(answer.manager_addresses)}, session.format)
    else:
        if rotate:
            click.echo(f"The {role} token was replaced; the old one admits nobody any more.\n")
        click.echo(join_text(role, token, answer.manager_addresses[0] if answer.manager_addresses else "HOST:2377"))


def join_text(role: str, token: str, address: str) -> str:
    """What to run on the other machine."""
    return f"To add a {role} to this cluster, run there, as root:\n\n    swarm-cli join --token {token} {address}\n"
