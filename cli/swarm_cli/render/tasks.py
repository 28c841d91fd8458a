"""Tasks for people: what each slot should do, what it does, and why not."""

from collections.abc import Iterable, Mapping

from swarm_api.objects_pb2 import Node, Task
from swarm_api.states import is_over, state_name
from swarm_api.types_pb2 import PortConfig, TaskState

from swarm_cli.render.text import Cell, Column, Table
from swarm_cli.render.times import ago

_COLUMNS = (
    Column("ID"),
    Column("NAME"),
    Column("IMAGE", rank=3),
    Column("NODE"),
    Column("DESIRED", rank=1),
    Column("OBSERVED"),
    Column("WHY", may_wrap=True),
    Column("PORTS", rank=4),
)
_STYLES = {
    TaskState.RUNNING: "green",
    TaskState.COMPLETE: "green",
    TaskState.FAILED: "red",
    TaskState.REJECTED: "red",
    TaskState.ORPHANED: "red",
    TaskState.SHUTDOWN: "dim",
}


def task_table(
    tasks: Iterable[Task], nodes: Mapping[str, Node], *, whole: bool = False, now_s: float | None = None
) -> Table:
    """One line a task; a task that another replaced in its slot is marked as Docker marks it.

    Versions of the spec are shown where a service's wanted tasks are not all of one: a canary, or an update.
    """
    tasks = list(tasks)
    with_version = _has_versions(tasks)
    table = Table((*_COLUMNS[:3], Column("VERSION", rank=2), *_COLUMNS[3:]) if with_version else _COLUMNS)
    previous = None
    for task in tasks:
        slot = (task.service_id, task.slot, "" if task.slot else task.node_id)
        version = [str(task.spec_version.index)] if with_version else []
        table.add(
            task.id if whole else task.id[:12],
            _name(task, nodes, is_older=slot == previous),
            short_image(task.spec.container.image) if not whole else task.spec.container.image,
            *version,
            node_name(task.node_id, nodes),
            state_name(task.desired_state).capitalize(),
            Cell(_observed(task, now_s), _STYLES.get(task.status.state, "yellow")),
            Cell(why(task, whole=whole), "red" if task.status.err else ""),
            ports(task),
        )
        previous = slot
    return table


def _has_versions(tasks: Iterable[Task]) -> bool:
    versions: dict[str, set[int]] = {}
    for task in tasks:
        if task.desired_state <= TaskState.RUNNING:
            versions.setdefault(task.service_id, set()).add(task.spec_version.index)
    return any(len(known) > 1 for known in versions.values())


def _name(task: Task, nodes: Mapping[str, Node], *, is_older: bool) -> str:
    place = str(task.slot) if task.slot else node_name(task.node_id, nodes) or task.id[:12]
    name = f"{task.service_annotations.name}.{place}"
    return f" \\_ {name}" if is_older else name


def node_name(node_id: str, nodes: Mapping[str, Node]) -> str:
    """The node's host name; its id when it is gone; empty for no node."""
    node = nodes.get(node_id)
    name = (node.spec.annotations.name or node.description.hostname) if node is not None else ""
    return name or node_id[:12]


def short_image(image: str) -> str:
    """An image without its digest."""
    return image.partition("@")[0]


def _observed(task: Task, now_s: float | None) -> str:
    when = ago(task.status.timestamp, now_s)
    return f"{state_name(task.status.state).capitalize()} {when}".strip()


def why(task: Task, *, whole: bool = False) -> str:
    """Why a task does not run: the error, or what it waits for."""
    status = task.status
    text = status.err
    if not text and status.container.health:
        text = f"unhealthy: {status.container.health}"
    if not text and is_over(task) and status.container.exit_code:
        text = f"exit code {status.container.exit_code}" + (" (out of memory)" if status.container.oom_killed else "")
    if not text and status.state < TaskState.RUNNING:
        text = status.message
    text = " ".join(text.split())
    return text if whole or len(text) <= 200 else f"{text[:199]}…"


def ports(task: Task) -> str:
    """The ports the task's node itself answers on."""
    return ", ".join(port_text(port) for port in task.status.host_ports)


def port_text(port: PortConfig) -> str:
    """`*:8080->80/tcp`."""
    protocol = PortConfig.Protocol.Name(port.protocol).lower()
    published = str(port.published_port) if port.published_port else "?"
    return f"*:{published}->{port.target_port}/{protocol}"
