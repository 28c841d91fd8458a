"""`swarm-cli secret`: what only the containers that need it may know."""

import click
from swarm_api.control_pb2 import ListSecretsResponse
from swarm_api.nouns import make_filter
from swarm_api.specs_pb2 import SecretSpec

from swarm_cli.naming import SECRET
from swarm_cli.options import each, filter_option, format_option, parse_labels, quiet_option
from swarm_cli.payload import payload_table, read_data
from swarm_cli.render.inspect import show_objects
from swarm_cli.service_flags import PAIR
from swarm_cli.session import current


@click.group()
def secret() -> None:
    """Secrets: data that only the nodes whose tasks need it ever get."""


@secret.command("ls")
@format_option
@quiet_option
@filter_option(("id", "name", "label"))
def list_(quiet: bool, filters: dict[str, list[str]]) -> None:
    """List secrets."""
    session = current()
    secrets = session.client.secrets.list(
        make_filter(
            id_prefixes=filters.get("id", ()),
            name_prefixes=filters.get("name", ()),
            labels=parse_labels(filters.get("label", ())),
        )
    )
    if quiet:
        for one in secrets:
            click.echo(one.id)
        return
    session.show(ListSecretsResponse(secrets=secrets), lambda: payload_table(secrets))


@secret.command("create")
@click.argument("name")
@click.argument("file", metavar="FILE|-")
@click.option("--label", "-l", multiple=True, type=PAIR, metavar="KEY=VALUE", help="Label it.")
def create(name: str, file: str, label: tuple[tuple[str, str], ...]) -> None:
    """Create a secret from a file, or from standard input (-), and print its id."""
    spec = SecretSpec(data=read_data(file, "secret"))
    spec.annotations.name = name
    spec.annotations.labels.update(label)
    click.echo(current().client.secrets.create(spec).id)


@secret.command("inspect")
@click.argument("names", nargs=-1, required=True, type=SECRET, metavar="SECRET...")
@format_option
def inspect(names: tuple[str, ...]) -> None:
    """Show all but the data of secrets."""
    session = current()
    show_objects([session.client.secrets.get(name) for name in names], session.format)


@secret.command("rm")
@click.argument("names", nargs=-1, required=True, type=SECRET, metavar="SECRET...")
def remove(names: tuple[str, ...]) -> None:
    """Remove secrets that no service uses."""

    def act(name: str) -> None:
        current().client.secrets.remove(name)
        click.echo(name)

    each(names, "removal", act)
