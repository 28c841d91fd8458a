"""Variables in a compose file: $NAME, ${NAME}, ${NAME:-default}, ${NAME:?reason}, ${NAME:+other}, `$$` for `$`.

With a colon, an empty variable counts as unset.  A default, a reason or an alternative may hold variables
itself.  A `$` that begins none of these stands for itself.
"""

import re
from collections.abc import Callable
from typing import Any

from swarm_cli.compose.reader import Document, Override, Position
from swarm_cli.errors import ComposeError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")

Lookup = Callable[[str], str | None]


class Template:
    """A text with variables in it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def substitute(self, lookup: Lookup, on_unset: Callable[[str], None]) -> str:
        """The text with values; `on_unset` hears of a variable that has none.  ValueError says what is wrong."""
        parts: list[str] = []
        at = 0
        while (dollar := self._text.find("$", at)) >= 0:
            parts.append(self._text[at:dollar])
            value, at = self._variable(dollar + 1, lookup, on_unset)
            parts.append(value)
        parts.append(self._text[at:])
        return "".join(parts)

    def _variable(self, at: int, lookup: Lookup, on_unset: Callable[[str], None]) -> tuple[str, int]:
        following = self._text[at : at + 1]
        if following == "$":
            return "$", at + 1
        if following == "{":
            end = self._closing_brace(at)
            return self._braced(self._text[at + 1 : end], lookup, on_unset), end + 1
        name = _NAME.match(self._text, at)
        if name is None:
            return "$", at
        return _plain(name.group(), lookup, on_unset), name.end()

    def _closing_brace(self, at: int) -> int:
        depth = 0
        for index in range(at, len(self._text)):
            if self._text[index] == "{" and (index == at or self._text[index - 1] == "$"):
                depth += 1
            elif self._text[index] == "}":
                depth -= 1
                if depth == 0:
                    return index
        raise ValueError(f"'{self._text[at - 1 :][:40]}' has no closing brace (write $$ for a plain $)")

    @staticmethod
    def _braced(inner: str, lookup: Lookup, on_unset: Callable[[str], None]) -> str:
        match = _NAME.match(inner)
        if match is None:
            raise ValueError(f"'${{{inner[:40]}}}' names no variable (write $$ for a plain $)")
        name, rest = match.group(), inner[match.end() :]
        if not rest:
            return _plain(name, lookup, on_unset)
        operator = next((known for known in _OPERATORS if rest.startswith(known)), None)
        if operator is None:
            raise ValueError(f"'${{{inner[:40]}}}' is no variable: after the name come :-, :?, :+ or nothing")
        return _with_operator(name, operator, rest[len(operator) :], lookup, on_unset)


def _plain(name: str, lookup: Lookup, on_unset: Callable[[str], None]) -> str:
    value = lookup(name)
    if value is None:
        on_unset(name)
    return value or ""


def _with_operator(name: str, operator: str, argument: str, lookup: Lookup, on_unset: Callable[[str], None]) -> str:
    value = lookup(name)
    is_there = value is not None and (value != "" or not operator.startswith(":"))
    kind = operator[-1]
    if kind == "+":
        return Template(argument).substitute(lookup, on_unset) if is_there else ""
    if is_there:
        return value or ""
    if kind == "?":
        reason = Template(argument).substitute(lookup, on_unset)
        raise ValueError(f"the variable {name} is required{': ' + reason if reason else ''}; set it")
    return Template(argument).substitute(lookup, on_unset)


def interpolate(document: Document, lookup: Lookup, on_unset: Callable[[str], None]) -> Any:
    """The document's data with all variables substituted; ComposeError names the place of a bad one."""

    def walk(value: Any, position: Position) -> Any:
        if isinstance(value, dict):
            return {key: walk(inner, (*position, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, (*position, number)) for number, inner in enumerate(value)]
        if isinstance(value, Override):
            return Override(walk(value.value, position))
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            substituted = Template(value).substitute(lookup, on_unset)
        except ValueError as error:
            raise ComposeError(f"{document.where(position)}: {path_text(position)}: {error}.") from error
        return cast(substituted, position)

    return walk(document.data, ())


def path_text(position: Position) -> str:
    """`services.web.ports[0]`."""
    text = ""
    for part in position:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


_BOOLEAN_PATHS = (
    "services.*.(init|privileged|read_only|stdin_open|tty|oom_kill_disable)",
    "services.*.healthcheck.disable",
    "services.*.volumes.*.read_only",
    "services.*.volumes.*.bind.create_host_path",
    "services.*.volumes.*.volume.nocopy",
    "networks.*.(external|internal|attachable|enable_ipv6|enable_ipv4)",
    "(volumes|secrets|configs).*.external",
    "services.*.depends_on.*.(restart|required)",
    "services.*.env_file.*.required",
)
_INTEGER_PATHS = (
    "services.*.(scale|oom_score_adj|mem_swappiness|pids_limit)",
    "services.*.deploy.replicas",
    "services.*.deploy.(update_config|rollback_config).parallelism",
    "services.*.deploy.restart_policy.max_attempts",
    "services.*.deploy.placement.max_replicas_per_node",
    "services.*.deploy.resources.limits.pids",
    "services.*.healthcheck.retries",
    "services.*.ports.*.target",
    "services.*.(configs|secrets).*.mode",
    "services.*.ulimits.*",
    "services.*.ulimits.*.(soft|hard)",
)
_NUMBER_PATHS = (
    "services.*.deploy.(update_config|rollback_config).max_failure_ratio",
    "services.*.(cpus|cpu_count|cpu_percent)",
)


def _compiled(paths: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(path.replace(".", "\0").replace("*", "[^\0]*") for path in paths))


_CASTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_compiled(_BOOLEAN_PATHS), "boolean"),
    (_compiled(_INTEGER_PATHS), "integer"),
    (_compiled(_NUMBER_PATHS), "number"),
)
_SPELLINGS = {"true": True, "yes": True, "y": True, "on": True, "false": False, "no": False, "n": False, "off": False}


def cast(text: str, position: Position) -> Any:
    """What a variable made is text; where the format wants a number or a boolean, it becomes one."""
    path = "\0".join(str(part) for part in position)
    kind = next((kind for pattern, kind in _CASTS if pattern.fullmatch(path)), None)
    if kind == "boolean":
        return _SPELLINGS.get(text.strip().lower(), text)
    if kind == "integer" and re.fullmatch(r"[-+]?\d+", text):
        return int(text, 8) if text.startswith("0") and path.endswith("mode") else int(text)
    if kind == "number" and re.fullmatch(r"[-+]?\d+(\.\d*)?", text):
        return float(text)
    return text
