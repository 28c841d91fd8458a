"""Tables for people: aligned on a terminal (rich), and plain, untruncated lines when piped."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

_GAP = "   "


@dataclass(frozen=True, slots=True)
class Column:
    """A column.  Where the terminal is narrow, `may_wrap` columns wrap and the others stay whole."""

    title: str
    may_wrap: bool = False
    right: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a colour's name (`green`, `yellow`, `red`, `dim`), which shows on terminals only."""

    text: str
    style: str = ""


@dataclass(slots=True)
class Table:
    """Columns and rows; `empty` is said instead when there are no rows, on terminals."""

    columns: Sequence[Column]
    rows: list[Sequence[str | Cell]] = field(default_factory=list)
    has_header: bool = True

    def add(self, *cells: str | Cell) -> None:
        """Append a row."""
        self.rows.append(cells)


def print_table(table: Table) -> None:
    """Print to standard output."""
    if sys.stdout.isatty():
        _print_rich(table)
        return
    for line in plain_lines(table):
        click.echo(line)


def plain_lines(table: Table) -> list[str]:
    """The table as lines, columns aligned, nothing cut off."""
    texts = [[_text(cell) for cell in row] for row in table.rows]
    if table.has_header:
        texts.insert(0, [column.title for column in table.columns])
    widths = [max((len(row[i]) for row in texts), default=0) for i in range(len(table.columns))]
    return [_GAP.join(_pad(cell, widths[i], table.columns[i]) for i, cell in enumerate(row)).rstrip() for row in texts]


def _pad(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.right else text.ljust(width)


def _text(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def rich_table(table: Table) -> object:
    """The table as a rich renderable."""
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=table.has_header, pad_edge=False)
    for column in table.columns:
        grid.add_column(
            column.title,
            no_wrap=not column.may_wrap,
            overflow="fold" if column.may_wrap else "ellipsis",
            justify="right" if column.right else "left",
            min_width=min(len(column.title), 8),
        )
    for row in table.rows:
        grid.add_row(*(Text(_text(cell), style=cell.style if isinstance(cell, Cell) else "") for cell in row))
    return grid


def _print_rich(table: Table) -> None:
    from rich.console import Console

    Console(highlight=False).print(rich_table(table))
