"""`extends`: a service that starts from another one, of the same file or of another.

The other service is resolved first, its own `extends` included, then this one is merged over it.  Paths in
another file begin at that file's folder, so they are made to begin at ours.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarm_cli.compose.merge import merge
from swarm_cli.compose.reader import Document, Override
from swarm_cli.errors import ComposeError

#: Reads another file: its document, with all variables substituted.
ReadOther = Callable[[Path], Document]
_Key = tuple[Path, str]


def resolve_extends(document: Document, data: dict[str, Any], folder: Path, read_other: ReadOther) -> dict[str, Any]:
    """The file's data with each `extends` replaced by what it stands for; ComposeError names one that cannot be."""
    services = data.get("services") or {}
    if not any(isinstance(service, dict) and service.get("extends") for service in services.values()):
        return data
    resolver = _Resolver(folder, read_other)
    own = Path(document.path).absolute()
    resolver.files[own] = (document, services)
    return data | {"services": {name: resolver.service(own, name, ()) for name in services}}


class _Resolver:
    def __init__(self, folder: Path, read_other: ReadOther) -> None:
        self._folder = folder
        self._read_other = read_other
        self.files: dict[Path, tuple[Document, dict[str, Any]]] = {}

    def service(self, path: Path, name: str, trail: tuple[_Key, ...]) -> Any:
        """One service with everything it extends."""
        document, services = self.files[path]
        service = services[name]
        extends = service.get("extends") if isinstance(service, dict) else None
        if not extends:
            return service
        where = document.where(("services", name, "extends"))
        if (path, name) in trail:
            raise ComposeError(f"{where}: services.{name}.extends leads back to itself.")
        wanted = {"service": extends} if isinstance(extends, str) else extends
        other = self._open(path, wanted.get("file"), where)
        base_name = str(wanted.get("service", ""))
        if base_name not in self.files[other][1]:
            raise ComposeError(f"{where}: services.{name}.extends names the service {base_name!r}, which is not there.")
        base = self.service(other, base_name, (*trail, (path, name)))
        rest = {key: value for key, value in service.items() if key != "extends"}
        return merge(_rebased(base, other.parent, path.parent), rest)

    def _open(self, path: Path, file: Any, where: str) -> Path:
        """The file that is meant, read once."""
        if not file:
            return path
        other = Path(os.path.normpath(path.parent / str(file)))
        if other not in self.files:
            try:
                document = self._read_other(other)
            except ComposeError as error:
                raise ComposeError(f"{where}: {error}") from error
            services = document.data.get("services") if isinstance(document.data, dict) else None
            self.files[other] = (document, services if isinstance(services, dict) else {})
        return other


def _rebased(service: dict[str, Any], inner: Path, outer: Path) -> dict[str, Any]:
    """The service's relative paths, as seen from another folder."""
    if inner == outer:
        return service

    def moved(path: str) -> str:
        return str(inner / path) if path.startswith(".") else path

    rebased = dict(service)
    volumes = service.get("volumes")
    if isinstance(volumes, list):
        rebased["volumes"] = [_moved_volume(volume, moved) for volume in volumes]
    files = service.get("env_file")
    if files:
        listed = files if isinstance(files, list) else [files]
        rebased["env_file"] = [_moved_env_file(file, inner) for file in listed]
    return rebased


def _moved_volume(volume: Any, moved: Callable[[str], str]) -> Any:
    if isinstance(volume, str):
        source, colon, rest = volume.partition(":")
        return f"{moved(source)}{colon}{rest}" if colon else volume
    if isinstance(volume, dict) and volume.get("type") == "bind":
        return volume | {"source": moved(str(volume.get("source", "")))}
    return volume.value if isinstance(volume, Override) else volume


def _moved_env_file(file: Any, inner: Path) -> Any:
    if isinstance(file, dict):
        return file | {"path": str(inner / str(file.get("path", "")))}
    return str(inner / str(file))
