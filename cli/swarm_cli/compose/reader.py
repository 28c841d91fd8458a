"""YAML as compose files use it: data, and the line of every part.

PyYAML reads YAML 1.1, where `yes` is true, `22:22` is a number in base 60 and `012` is ten.  Compose's own
reader (go-yaml v3) has dropped most of that, so plain scalars are resolved here, by its rules.  A key that
comes twice is an error, as it is there; so is an alias that contains itself.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from swarm_cli.errors import ComposeError

Position = tuple[str | int, ...]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    text: value for value, texts in ((True, "true True TRUE"), (False, "false False FALSE")) for text in texts.split()
}
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_STRING_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "timestamp", "str"))
_RESOLVER = yaml.resolver.Resolver()
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_PARTS = 1_000_000  # aliases of aliases of aliases: a small file that would fill the memory
MAX_SIZE_BYTES = 16 * 1024 * 1024


class Reset:
    """A value tagged `!reset`: takes away what an earlier file said."""


class Override:
    """A value tagged `!override`: replaces what an earlier file said, instead of being merged into it."""

    def __init__(self, value: Any) -> None:
        self.value = value


@dataclass(slots=True)
class Document:
    """One file's data, and the line (from 1) of each of its parts."""

    path: str
    data: Any
    lines: dict[Position, int] = field(default_factory=dict)

    def where(self, position: Position) -> str:
        """`compose.yaml:12`, or the file alone where no line is known."""
        for length in range(len(position), -1, -1):
            line = self.lines.get(position[:length])
            if line is not None:
                return f"{self.path}:{line}"
        return self.path


def read_file(path: str) -> tuple[str, str]:
    """(text, the name to call the file by); `-` is standard input.  ComposeError when it cannot be read."""
    import sys

    try:
        raw = sys.stdin.buffer.read(MAX_SIZE_BYTES + 1) if path == "-" else _bytes(Path(path))
    except FileNotFoundError:
        raise ComposeError(f"The compose file {path} does not exist; give the path of one that does.") from None
    except OSError as error:
        raise ComposeError(f"The compose file {path} cannot be read: {error.strerror}.") from error
    name = "standard input" if path == "-" else path
    if len(raw) > MAX_SIZE_BYTES:
        raise ComposeError(f"{name} is larger than {MAX_SIZE_BYTES // 2**20} MiB: it is no compose file.")
    try:
        return raw.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        raise ComposeError(f"{name} is not UTF-8 text (byte {error.start}): it is no compose file.") from error


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SIZE_BYTES + 1)


def parse(text: str, name: str) -> Document:
    """The document in `text`; ComposeError says at which line and column it is no YAML."""
    document = Document(name, None)
    try:
        node = yaml.compose(text, Loader=_Loader)
        document.data = None if node is None else _Builder(document).build(node, ())
    except yaml.MarkedYAMLError as error:
        raise ComposeError(_syntax_sentence(name, error)) from error
    except yaml.YAMLError as error:
        raise ComposeError(f"{name} is not YAML: {' '.join(str(error).split())}.") from error
    except RecursionError:
        raise ComposeError(f"{name} is nested too deeply to be a compose file.") from None
    return document


def _syntax_sentence(name: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
    context = f" ({error.context})" if error.context else ""
    problem = error.problem or "cannot be parsed"
    return f"{where}: not valid YAML: {problem}{context}; check the indentation and the quotes there."


class _Builder:
    """Turns YAML nodes into data."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: set[int] = set()
        self._parts = 0

    def build(self, node: yaml.Node, position: Position) -> Any:
        self._document.lines.setdefault(position, node.start_mark.line + 1)
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ComposeError(f"{self._document.path}: its aliases unfold to more than {MAX_PARTS} parts.")
        if id(node) in self._open:
            raise self._error(node, "an alias contains itself")
        self._open.add(id(node))
        try:
            return self._tagged(node, position)
        finally:
            self._open.discard(id(node))

    def _tagged(self, node: yaml.Node, position: Position) -> Any:
        if node.tag == "!reset":
            return Reset()
        value = self._value(node, position)
        return Override(value) if node.tag == "!override" else value

    def _value(self, node: yaml.Node, position: Position) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, position)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*position, number)) for number, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return resolve_scalar(node)

    def _mapping(self, node: yaml.MappingNode, position: Position) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE_TAG:
                self._merge(value_node, position, merged)
                continue
            key = self._key(key_node)
            if key in data:
                raise self._error(key_node, f"the key {key!r} comes twice")
            self._document.lines[(*position, key)] = key_node.start_mark.line + 1
            data[key] = self.build(value_node, (*position, key))
        return {**{key: value for key, value in merged.items() if key not in data}, **data}

    def _merge(self, node: yaml.Node, position: Position, merged: dict[str, Any]) -> None:
        """`<<: *base` or `<<: [*a, *b]`; the first of several wins."""
        value = self._value(node, (*position, "<<"))
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                raise self._error(node, "'<<' takes a mapping, or a list of mappings")
            for key, inner in source.items():
                merged.setdefault(key, inner)

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a string")
        value = resolve_scalar(node)
        if not isinstance(value, str):
            raise self._error(node, f"the key {node.value} must be a string: write it in quotes")
        return value

    def _error(self, node: yaml.Node, problem: str) -> ComposeError:
        mark = node.start_mark
        return ComposeError(f"{self._document.path}:{mark.line + 1}:{mark.column + 1}: {problem}.")


def resolve_scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """The value of a scalar, by go-yaml v3's rules."""
    text = str(node.value)
    if node.style or node.tag not in _PLAIN_TAGS or _is_tagged_string(node):
        return text
    return resolve_plain(text)


def resolve_plain(text: str) -> str | int | float | bool | None:
    """The value of a plain (unquoted) scalar."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if text.lower() in _SPECIAL:
        return float(_SPECIAL[text.lower()])
    return float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int | str:
    digits = text.replace("_", "")
    if re.fullmatch(r"[-+]?0[0-9]+", digits):  # 0755 is octal; 0999 is no number
        sign = -1 if digits.startswith("-") else 1
        return sign * int(digits.lstrip("+-"), 8) if re.fullmatch(r"[-+]?[0-7]+", digits) else text
    try:
        return int(digits, 0)
    except ValueError:  # more digits than Python reads, or an underscore where none may be
        return text


def _is_tagged_string(node: yaml.ScalarNode) -> bool:
    """`!!str 5`: only an explicit tag makes a string of what would be a number."""
    if node.tag != _STRING_TAG:
        return False
    implied = _RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]  # PyYAML's
    return bool(implied != _STRING_TAG)
