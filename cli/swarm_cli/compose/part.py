"""A mapping of a compose file that is being converted: what is never taken out of it is named in a warning.

So a key cannot be dropped in silence: whatever no converter knows is left over, and `finish` says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from swarm_cli.compose.interpolate import path_text
from swarm_cli.compose.reader import Document, Position
from swarm_cli.errors import ComposeError

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Notes:
    """The warnings of a conversion, in the file's order, each once."""

    document: Document
    warnings: list[str] = field(default_factory=list)

    def warn(self, position: Position, text: str) -> None:
        """`compose.yaml:7: services.web.build <text>`."""
        sentence = f"{self.document.where(position)}: {path_text(position)} {text}"
        if sentence not in self.warnings:
            self.warnings.append(sentence)


class Part:
    """A mapping with its place in the file."""

    def __init__(self, data: Mapping[str, Any] | None, position: Position, notes: Notes) -> None:
        self._left = dict(data or {})
        self.position = position
        self.notes = notes

    def __contains__(self, key: str) -> bool:
        return self._left.get(key) is not None

    def left(self) -> list[str]:
        """The keys that are not taken yet, own ones (`x-`) left out."""
        return [key for key in self._left if not key.startswith("x-")]

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, which now counts as converted."""
        value = self._left.pop(key, None)
        return default if value is None else value

    def part(self, key: str) -> "Part":
        """The mapping at a key; empty when there is none."""
        return Part(self.take(key), (*self.position, key), self.notes)

    def items(self, key: str) -> list[tuple[Any, Position]]:
        """The items of a list (or a single one), each with its place."""
        value = self.take(key, [])
        if not isinstance(value, list):
            return [(value, (*self.position, key))]
        return [(item, (*self.position, key, number)) for number, item in enumerate(value)]

    def parse(self, key: str, parser: Callable[[Any], _Result]) -> _Result | None:
        """The parsed value of a key; None when it is not there; ComposeError when the parser refuses it."""
        value = self.take(key)
        return None if value is None else self.parsed(value, parser, (*self.position, key))

    def parsed(self, value: Any, parser: Callable[[Any], _Result], position: Position) -> _Result:
        """What a parser makes of a value, or ComposeError that names its place."""
        try:
            return parser(value)
        except ValueError as error:
            raise self.error(str(error), position) from error

    def error(self, text: str, position: Position | None = None) -> ComposeError:
        """A ComposeError at a place in this part."""
        place = self.position if position is None else position
        return ComposeError(f"{self.notes.document.where(place)}: {path_text(place)}: {text.rstrip('.')}.")

    def finish(self, reasons: Mapping[str, str] | None = None) -> None:
        """Name every key that was not taken."""
        for key, value in self._left.items():
            if value is None or value == [] or key.startswith("x-"):
                continue
            reason = (reasons or {}).get(key)
            text = f"has no effect: {reason}" if reason else "is not supported yet and has no effect"
            self.notes.warn((*self.position, key), f"{text}.")


def pairs(value: Any, *, separator: str = "=") -> dict[str, str | None]:
    """A mapping, or a list of `KEY=VALUE`, as texts; None for a key without a value."""
    if isinstance(value, list):
        split = (str(item).partition(separator) for item in value)
        return {key: text if sign else None for key, sign, text in split}
    return {key: None if inner is None else scalar_text(inner) for key, inner in (value or {}).items()}


def scalar_text(value: Any) -> str:
    """A scalar as compose writes it into an environment: true, 5, 0.5."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def texts(value: Any) -> list[str]:
    """A string, or a list of scalars, as a list of strings."""
    if value is None:
        return []
    return [scalar_text(item) for item in value] if isinstance(value, list) else [scalar_text(value)]
