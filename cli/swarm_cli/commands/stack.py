"""`swarm-cli stack`: the services, networks, secrets and configs of a compose file, as one thing."""

from typing import Any

import click
from swarm_api.control_pb2 import ListStacksResponse
from swarm_api.naming import STACK_LABEL
from swarm_api.nouns import make_filter

from swarm_cli.compose.load import sanitized
from swarm_cli.deployment import deploy as deploy_project
from swarm_cli.deployment import file_options, load_project, remove, warn
from swarm_cli.errors import CliError
from swarm_cli.naming import STACK
from swarm_cli.options import each, format_option, reading_options, wait_options
from swarm_cli.render.document import format_document
from swarm_cli.render.services import service_table
from swarm_cli.render.text import Column, Table
from swarm_cli.render.times import ago
from swarm_cli.session import current
from swarm_cli.tasks import show_tasks, task_options
from swarm_cli.waiting import Wait


@click.group()
def stack() -> None:
    """Stacks: what one compose file makes."""


@stack.command("deploy")
@click.argument("name", metavar="STACK")
@click.option(
    "--compose-file", "-c", "files", multiple=True, required=True, metavar="FILE", help="'-': standard input."
)
@click.option("--prune", is_flag=True, help="Remove services that the file no longer has.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@file_options
@format_option
@wait_options
def deploy(
    name: str,
    files: tuple[str, ...],
    prune: bool,
    dry_run: bool,
    profiles: tuple[str, ...],
    env_files: tuple[str, ...],
    detach: bool,
    quiet: bool,
    timeout_s: float,
) -> None:
    """Make the cluster run what a compose file says, and wait until it does.

    What is there already and has not changed is left alone.
    """
    project = load_project(files, _project_name(name), profiles, env_files)
    deploy_project(current(), project, name, Wait(detach, quiet, timeout_s), prune=prune, dry_run=dry_run)


def _project_name(stack_name: str) -> str:
    """A stack's name may have capitals, a project's (COMPOSE_PROJECT_NAME) may not."""
    return sanitized(stack_name)


@stack.command("config")
@click.option(
    "--compose-file", "-c", "files", multiple=True, required=True, metavar="FILE", help="'-': standard input."
)
@file_options
@format_option
def config(files: tuple[str, ...], profiles: tuple[str, ...], env_files: tuple[str, ...]) -> None:
    """Check a compose file and print it with all variables substituted; no manager is asked."""
    project = load_project(files, None, profiles, env_files)
    warn(project.warnings)
    form = "json" if current().format == "json" else "yaml"
    click.echo(format_document({"name": project.name, **project.data}, form), nl=False)


@stack.command("ls")
@reading_options
def list_() -> None:
    """List stacks."""
    session = current()
    stacks = session.client.stacks.list()

    def table() -> Table:
        rows = Table([Column("NAME"), Column("SERVICES", right=True), Column("UPDATED")])
        for one in sorted(stacks, key=lambda summary: summary.stack.annotations.name):
            meta = one.stack.meta
            changed = meta.updated_at if meta.updated_at.seconds else meta.created_at
            rows.add(one.stack.annotations.name, str(one.services), ago(changed))
        return rows

    session.show(ListStacksResponse(stacks=stacks), table)


@stack.command("ps")
@click.argument("name", type=STACK, metavar="STACK")
@reading_options
@task_options
def ps(name: str, **options: Any) -> None:
    """Show the tasks of a stack: where each runs, and why one does not."""
    show_stack_tasks(name, **options)


def show_stack_tasks(name: str, **options: Any) -> None:
    """Print the tasks of a stack; CliError when there is no such stack."""
    session = current()
    services = session.client.services.list(make_filter(labels={STACK_LABEL: name}))
    if not services:
        raise CliError(f"There is no stack {name!r}; 'swarm-cli stack ls' shows those there are.")
    show_tasks(session, session.client.tasks.list(service_ids=[one.id for one in services]), **options)


@stack.command("services")
@click.argument("name", type=STACK, metavar="STACK")
@reading_options
def services(name: str) -> None:
    """List the services of a stack."""
    session = current()
    listed = session.client.services.list_with_progress(make_filter(labels={STACK_LABEL: name}))
    if not listed.services:
        raise CliError(f"There is no stack {name!r}; 'swarm-cli stack ls' shows those there are.")
    session.show(listed, lambda: service_table(listed.services, listed.progress))


@stack.command("rm")
@click.argument("names", nargs=-1, required=True, type=STACK, metavar="STACK...")
@click.option("--detach", "-d", is_flag=True, help="Do not wait until the containers are gone.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS"
)
def rm(names: tuple[str, ...], detach: bool, timeout_s: float) -> None:
    """Remove stacks with all that belongs to them; volumes stay on the nodes."""
    each(names, "removal", lambda name: remove(current(), name, detach=detach, timeout_s=timeout_s))
