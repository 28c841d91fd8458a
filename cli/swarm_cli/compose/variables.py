"""Variables: the shell's, those of `.env`, and env files.

The format is Compose's: `NAME=value`, `export NAME=value`, comments, single quotes (taken as they are) and
double quotes (escapes and variables), values over several lines inside quotes.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from swarm_cli.compose.interpolate import Template
from swarm_cli.errors import ComposeError

Lookup = Callable[[str], str | None]

_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.\-\[\]]*)[ \t]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$", "'": "'"}


def read_env_file(path: Path, lookup: Lookup, *, is_raw: bool = False) -> dict[str, str | None]:
    """The variables of an env file; None for a NAME without a value.  ComposeError when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ComposeError(f"The env file {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(f"The env file {path} cannot be read: {error}.") from error
    return _raw(text) if is_raw else parse_env(text, str(path), lookup)


def _raw(text: str) -> dict[str, str | None]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {line.partition("=")[0].strip(): line.partition("=")[2] if "=" in line else None for line in lines}


def parse_env(text: str, name: str, lookup: Lookup) -> dict[str, str | None]:
    """The variables in `text`; a value may use those before it, and what `lookup` knows."""
    parser = _EnvParser(text, name, lookup)
    parser.run()
    return parser.found


class _EnvParser:
    def __init__(self, text: str, name: str, lookup: Lookup) -> None:
        self._text = text.replace("\r\n", "\n")
        self._name = name
        self._lookup = lookup
        self._at = 0
        self.found: dict[str, str | None] = {}

    def run(self) -> None:
        while self._skip_blank():
            match = _NAME.match(self._text, self._at)
            if match is None:
                raise self._error("a line must be NAME=value")
            self._at = match.end()
            self.found[match.group(1)] = self._value() if self._take("=:") else self._bare(match.group(1))

    def _skip_blank(self) -> bool:
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                self._at = self._line_end()
            elif self._text[self._at].isspace():
                self._at += 1
            else:
                return True
        return False

    def _take(self, characters: str) -> bool:
        if self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1
            return True
        return False

    def _bare(self, name: str) -> str | None:
        if self._text[self._at : self._line_end()].partition("#")[0].strip():
            raise self._error("a line must be NAME=value")
        self._at = self._line_end()
        return self._lookup(name)

    def _value(self) -> str:
        while self._take(" \t"):
            continue
        quote = self._text[self._at : self._at + 1]
        if quote in ("'", '"') and quote:
            return self._quoted(quote)
        end = self._line_end()
        value = re.split(r"(?:^|\s)#", self._text[self._at : end], maxsplit=1)[0].strip()
        self._at = end
        return self._substitute(value)

    def _quoted(self, quote: str) -> str:
        pattern = r"'((?:[^'\\]|\\.)*)'" if quote == "'" else r'"((?:[^"\\]|\\.)*)"'
        match = re.compile(pattern, re.DOTALL).match(self._text, self._at)
        if match is None:
            raise self._error(f"the quote {quote} is never closed")
        self._at = match.end()
        rest = self._text[self._at : self._line_end()].strip()
        if rest and not rest.startswith("#"):
            raise self._error("there is text after the closing quote")
        self._at = self._line_end()
        if quote == "'":
            return match.group(1).replace("\\'", "'")
        escaped = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(0)), match.group(1), flags=re.DOTALL)
        return self._substitute(escaped)

    def _substitute(self, value: str) -> str:
        def known(name: str) -> str | None:
            outer = self._lookup(name)
            return outer if outer is not None else self.found.get(name)

        try:
            return Template(value).substitute(known, lambda _: None)
        except ValueError as error:
            raise self._error(str(error)) from error

    def _line_end(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _error(self, problem: str) -> ComposeError:
        line = self._text.count("\n", 0, self._at) + 1
        return ComposeError(f"{self._name}:{line}: {problem}.")


def project_lookup(folder: Path, env_files: tuple[str, ...], environ: Mapping[str, str]) -> Lookup:
    """How the project's files find a variable: in the shell, then in the given env files, or in `.env`."""
    found: dict[str, str | None] = {}
    for path in [Path(name) for name in env_files] or [folder / ".env"]:
        if env_files or path.is_file():
            found.update(read_env_file(path, lambda name: environ.get(name) or found.get(name)))

    def lookup(name: str) -> str | None:
        return environ[name] if name in environ else found.get(name)

    return lookup
