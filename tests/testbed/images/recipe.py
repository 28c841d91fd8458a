"""What an image is made of, as its Dockerfile says.

Read are FROM, RUN (only the usual `apt-get install` line), COPY, ENV, EXPOSE, USER, WORKDIR, STOPSIGNAL, ENTRYPOINT
and CMD. Anything else is an error that names the line: an image that silently differs from what `docker build` makes
of the same file would be worse than none.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed.errors import TestbedError

DEBIAN = "debian:bookworm-slim"
SCRATCH = "scratch"
PATH_VALUE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSTALL = re.compile(
    r"apt-get update\s*&&\s*apt-get install -y --no-install-recommends (?P<packages>[a-z0-9.+ -]+?)\s*"
    r"(?:&&\s*rm -rf /var/lib/apt/lists/\*)?"
)


class RecipeError(TestbedError):
    """A Dockerfile says something this builder does not do."""


@dataclass
class Recipe:
    """One image: a base, packages, files copied in, and the settings of its containers."""

    name: str
    base: str = DEBIAN
    packages: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)  # path in the image: the file on this machine
    config: dict[str, Any] = field(default_factory=lambda: {"Env": [f"PATH={PATH_VALUE}"]})


def from_dockerfile(name: str, dockerfile: Path) -> Recipe:
    """Read the recipe of the image `name`. Raises RecipeError."""
    recipe = Recipe(name)
    for number, line in _instructions(dockerfile.read_text()):
        word, _, rest = line.partition(" ")
        handler = _HANDLERS.get(word.upper())
        try:
            if handler is None:
                raise RecipeError(f"{word} is not known to this builder")
            handler(recipe, rest.strip(), dockerfile.parent)
        except (RecipeError, ValueError) as error:
            raise RecipeError(f"{dockerfile}, line {number}: {error}") from error
    return recipe


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Whole instructions with the number of their first line: comments dropped, continued lines joined."""
    start, parts = 0, list[str]()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        start = start if parts else number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            yield start, " ".join(parts)
            parts = []


def _from(recipe: Recipe, rest: str, _: Path) -> None:
    if rest not in (DEBIAN, SCRATCH):
        raise RecipeError(f"only {DEBIAN} and {SCRATCH} can be built on, not {rest}")
    recipe.base = rest


def _run(recipe: Recipe, rest: str, _: Path) -> None:
    match = _INSTALL.fullmatch(rest)
    if match is None:
        raise RecipeError("RUN can only be `apt-get update && apt-get install -y --no-install-recommends ...`")
    recipe.packages += match["packages"].split()


def _copy(recipe: Recipe, rest: str, folder: Path) -> None:
    *sources, target = shlex.split(rest)
    if len(sources) != 1 or sources[0].startswith("--"):
        raise RecipeError("COPY takes one file and where it goes")
    source = folder / sources[0]
    if not source.is_file():
        raise RecipeError(f"COPY: {source} is not a file")
    path = target + source.name if target.endswith("/") else target
    recipe.files[path.lstrip("/")] = source


def _env(recipe: Recipe, rest: str, _: Path) -> None:
    recipe.config["Env"] += shlex.split(rest)


def _expose(recipe: Recipe, rest: str, _: Path) -> None:
    ports = (port if "/" in port else f"{port}/tcp" for port in rest.split())
    recipe.config.setdefault("ExposedPorts", {}).update({port: {} for port in ports})


def _setting(key: str) -> Callable[[Recipe, str, Path], None]:
    def handler(recipe: Recipe, rest: str, _: Path) -> None:
        recipe.config[key] = rest

    return handler


def _words(key: str) -> Callable[[Recipe, str, Path], None]:
    def handler(recipe: Recipe, rest: str, _: Path) -> None:
        recipe.config[key] = json.loads(rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]

    return handler


_HANDLERS: dict[str, Callable[[Recipe, str, Path], None]] = {
    "FROM": _from,
    "RUN": _run,
    "COPY": _copy,
    "ENV": _env,
    "EXPOSE": _expose,
    "USER": _setting("User"),
    "WORKDIR": _setting("WorkingDir"),
    "STOPSIGNAL": _setting("StopSignal"),
    "ENTRYPOINT": _words("Entrypoint"),
    "CMD": _words("Cmd"),
}
