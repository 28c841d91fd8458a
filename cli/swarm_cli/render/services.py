"""Services for people."""

from collections.abc import Iterable, Mapping

from swarm_api.control_pb2 import ServiceProgress
from swarm_api.objects_pb2 import Service, UpdateStatus
from swarm_api.types_pb2 import PortConfig

from swarm_cli.render.runs import next_run
from swarm_cli.render.tasks import port_text, short_image
from swarm_cli.render.text import Cell, Column, Table

_COLUMNS = (
    Column("ID"),
    Column("NAME"),
    Column("MODE", rank=2),
    Column("REPLICAS"),
    Column("IMAGE", rank=1),
    Column("PORTS", may_wrap=True, rank=3),
)


def service_table(services: Iterable[Service], progress: Mapping[str, ServiceProgress]) -> Table:
    """One line a service, by name; what is waited for stands beside the count of tasks."""
    services = sorted(services, key=lambda service: service.spec.annotations.name)
    with_notes = any(_note(service, progress.get(service.id)) for service in services)
    table = Table((*_COLUMNS, Column("WAITING FOR", may_wrap=True)) if with_notes else _COLUMNS)
    for service in services:
        row: list[str | Cell] = [
            service.id[:12],
            service.spec.annotations.name,
            mode_name(service),
            replicas(service, progress.get(service.id)),
            short_image(service.spec.task.container.image),
            ", ".join(port_text(port) for port in published(service)),
        ]
        table.add(*row, *([Cell(_note(service, progress.get(service.id)), "yellow")] if with_notes else []))
    return table


def mode_name(service: Service) -> str:
    """`replicated`, `global`, `replicated job`, `global job` or `cron`."""
    mode = (service.spec.WhichOneof("mode") or "replicated").replace("_", " ")
    return f"cron ({service.spec.schedule.expression})" if service.spec.schedule.expression else mode


def replicas(service: Service, progress: ServiceProgress | None) -> Cell:
    """`2/3`, or for jobs `2/3 (1 completed)`: those that run, those that are wanted, those that are over."""
    if progress is None:
        return Cell("?")
    is_job = (service.spec.WhichOneof("mode") or "").endswith("job")
    count = progress.completed if is_job else progress.running
    text = f"{progress.running}/{progress.wanted}" + (f" ({progress.completed} completed)" if is_job else "")
    limit = service.spec.task.placement.max_replicas
    if limit:
        text += f" (max {limit} per node)"
    if progress.failed:
        return Cell(f"{text}, {progress.failed} failed", "red")
    return Cell(text, "green" if count >= progress.wanted else "yellow")


def published(service: Service) -> list[PortConfig]:
    """The published ports, with those that were chosen by the cluster filled in."""
    return list(service.endpoint.ports or service.spec.endpoint.ports)


def _note(service: Service, progress: ServiceProgress | None) -> str:
    if service.pending_delete:
        return "being removed"
    state = service.update_status.state
    if state in (UpdateStatus.PAUSED, UpdateStatus.ROLLBACK_PAUSED):
        return service.update_status.message
    if state == UpdateStatus.CANARY and (progress is None or not progress.waiting_for):
        return service.update_status.message
    waiting = progress.waiting_for if progress is not None else ""
    if not waiting and state in (UpdateStatus.UPDATING, UpdateStatus.ROLLBACK_STARTED):
        return service.update_status.message or "updating"
    return "; ".join(said for said in (" ".join(waiting.split()), next_run(service)) if said)
