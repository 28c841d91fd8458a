"""`swarm-cli version`."""

from importlib.metadata import version as installed_version

import click

from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.session import current


@click.command()
@format_option
def version() -> None:
    """Show this command's version, and the version of the manager that answers."""
    session = current()
    own = installed_version("raftswarm")
    manager = _manager_version()
    if session.format == "table":
        click.echo(f"swarm-cli {own}")
        click.echo(f"manager   {manager}" if manager else "manager   none reached")
        return
    print_document({"client": own, "manager": manager}, session.format)


def _manager_version() -> str:
    from swarm_api.errors import ClientError

    try:
        return current().client.info(stale=True).version
    except ClientError:
        return ""  # the version of this command is an answer, too
