"""`up`, `ps`, `scale`, `down`: the compose file of the working folder, as with docker compose."""

from typing import Any

import click

from swarm_cli.commands.service import parse_targets, scale_one
from swarm_cli.commands.stack import show_stack_tasks
from swarm_cli.deployment import deploy, load_project, project_options, remove
from swarm_cli.options import format_option, reading_options, wait_options
from swarm_cli.session import current
from swarm_cli.tasks import project_task_options
from swarm_cli.waiting import Wait, wait_for


@click.command()
@project_options
@click.option("--remove-orphans", "--prune", "prune", is_flag=True, help="Remove services the file no longer has.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@format_option
@wait_options
def up(
    files: tuple[str, ...],
    project_name: str | None,
    profiles: tuple[str, ...],
    env_files: tuple[str, ...],
    prune: bool,
    dry_run: bool,
    detach: bool,
    quiet: bool,
    timeout_s: float,
) -> None:
    """Make the cluster run the compose file of this folder, and wait until it does."""
    project = load_project(files, project_name, profiles, env_files)
    deploy(current(), project, project.name, Wait(detach, quiet, timeout_s), prune=prune, dry_run=dry_run)


@click.command()
@project_options
@reading_options
@project_task_options
def ps(
    files: tuple[str, ...],
    project_name: str | None,
    profiles: tuple[str, ...],
    env_files: tuple[str, ...],
    **options: Any,
) -> None:
    """Show the tasks of this folder's compose file: where each runs, and why one does not."""
    show_stack_tasks(_name(files, project_name, profiles, env_files), **options)


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="SERVICE=REPLICAS...")
@project_options
@wait_options
def scale(
    targets: tuple[str, ...],
    files: tuple[str, ...],
    project_name: str | None,
    profiles: tuple[str, ...],
    env_files: tuple[str, ...],
    detach: bool,
    quiet: bool,
    timeout_s: float,
) -> None:
    """Set how many tasks services of this folder's compose file have."""
    parsed = parse_targets(targets)
    stack = _name(files, project_name, profiles, env_files)
    ids = [scale_one(f"{stack}_{service}", replicas).id for service, replicas in parsed]
    wait_for(current(), ids, Wait(detach, quiet, timeout_s))


@click.command()
@project_options
@click.option("--detach", "-d", is_flag=True, help="Do not wait until the containers are gone.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS"
)
def down(
    files: tuple[str, ...],
    project_name: str | None,
    profiles: tuple[str, ...],
    env_files: tuple[str, ...],
    detach: bool,
    timeout_s: float,
) -> None:
    """Remove all that 'up' made; volumes stay on the nodes."""
    remove(current(), _name(files, project_name, profiles, env_files), detach=detach, timeout_s=timeout_s)


def _name(
    files: tuple[str, ...], project_name: str | None, profiles: tuple[str, ...], env_files: tuple[str, ...]
) -> str:
    """The stack's name; the file is read only when it decides the name."""
    return project_name or load_project(files, None, profiles, env_files).name
