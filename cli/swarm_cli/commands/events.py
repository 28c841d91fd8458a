"""`swarm-cli events`: changes as they happen."""

import json
from datetime import UTC, datetime

import click
from swarm_api.naming import task_name
from swarm_api.objects_pb2 import Task
from swarm_api.states import state_name
from swarm_api.watching import Change

from swarm_cli.options import format_option
from swarm_cli.render.document import format_document, to_data
from swarm_cli.session import current

_KINDS = ("node", "service", "task", "network", "secret", "config", "stack", "cluster")


@click.command()
@click.option("--kind", "-k", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only these. Default: all.")
@click.option("--since", type=click.IntRange(min=0), default=0, metavar="VERSION", help="Begin after this version.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many.")
@format_option
def events(kinds: tuple[str, ...], since: int, limit: int | None) -> None:
    """Print changes as they happen, until Ctrl-C; goes on when the leader changes.

    With --format json each change is one line with one JSON object, with yaml a document.
    """
    session = current()
    watch = session.client.watch(kinds, resume_from=since)
    try:
        for count, change in enumerate(watch, start=1):
            click.echo(_line(change, session.format), nl=session.format != "yaml")
            if count == limit:
                return
    finally:
        watch.close()


def _line(change: Change, form: str) -> str:
    if form == "table":
        return f"{_time(change)} {change.kind} {change.action} {_name(change)}{_details(change)}"
    data = {
        "at": _time(change),
        "version": change.version,
        "action": change.action,
        "kind": change.kind,
        "object": to_data(change.object),
    }
    return json.dumps(data, ensure_ascii=False) if form == "json" else f"---\n{format_document(data, form)}"


def _time(change: Change) -> str:
    return datetime.fromtimestamp(change.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _name(change: Change) -> str:
    item = change.object
    if isinstance(item, Task):
        return f"{task_name(item)} ({item.id[:12]})"
    annotations = item.annotations if hasattr(item, "annotations") else item.spec.annotations
    name = annotations.name or getattr(getattr(item, "description", None), "hostname", "")
    return f"{name} ({item.id[:12]})" if name else item.id[:12]


def _details(change: Change) -> str:
    item = change.object
    if not isinstance(item, Task):
        return ""
    where = f" on {item.node_id[:12]}" if item.node_id else ""
    err = f": {item.status.err}" if item.status.err else ""
    return f" {state_name(item.status.state)} (wanted: {state_name(item.desired_state)}){where}{err}"
