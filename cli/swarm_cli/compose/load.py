"""From files to a Project: read, substitute variables, merge, validate, leave out what no profile wants."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm_cli.compose.extends import resolve_extends
from swarm_cli.compose.interpolate import interpolate
from swarm_cli.compose.merge import merge
from swarm_cli.compose.reader import Document, Override, Reset, parse, read_file
from swarm_cli.compose.validate import check_references, check_shape
from swarm_cli.compose.variables import Lookup, project_lookup
from swarm_cli.errors import ComposeError

DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = ("compose.override.yaml", "compose.override.yml", "docker-compose.override.yml")
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(slots=True)
class Project:
    """A compose file that is valid, with all variables substituted."""

    name: str
    folder: Path  #: relative paths in the file begin here
    data: dict[str, Any]
    document: Document  #: for the lines of errors and warnings
    source: str  #: the file as it was written
    lookup: Lookup
    warnings: list[str] = field(default_factory=list)

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The services that are wanted, by their short names."""
        return self.data.get("services") or {}

    def section(self, name: str) -> dict[str, dict[str, Any]]:
        """`networks`, `volumes`, `secrets` or `configs`, with empty definitions as empty mappings."""
        return {key: value or {} for key, value in (self.data.get(name) or {}).items()}


def find_files(folder: Path) -> list[str]:
    """The compose file of a folder, and its override file when there is one; ComposeError when there is none."""
    for name in DEFAULT_FILES:
        if (folder / name).is_file():
            overrides = [str(folder / other) for other in _OVERRIDES if (folder / other).is_file()]
            return [str(folder / name), *overrides[:1]]
    raise ComposeError(
        f"There is no compose file in {folder.absolute()} ({', '.join(DEFAULT_FILES)}); name one with -f FILE."
    )


def load(
    paths: Sequence[str],
    *,
    name: str | None = None,
    profiles: Sequence[str] = (),
    env_files: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Project:
    """The project that these files (a later one over an earlier one) describe; ComposeError when they are wrong.

    `name` wins over the file's own `name:`, which wins over the folder's name.
    """
    folder = Path.cwd() if paths[0] == "-" else Path(paths[0]).absolute().parent
    lookup = project_lookup(folder, tuple(env_files), environ)
    unset: dict[str, None] = {}
    documents = []
    for path in paths:
        text, label = read_file(path)
        document = parse(text, label)
        document.data = interpolate(document, lookup, unset.setdefault)
        check_shape(document, _without_tags(document.data))
        document.data = resolve_extends(document, document.data, folder, _reader_of_others(lookup, unset))
        documents.append((document, text))
    merged, source = documents[0]
    for document, text in documents[1:]:
        merged.data = merge(merged.data, document.data)
        source += f"\n---\n{text}"
    data = _without_tags(merged.data)
    _refuse_unsupported(merged, data)
    _apply_profiles(merged, data, profiles or _list(environ.get("COMPOSE_PROFILES", "")))
    check_references(merged, data)
    project = Project(_project_name(name, data, folder), folder, data, merged, source, lookup)
    project.warnings += [f"The variable {variable} is not set: it stands for nothing." for variable in unset]
    return project


def _reader_of_others(lookup: Lookup, unset: dict[str, None]) -> Callable[[Path], Document]:
    """How `extends` reads another file: as this one was read."""

    def read(path: Path) -> Document:
        text, label = read_file(str(path))
        document = parse(text, label)
        document.data = interpolate(document, lookup, unset.setdefault)
        check_shape(document, _without_tags(document.data))
        return document

    return read


def _without_tags(value: Any) -> Any:
    if isinstance(value, Override):
        return _without_tags(value.value)
    if isinstance(value, dict):
        return {key: _without_tags(inner) for key, inner in value.items() if not isinstance(inner, Reset)}
    if isinstance(value, list):
        return [_without_tags(inner) for inner in value if not isinstance(inner, Reset)]
    return value


def _refuse_unsupported(document: Document, data: Mapping[str, Any]) -> None:
    if data.get("include"):
        raise ComposeError(
            f"{document.where(('include',))}: include is not supported yet: name the files with several -f instead."
        )


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _apply_profiles(document: Document, data: dict[str, Any], profiles: Sequence[str]) -> None:
    """Leave out the services whose profiles are not asked for."""
    del document
    services = data.get("services") or {}
    wanted = set(profiles)
    kept = {
        name: service
        for name, service in services.items()
        if not service.get("profiles") or wanted & set(service["profiles"]) or "*" in wanted
    }
    if "services" in data:
        data["services"] = kept


def _project_name(given: str | None, data: Mapping[str, Any], folder: Path) -> str:
    name = given or data.get("name")
    if name:
        if not _PROJECT_NAME.fullmatch(name):
            raise ComposeError(
                f"{name!r} cannot name a project: use lower-case letters, digits, '-' and '_', and begin with a "
                "letter or digit."
            )
        return str(name)
    return sanitized(folder.name)


def sanitized(name: str) -> str:
    """A folder's name as a project's name."""
    cleaned = re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("-_")
    if not cleaned:
        raise ComposeError(f"The folder's name {name!r} cannot name a project; name it with -p NAME.")
    return cleaned
