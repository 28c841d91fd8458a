"""The kept versions of a service for people."""

from itertools import pairwise

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.defaults import SERVICE_HISTORY_LIMIT
from swarm_api.differences import changed_fields
from swarm_api.objects_pb2 import Service, SpecRevision

from swarm_cli.render.text import Cell, Column, Table
from swarm_cli.render.times import ago

_COLUMNS = (Column("VERSION"), Column("SINCE"), Column("BY", rank=1), Column("WHAT CHANGED", may_wrap=True))


def revisions(service: Service) -> list[SpecRevision]:
    """The present spec and the kept ones before it, newest first."""
    present = SpecRevision(version=service.spec_version, spec=service.spec, changed_by=service.spec_changed_by)
    return [present, *service.history]


def revision_table(service: Service, now_s: float | None = None) -> Table:
    """A line a version, newest first. What the oldest kept one changed is known only of a service's first."""
    table = Table(_COLUMNS)
    kept = revisions(service)
    for newer, older in pairwise(kept):
        _add(table, newer, older.replaced_at, changed_fields(older.spec, newer.spec), now_s)
    is_first = len(service.history) < SERVICE_HISTORY_LIMIT
    _add(table, kept[-1], service.meta.created_at if is_first else Timestamp(), "created" if is_first else "", now_s)
    return table


def _add(table: Table, revision: SpecRevision, since: Timestamp, what: str, now_s: float | None) -> None:
    is_present = not revision.HasField("replaced_at")
    number = f"{revision.version.index}{' (present)' if is_present else ''}"
    table.add(Cell(number, "green" if is_present else ""), ago(since, now_s), revision.changed_by, what)
