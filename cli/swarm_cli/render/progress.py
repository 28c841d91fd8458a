"""Progress while services converge: live on a terminal, a line a change when piped.

It goes to standard error, so that standard output holds what a command answers and nothing else.
"""

import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import click
from swarm_api.converging import Convergence

from swarm_cli.render.text import Cell, Column, Table, rich_table

_BAR = 20


class Progress(Protocol):
    """Shows how services stand; a context manager around the waiting."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, standing: Sequence[Convergence]) -> None:
        """Show how the services stand now."""


def progress(*, quiet: bool) -> Progress:
    """The right one for standard error."""
    if quiet:
        return _Silent()
    return _Live() if sys.stderr.isatty() else _Lines(_echo)


def _echo(line: str) -> None:
    click.echo(line, err=True)


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, standing: Sequence[Convergence]) -> None:
        del standing


class _Lines(_Silent):
    """Prints a service's line when it changes."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._last: dict[str, str] = {}

    def show(self, standing: Sequence[Convergence]) -> None:
        for one in standing:
            line = f"{one}{' (done)' if one.done else ''}"
            if self._last.get(one.service_id) != line:
                self._last[one.service_id] = line
                self._echo(line)


class _Live(_Silent):
    """A table that is redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live: Any = Live(console=Console(stderr=True, highlight=False), refresh_per_second=12, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.__exit__(*details)

    def show(self, standing: Sequence[Convergence]) -> None:
        self._live.update(rich_table(progress_table(standing)))


def progress_table(standing: Sequence[Convergence]) -> Table:
    """A line a service: how far it is, and what is waited for."""
    table = Table((Column("SERVICE"), Column("", False), Column("TASKS"), Column("", may_wrap=True)))
    for one in standing:
        done = min(one.running, one.wanted)
        filled = _BAR if not one.wanted else _BAR * done // one.wanted
        style = "green" if one.done else "yellow"
        what = "complete" if one.is_job else "running"
        note = Cell("converged", "green") if one.done else Cell(one.waiting_for or "starting", "yellow")
        table.add(
            one.name, Cell("━" * filled + "╌" * (_BAR - filled), style), f"{one.running}/{one.wanted} {what}", note
        )
    return table
