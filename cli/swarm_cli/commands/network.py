"""`swarm-cli network`: overlay networks."""

import click
from swarm_api.control_pb2 import ListNetworksResponse
from swarm_api.nouns import make_filter
from swarm_api.objects_pb2 import Network
from swarm_api.specs_pb2 import IpamConfig, NetworkSpec

from swarm_cli.naming import NETWORK
from swarm_cli.options import each, filter_option, parse_labels, quiet_option, reading_options
from swarm_cli.render.inspect import show_objects
from swarm_cli.render.text import Column, Table
from swarm_cli.render.times import ago
from swarm_cli.service_flags import PAIR
from swarm_cli.session import current


@click.group()
def network() -> None:
    """Overlay networks: containers in one reach each other, whatever node they are on."""


@network.command("ls")
@reading_options
@quiet_option
@filter_option(("id", "name", "label"))
def list_(quiet: bool, filters: dict[str, list[str]]) -> None:
    """List networks."""
    session = current()
    networks = session.client.networks.list(
        make_filter(
            id_prefixes=filters.get("id", ()),
            name_prefixes=filters.get("name", ()),
            labels=parse_labels(filters.get("label", ())),
        )
    )
    if quiet:
        for one in networks:
            click.echo(one.id)
        return
    session.show(ListNetworksResponse(networks=networks), lambda: _table(networks))


def _table(networks: list[Network]) -> Table:
    titles = ("ID", "NAME", "DRIVER", "SUBNET", "VNI", "ATTACHABLE", "CREATED")
    table = Table([Column(title) for title in titles])
    for one in sorted(networks, key=lambda network: network.spec.annotations.name):
        table.add(
            one.id[:12],
            one.spec.annotations.name,
            one.spec.driver or "overlay",
            one.subnet or "-",
            str(one.vni) if one.vni else "-",
            "yes" if one.spec.attachable else "no",
            "being removed" if one.pending_delete else ago(one.meta.created_at),
        )
    return table


@network.command("create")
@click.argument("name")
@click.option("--driver", "-d", default="overlay", show_default=True, help="overlay is the only one there is.")
@click.option("--subnet", help="The network's subnet, such as 10.200.0.0/24. Default: chosen by the cluster.")
@click.option("--gateway", help="The gateway's address in it.")
@click.option("--ip-range", help="Give addresses out of this part of the subnet only.")
@click.option("--internal", is_flag=True, help="No way out of it.")
@click.option("--attachable", is_flag=True, help="Containers that are no tasks may join it.")
@click.option("--ipv6", is_flag=True, help="IPv6 addresses, too.")
@click.option("--opt", "-o", multiple=True, type=PAIR, metavar="KEY=VALUE", help="An option of the driver.")
@click.option("--label", multiple=True, type=PAIR, metavar="KEY=VALUE", help="Label it.")
def create(
    name: str,
    driver: str,
    subnet: str | None,
    gateway: str | None,
    ip_range: str | None,
    internal: bool,
    attachable: bool,
    ipv6: bool,
    opt: tuple[tuple[str, str], ...],
    label: tuple[tuple[str, str], ...],
) -> None:
    """Create a network and print its id."""
    if (gateway or ip_range) and not subnet:
        raise click.UsageError("--gateway and --ip-range go with --subnet only")
    spec = NetworkSpec(driver=driver, internal=internal, attachable=attachable, ipv6=ipv6, driver_opts=dict(opt))
    spec.annotations.name = name
    spec.annotations.labels.update(label)
    if subnet:
        spec.ipam.append(IpamConfig(subnet=subnet, gateway=gateway or "", ip_range=ip_range or ""))
    click.echo(current().client.networks.create(spec).id)


@network.command("inspect")
@click.argument("names", nargs=-1, required=True, type=NETWORK, metavar="NETWORK...")
@reading_options
def inspect(names: tuple[str, ...]) -> None:
    """Show all there is to know of networks."""
    session = current()
    show_objects([session.client.networks.get(name) for name in names], session.format)


@network.command("rm")
@click.argument("names", nargs=-1, required=True, type=NETWORK, metavar="NETWORK...")
def remove(names: tuple[str, ...]) -> None:
    """Remove networks that no service uses."""

    def act(name: str) -> None:
        current().client.networks.remove(name)
        click.echo(name)

    each(names, "removal", act)
