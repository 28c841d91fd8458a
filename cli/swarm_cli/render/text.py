"""Tables for people: aligned on a terminal (rich), and plain, untruncated lines when piped."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

_GAP = "   "
_WRAPPED_WIDTH = 24  # what a column that may wrap should have at least


@dataclass(frozen=True, slots=True)
class Column:
    """A column.  Where the terminal is narrow, `may_wrap` columns wrap, and then those with a `rank` go.

    The highest rank goes first; rank 0 stays always.  What is piped has all columns.
    """

    title: str
    may_wrap: bool = False
    right: bool = False
    rank: int = 0


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


def fitting(table: Table, width: int) -> Table:
    """The table with the columns that fit into `width` characters; those of rank that are empty go, too."""
    needs = [_need(table, index) for index in range(len(table.columns))]
    kept = [i for i, column in enumerate(table.columns) if not column.rank or any(_text(r[i]) for r in table.rows)]
    while sum(needs[i] + 2 for i in kept) - 2 > width:
        dispensable = max(kept, key=lambda i: table.columns[i].rank)
        if not table.columns[dispensable].rank:
            break
        kept.remove(dispensable)
    rows: list[Sequence[str | Cell]] = [[row[i] for i in kept] for row in table.rows]
    return Table([table.columns[i] for i in kept], rows, table.has_header)


def _need(table: Table, index: int) -> int:
    """How wide a column must be."""
    column = table.columns[index]
    longest = max((len(_text(row[index])) for row in table.rows), default=0)
    return max(min(longest, _WRAPPED_WIDTH) if column.may_wrap else longest, len(column.title))


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

    console = Console(highlight=False)
    console.print(rich_table(fitting(table, console.width)))
