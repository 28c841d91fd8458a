"""One object for people: what is set, as an indented list."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
from google.protobuf.message import Message

from swarm_cli.render.document import print_document, to_data


def show_objects(messages: Sequence[Message], form: str) -> None:
    """Print objects: one as itself, several as a list; as text for people, JSON or YAML."""
    if form != "table":
        print_document(messages[0] if len(messages) == 1 else list(messages), form)
        return
    for number, message in enumerate(messages):
        if number:
            click.echo()
        for line in lines(to_data(message, with_empty=False)):
            click.echo(line)


def lines(data: Any, indent: str = "") -> Iterator[str]:
    """`name: value` lines, indented where values have parts."""
    for key, value in data.items():
        title = _bold(f"{key}:")
        if isinstance(value, dict):
            yield f"{indent}{title}" if value else f"{indent}{title} {{}}"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{title}"
            yield from _items(value, indent + "  ")
        else:
            yield f"{indent}{title} {_one_line(value, indent)}"


def _items(values: list[Any], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, dict):
            nested = list(lines(value, indent + "  "))
            yield f"{indent}- {nested[0].lstrip()}" if nested else f"{indent}- {{}}"
            yield from nested[1:]
        else:
            yield f"{indent}- {_one_line(value, indent)}"


def _one_line(value: Any, indent: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("\n", f"\n{indent}  ")


def _bold(text: str) -> str:
    return click.style(text, bold=True) if sys.stdout.isatty() else text
