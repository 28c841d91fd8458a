"""Rebalancing and draining from the command line: what is moved, and waiting until it is done."""

import time
from collections.abc import Callable, Mapping, Sequence

import click
from swarm_api.control_pb2 import RebalanceResponse
from swarm_api.errors import NotConvergedError
from swarm_api.objects_pb2 import Node, Task
from swarm_api.states import is_over, is_wanted

from swarm_cli.render.document import print_document
from swarm_cli.render.nodes import hostname
from swarm_cli.render.text import Column, Table, print_table
from swarm_cli.session import Session
from swarm_cli.waiting import Wait

_LOOK_AGAIN_S = 0.2


def rebalance(session: Session, services: Sequence[str], wait: Wait, *, everything: bool, dry_run: bool) -> None:
    """Ask for it, show the moves, and wait until they are made."""
    answer = session.client.rebalancing.start(services, everything=everything, dry_run=dry_run)
    if session.format != "table":
        print_document(answer, session.format)
    elif not wait.quiet:
        _show(session, answer)
    ids = list(dict.fromkeys(move.service_id for move in answer.moves))
    if ids and not dry_run and not wait.detach:
        _wait_rebalanced(session, ids, wait)


def _show(session: Session, answer: RebalanceResponse) -> None:
    for one in answer.unmoved:
        click.echo(one.reason, err=True)
    if not answer.moves:
        click.echo("Nothing to move: no node has less than another in a way that a move would even out.")
        return
    print_table(move_table(answer, {node.id: node for node in session.client.nodes.list()}))


def move_table(answer: RebalanceResponse, nodes: Mapping[str, Node]) -> Table:
    """A line a move: the task, from where, to where."""
    table = Table((Column("TASK"), Column("FROM"), Column("TO")))
    for move in answer.moves:
        places = (hostname(nodes[i]) if i in nodes else i[:12] for i in (move.from_node_id, move.to_node_id))
        table.add(f"{move.service_name}.{move.slot}", *places)
    return table


def _wait_rebalanced(session: Session, service_ids: Sequence[str], wait: Wait) -> None:
    def left() -> list[str]:
        services = [session.client.services.get(service_id) for service_id in service_ids]
        return [s.spec.annotations.name for s in services if s.HasField("rebalance_asked_at")]

    _wait_until_none(left, wait, lambda names: f"still being rebalanced: {', '.join(names)}")


def wait_drained(session: Session, node: Node, wait: Wait) -> None:
    """Until nothing runs on a node any more; NotConvergedError says what is left there, and why."""

    def left() -> list[str]:
        tasks = [task for task in session.client.tasks.list(node_ids=[node.id]) if not is_over(task)]
        return [_standing(session, task) for task in tasks]

    _wait_until_none(left, wait, lambda tasks: f"{hostname(node)}: {_count(len(tasks))} left: {'; '.join(tasks)}")


def _count(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks} tasks"


def _standing(session: Session, task: Task) -> str:
    """`web.1`, and what its replacement waits for."""
    name = f"{task.service_annotations.name}.{task.slot or task.node_id[:12]}"
    if not is_wanted(task):
        return f"{name} is being stopped"
    others = session.client.tasks.list(service_ids=[task.service_id])
    waiting = [other.status.err for other in others if other.replaces == task.id and other.status.err]
    return f"{name} ({waiting[0].rstrip('.')})" if waiting else name


def _wait_until_none(look: Callable[[], list[str]], wait: Wait, words: Callable[[list[str]], str]) -> None:
    deadline = time.monotonic() + wait.timeout_s if wait.timeout_s else None
    said = ""
    while left := look():
        line = words(left)
        if line != said and not wait.quiet:
            click.echo(line, err=True)
        said = line
        if deadline is not None and time.monotonic() > deadline:
            raise NotConvergedError(f"Not done after {wait.timeout_s:g} s (it goes on in the background); {line}.")
        time.sleep(_LOOK_AGAIN_S)
