"""`swarm-cli config`: files for containers."""

import click
from swarm_api.control_pb2 import ListConfigsResponse
from swarm_api.nouns import make_filter
from swarm_api.specs_pb2 import ConfigSpec

from swarm_cli.naming import CONFIG
from swarm_cli.options import each, filter_option, parse_labels, quiet_option, reading_options, wait_options
from swarm_cli.payload import change_labels, current_versions, payload_table, read_data, read_new_data
from swarm_cli.render.inspect import show_objects
from swarm_cli.service_flags import PAIR
from swarm_cli.session import current
from swarm_cli.waiting import Wait, wait_for


@click.group()
def config() -> None:
    """Configs: files for containers that need not be secret."""


@config.command("ls")
@reading_options
@quiet_option
@filter_option(("id", "name", "label"))
@click.option("--all", "-a", "show_all", is_flag=True, help="Also the old versions that are kept (NAME@VERSION).")
def list_(quiet: bool, show_all: bool, filters: dict[str, list[str]]) -> None:
    """List configs."""
    session = current()
    configs = session.client.configs.list(
        make_filter(
            id_prefixes=filters.get("id", ()),
            name_prefixes=filters.get("name", ()),
            labels=parse_labels(filters.get("label", ())),
        )
    )
    if not show_all:
        configs = current_versions(configs)
    if quiet:
        for one in configs:
            click.echo(one.id)
        return
    session.show(ListConfigsResponse(configs=configs), lambda: payload_table(configs))


@config.command("create")
@click.argument("name")
@click.argument("file", metavar="FILE|-")
@click.option("--label", "-l", multiple=True, type=PAIR, metavar="KEY=VALUE", help="Label it.")
def create(name: str, file: str, label: tuple[tuple[str, str], ...]) -> None:
    """Create a config from a file, or from standard input (-), and print its id."""
    spec = ConfigSpec(data=read_data(file, "config"))
    spec.annotations.name = name
    spec.annotations.labels.update(label)
    click.echo(current().client.configs.create(spec).id)


@config.command("update")
@click.argument("name", type=CONFIG)
@click.argument("file", metavar="[FILE|-]", required=False)
@click.option("--label-add", multiple=True, type=PAIR, metavar="KEY=VALUE", help="Label it.")
@click.option("--label-rm", multiple=True, metavar="KEY", help="Remove a label.")
@wait_options
def update(
    name: str,
    file: str | None,
    label_add: tuple[tuple[str, str], ...],
    label_rm: tuple[str, ...],
    detach: bool,
    quiet: bool,
    timeout_s: float,
) -> None:
    """Give a config other data, from a file or standard input (-), and wait until all that use it have it.

    A new version takes the name, and the tasks of the services that use it are replaced as their update settings say.
    The old version is kept while a service can be rolled back to it. Prints the new version's id.
    """
    session = current()
    spec = ConfigSpec(data=read_new_data(file, "config"))
    change_labels(spec, session.client.configs.get(name), label_add, label_rm)
    updated = session.client.configs.update(name, spec)
    click.echo(updated.config.id)
    wait_for(session, updated.service_ids, Wait(detach, quiet, timeout_s))


@config.command("inspect")
@click.argument("names", nargs=-1, required=True, type=CONFIG, metavar="CONFIG...")
@reading_options
def inspect(names: tuple[str, ...]) -> None:
    """Show all there is to know of configs."""
    session = current()
    show_objects([session.client.configs.get(name) for name in names], session.format)


@config.command("rm")
@click.argument("names", nargs=-1, required=True, type=CONFIG, metavar="CONFIG...")
def remove(names: tuple[str, ...]) -> None:
    """Remove configs that no service uses."""

    def act(name: str) -> None:
        current().client.configs.remove(name)
        click.echo(name)

    each(names, "removal", act)
