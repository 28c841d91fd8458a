"""Layers of images, and the archive that `docker load` reads.

A layer is a tar file, named by the digest of its content. An image is a list of layers and a JSON document with its
settings, and the digest of that document is the image's id. All is reproducible: the same packages and files make
the same bytes, so an engine that has an image need not be given it again.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.testbed.images.packages import open_files

# Nothing that runs in a container reads these.
_LEFT_OUT = tuple(
    f"usr/share/{part}/" for part in ("bug", "doc", "doc-base", "icons", "info", "lintian", "locale", "man")
)
_MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")  # Debian's links to their namesakes below /usr
_EPOCH_S = 1_700_000_000  # a fixed moment, so that the same input makes the same bytes


@dataclass(frozen=True)
class Image:
    """A built image: its name, its settings and its layers' digests, the lowest first."""

    name: str
    config: str
    layers: tuple[str, ...]

    @property
    def id(self) -> str:
        """What the engine will call it."""
        return "sha256:" + hashlib.sha256(self.config.encode()).hexdigest()


def image(name: str, config: Mapping[str, Any], layers: Sequence[str], architecture: str) -> Image:
    """Put an image together from its container settings and its layers' digests."""
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layers]},
    }
    return Image(name, json.dumps(document, sort_keys=True), tuple(layers))


class LayerWriter:
    """Writes one layer to `file`. `digest` is known when the `with` block has ended."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._seen: set[str] = set()
        self.digest = ""

    def __enter__(self) -> Self:
        self._tar = tarfile.open(self.file, "w", format=tarfile.PAX_FORMAT)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._tar.close()
        if kind is None:
            self.digest = file_digest(self.file)

    def add_merged_links(self) -> None:
        """The links of a merged /usr, and the folders they lead to."""
        for name in _MERGED:
            self.add_folder(f"usr/{name}")
            self.add_link(name, f"usr/{name}")

    def add_package(self, package: Path) -> None:
        """All files of a Debian package that a container has use for."""
        with open_files(package) as source:
            assert source.stdout is not None
            with tarfile.open(fileobj=source.stdout, mode="r|") as files:
                for member in files:
                    self._add_member(member, files)

    def add_file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """One file, with the folders above it."""
        self._add_parents(path)
        entry = _entry(path, mode)
        entry.size = len(content)
        self._put(entry, io.BytesIO(content))

    def add_folder(self, path: str, mode: int = 0o755) -> None:
        self._add_parents(path)
        self._put(_entry(path, mode, tarfile.DIRTYPE))

    def add_link(self, path: str, target: str) -> None:
        entry = _entry(path, 0o777, tarfile.SYMTYPE)
        entry.linkname = target
        self._put(entry)

    def has(self, path: str) -> bool:
        return path in self._seen

    def _add_member(self, member: tarfile.TarInfo, files: tarfile.TarFile) -> None:
        member.name = _merged(member.name)
        if not member.name or member.name in _MERGED or f"{member.name}/".startswith(_LEFT_OUT):
            return
        if member.islnk():
            member.linkname = _merged(member.linkname)
        member.uname = member.gname = ""
        self._put(member, files.extractfile(member) if member.isreg() else None)

    def _add_parents(self, path: str) -> None:
        for parent in reversed(Path(path).parents):
            if str(parent) not in (".", "/"):
                self._put(_entry(str(parent), 0o755, tarfile.DIRTYPE))

    def _put(self, entry: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        if entry.name not in self._seen:
            self._seen.add(entry.name)
            self._tar.addfile(entry, content)


def write_archive(file: Path, images: Sequence[Image], layer_files: Mapping[str, Path]) -> None:
    """Write the archive of these images; a layer that several have is in it once."""
    manifest = [
        {"Config": f"{image.id[7:]}.json", "RepoTags": [image.name], "Layers": _layer_names(image.layers)}
        for image in images
    ]
    with tarfile.open(file, "w") as archive:
        for digest in sorted({digest for image in images for digest in image.layers}):
            archive.add(layer_files[digest], f"{digest}/layer.tar")
        for image in images:
            _add_text(archive, f"{image.id[7:]}.json", image.config)
        _add_text(archive, "manifest.json", json.dumps(manifest))


def file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _layer_names(layers: Iterable[str]) -> list[str]:
    return [f"{digest}/layer.tar" for digest in layers]


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = _entry(name, 0o644)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _entry(path: str, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.type, entry.mtime = mode, kind, _EPOCH_S
    return entry


def _merged(name: str) -> str:
    """The path without its leading `./`, and below /usr where Debian keeps only a link."""
    path = name.removeprefix(".").lstrip("/")
    top, slash, _ = path.partition("/")
    return f"usr/{path}" if slash and top in _MERGED else path
