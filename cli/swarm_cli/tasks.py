"""Showing tasks: the same options and columns for `service ps`, `node ps`, `stack ps` and `ps`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from swarm_api.control_pb2 import ListTasksResponse
from swarm_api.objects_pb2 import Task
from swarm_api.states import state_name

from swarm_cli.options import filter_option, quiet_option
from swarm_cli.render.tasks import node_name, task_table
from swarm_cli.session import Session

_Command = TypeVar("_Command", bound=Callable[..., Any])


def task_options(command: _Command) -> _Command:
    """`--running`, `--no-trunc`, `--quiet`, `--filter` of commands that show tasks."""
    return _task_options(command, has_short=True)


def project_task_options(command: _Command) -> _Command:
    """The same where `-f` is the compose file."""
    return _task_options(command, has_short=False)


def _task_options(command: _Command, *, has_short: bool) -> _Command:
    command = click.option("--no-trunc", is_flag=True, help="Whole ids, images and reasons.")(command)
    command = click.option("--running", is_flag=True, help="Only tasks that are wanted to run.")(command)
    command = filter_option(("id", "name", "node", "desired-state"), has_short=has_short)(command)
    return quiet_option(command)


def show_tasks(
    session: Session,
    tasks: Sequence[Task],
    *,
    quiet: bool,
    no_trunc: bool,
    running: bool,
    filters: dict[str, list[str]],
) -> None:
    """Print the tasks that pass the filters."""
    nodes = {node.id: node for node in session.client.nodes.list()}

    def passes(task: Task) -> bool:
        name = f"{task.service_annotations.name}.{task.slot or task.node_id}"
        desired = state_name(task.desired_state)
        places = (task.node_id, node_name(task.node_id, nodes))
        return (
            (not running or desired == "running")
            and _any(filters.get("id"), task.id.startswith)
            and _any(filters.get("name"), name.startswith)
            and _any(filters.get("desired-state"), desired.__eq__)
            and _any(filters.get("node"), places.__contains__)
        )

    shown = [task for task in tasks if passes(task)]
    if quiet:
        for task in shown:
            click.echo(task.id)
        return
    session.show(ListTasksResponse(tasks=shown), lambda: task_table(shown, nodes, whole=no_trunc))


def _any(values: list[str] | None, test: Callable[[str], bool]) -> bool:
    return not values or any(test(value) for value in values)
