"""`swarm-cli context`: named ways to clusters, for machines that are no nodes."""

import json
import shutil
import sys
from pathlib import Path

import click
from swarm_api.access import Context, contexts_folder, current_context, parse_addresses
from swarm_api.access import context as find_context

from swarm_cli.errors import CliError
from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.render.text import Column, Table, print_table
from swarm_cli.session import current

_FILES = ("ca.crt", "client.crt", "client.key")


@click.group()
def context() -> None:
    """Contexts: reach clusters by name from a machine that is no node of them.

    Make one on a manager and carry it over:

    \b
        ssh root@manager 'swarm-cli context create laptop && swarm-cli context export laptop -' \\
            | swarm-cli context import prod -
        swarm-cli --context prod node ls
    """


@context.command("create")
@click.argument("name")
@click.option("--user", metavar="NAME", help="Who the certificate is for. Default: the context's name.")
def create(name: str, user: str | None) -> None:
    """Have a manager issue an admin certificate, and keep it as the context NAME."""
    from swarm_api.identity import new_key_and_csr

    made = find_context(name)
    _refuse_existing(made)
    key_pem, csr_pem = new_key_and_csr()
    session = current()
    issued = session.client.admin_certificate(csr_pem, user or name)
    addresses = parse_addresses(session.managers) or tuple(peer.address for peer in issued.managers)
    _store(made, addresses, {"ca.crt": issued.ca_pem, "client.crt": issued.certificate_pem, "client.key": key_pem})
    click.echo(f"The context {name} is made: use it with --context {name}, or 'swarm-cli context use {name}'.")


def _refuse_existing(made: Context) -> None:
    if made.folder.exists():
        raise CliError(f"There is a context {made.name!r} already; 'swarm-cli context rm {made.name}' removes it.")


def _store(made: Context, addresses: tuple[str, ...], files: dict[str, bytes]) -> None:
    """Write a context's folder, 0700, its files 0600."""
    from swarm_api.identity import write_private

    try:
        made.folder.mkdir(mode=0o700, parents=True)
        for name in _FILES:
            write_private(made.folder / name, files[name])
        write_private(made.folder / "context.toml", f"managers = {json.dumps(list(addresses))}\n".encode())
    except OSError as error:
        shutil.rmtree(made.folder, ignore_errors=True)
        raise CliError(f"The context cannot be kept in {made.folder}: {error.strerror}.") from error


@context.command("ls")
@format_option
def list_() -> None:
    """List contexts; `*` marks the one in use."""
    chosen = current_context()
    found = [find_context(folder.name) for folder in _folders()]
    if current().format != "table":
        print_document(
            {"contexts": [{"name": c.name, "managers": list(c.managers), "current": c.name == chosen} for c in found]},
            current().format,
        )
        return
    table = Table([Column("NAME"), Column("MANAGERS", may_wrap=True)])
    for one in found:
        table.add(f"{one.name} *" if one.name == chosen else one.name, ", ".join(one.managers))
    print_table(table)


def _folders() -> list[Path]:
    try:
        return sorted(folder for folder in contexts_folder().iterdir() if (folder / "context.toml").is_file())
    except OSError:
        return []


@context.command("show")
@click.argument("name", required=False)
@format_option
def show(name: str | None) -> None:
    """Show a context: its managers, its user, and how long its certificate holds. Default: the one in use."""
    from swarm_api.identity import identify
    from swarm_api.join_token import IdentityError

    one = find_context(name or current_context() or _none_in_use())
    credentials = one.credentials()
    try:
        identity = identify(credentials.certificate_pem, credentials.ca_pem)
    except IdentityError as error:
        raise CliError(f"The context {one.name!r} cannot be used: {error}; make it anew.") from error
    data = {
        "name": one.name,
        "managers": list(one.managers),
        "cluster_id": identity.cluster_id,
        "user": identity.node_id,
        "role": identity.role,
        "valid_until": identity.not_after.isoformat(),
    }
    if current().format != "table":
        print_document(data, current().format)
        return
    table = Table([Column(""), Column("", may_wrap=True)], has_header=False)
    for key, value in data.items():
        table.add(key.replace("_", " ").capitalize(), ", ".join(value) if isinstance(value, list) else str(value))
    print_table(table)


def _none_in_use() -> str:
    raise CliError("No context is in use; name one, or choose one with 'swarm-cli context use NAME'.")


@context.command("use")
@click.argument("name", required=False)
@click.option("--none", is_flag=True, help="Use no context: this machine's own node.")
def use(name: str | None, none: bool) -> None:
    """Use a context where no --context is given."""
    marker = contexts_folder().parent / "current-context"
    if none:
        marker.unlink(missing_ok=True)
        click.echo("No context is in use now.")
        return
    if name is None:
        raise click.UsageError("name a context, or give --none")
    find_context(name).credentials()  # a context that cannot be used is not chosen
    marker.write_text(f"{name}\n")
    click.echo(f"The context {name} is in use now.")


@context.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="CONTEXT...")
def remove(names: tuple[str, ...]) -> None:
    """Remove contexts from this machine; their certificates stay valid until they expire."""
    for name in names:
        one = find_context(name)
        if not one.folder.is_dir():
            raise CliError(f"There is no context {name!r}; 'swarm-cli context ls' shows those there are.")
        shutil.rmtree(one.folder)
        if current_context() == name:
            (contexts_folder().parent / "current-context").unlink(missing_ok=True)
        click.echo(name)


@context.command("export")
@click.argument("name")
@click.argument("file", metavar="FILE|-")
def export(name: str, file: str) -> None:
    """Write a context to one file, with its key: keep it as a password is kept."""
    from swarm_api.identity import write_private

    one = find_context(name)
    document: dict[str, object] = {"managers": list(one.managers)}
    try:
        document |= {part: (one.folder / part).read_text() for part in _FILES}
        text = json.dumps(document, indent=2) + "\n"
        if file == "-":
            click.echo(text, nl=False)
        else:
            write_private(Path(file).absolute(), text.encode())
    except OSError as error:
        raise CliError(f"The context cannot be exported: {error.filename}: {error.strerror}.") from error


@context.command("import")
@click.argument("name")
@click.argument("file", metavar="FILE|-")
def import_(name: str, file: str) -> None:
    """Keep what 'context export' wrote as the context NAME."""
    made = find_context(name)
    _refuse_existing(made)
    try:
        document = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())
        files = {part: str(document[part]).encode() for part in _FILES}
        addresses = parse_addresses([str(address) for address in document["managers"]])
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        raise CliError(f"{file} is no exported context; 'swarm-cli context export NAME FILE' writes one.") from None
    _store(made, addresses, files)
    click.echo(f"The context {name} is made: use it with --context {name}, or 'swarm-cli context use {name}'.")
