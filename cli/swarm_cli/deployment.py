"""Deploying and removing stacks, for `stack deploy|rm` and for `up`, `down`: warnings, changes, waiting."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from swarm_api.control_pb2 import DeployStackResponse, StackChange
from swarm_api.errors import NotConvergedError
from swarm_api.objects_pb2 import ObjectKind
from swarm_api.states import is_over

from swarm_cli.compose.convert import convert
from swarm_cli.compose.load import Project, find_files, load
from swarm_cli.render.document import print_document
from swarm_cli.render.text import Cell, Column, Table, print_table
from swarm_cli.session import Session
from swarm_cli.waiting import Wait, wait_for

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STYLES = {
    StackChange.CREATED: "green",
    StackChange.UPDATED: "yellow",
    StackChange.REMOVED: "red",
    StackChange.UNCHANGED: "dim",
}
_LOOK_AGAIN_S = 0.2


def file_options(command: _Command) -> _Command:
    """`--profile` and `--env-file` of commands that read compose files."""
    command = click.option("--profile", "profiles", multiple=True, help="Also the services of this profile.")(command)
    return click.option(
        "--env-file",
        "env_files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        help="Variables for the file. Default: .env beside it.",
    )(command)


def project_options(command: _Command) -> _Command:
    """`-f` and `-p` of commands that work on a folder's compose file."""
    command = file_options(command)
    command = click.option(
        "--file", "-f", "files", multiple=True, metavar="FILE", help="The compose file; several are merged."
    )(command)
    return click.option(
        "--project-name", "-p", metavar="NAME", help="The stack's name. Default: the file's, or the folder's."
    )(command)


def load_project(
    files: Sequence[str], project_name: str | None, profiles: Sequence[str], env_files: Sequence[str]
) -> Project:
    """The project of the given files, or of the working folder."""
    paths = list(files) or find_files(Path())
    return load(paths, name=project_name, profiles=profiles, env_files=env_files)


def warn(warnings: Sequence[str]) -> None:
    """Say what a person should know, on stderr."""
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def deploy(
    session: Session, project: Project, stack: str, wait: Wait, *, prune: bool = False, dry_run: bool = False
) -> None:
    """Deploy a project as `stack`, say what changes, and wait until it runs."""
    conversion = convert(project, stack, prune=prune, dry_run=dry_run)
    warn(conversion.warnings)
    response = session.client.stacks.deploy(conversion.request)
    if session.format == "table" and not wait.quiet:
        print_table(change_table(response.changes))
    elif session.format != "table":
        print_document(response, session.format)
    if dry_run:
        return
    wait_for(session, running_services(response), wait)


def running_services(response: DeployStackResponse) -> list[str]:
    """The ids of the services that are to run."""
    return [
        change.id
        for change in response.changes
        if change.kind == ObjectKind.SERVICE and change.action != StackChange.REMOVED
    ]


def change_table(changes: Sequence[StackChange]) -> Table:
    """`Created  service  demo_web`, a line a change."""
    table = Table([Column(""), Column(""), Column("")], has_header=False)
    for change in changes:
        action = Cell(StackChange.Action.Name(change.action).capitalize(), _STYLES.get(change.action, ""))
        table.add(action, ObjectKind.Name(change.kind).lower(), change.name)
    return table


def remove(session: Session, stack: str, *, detach: bool, timeout_s: float) -> None:
    """Remove a stack, say what goes, and wait until its containers are gone."""
    changes = session.client.stacks.remove(stack)
    print_table(change_table(changes))
    ids = [change.id for change in changes if change.kind == ObjectKind.SERVICE]
    if not detach and ids:
        _wait_gone(session, ids, timeout_s)


def _wait_gone(session: Session, service_ids: Sequence[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s if timeout_s else None
    while left := [task for task in session.client.tasks.list(service_ids=service_ids) if not is_over(task)]:
        if deadline is not None and time.monotonic() > deadline:
            raise NotConvergedError(
                f"{len(left)} containers are not gone after {timeout_s:g} s (it goes on in the background)."
            )
        time.sleep(_LOOK_AGAIN_S)
