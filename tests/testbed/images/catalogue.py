"""Our images: built once into a cache, loaded into as many engines as there are.

    rnn-front:1 rnn-worker:1 rnn-redis:1   the example's (examples/rnn)
    busybox:local                          2 MB: for tests that only need something to run
    tools:local                            dig, curl, ping, iperf3, wrk, ab: for tests and measurements of networks

The cache (/var/cache/raftswarm, or $RAFTSWARM_CACHE) holds packages, layers and built images. A recipe is rebuilt
when its text, one of its files or this builder changes, not when Debian publishes a new version: remove the cache
for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from tests.testbed.errors import TestbedError
from tests.testbed.host import Host
from tests.testbed.images import archive, packages, recipe
from tests.testbed.images.archive import Image, LayerWriter
from tests.testbed.images.packages import Packages
from tests.testbed.images.recipe import Recipe
from tests.testbed.layout import CHECKOUT
from tests.testbed.process import run

BASE_PACKAGES = ("base-files", "base-passwd", "libc6", "busybox-static")
_EXAMPLE = CHECKOUT / "examples" / "rnn"
_DOCKERFILES = {
    "rnn-front:1": _EXAMPLE / "front" / "Dockerfile",
    "rnn-worker:1": _EXAMPLE / "worker" / "Dockerfile",
    "rnn-redis:1": _EXAMPLE / "redis" / "Dockerfile",
    "busybox:local": Path(__file__).with_name("busybox.Dockerfile"),
    "tools:local": Path(__file__).with_name("tools.Dockerfile"),
}
EXAMPLE_IMAGES = ("rnn-front:1", "rnn-worker:1", "rnn-redis:1")
TEST_IMAGES = (*EXAMPLE_IMAGES, "busybox:local")
ALL_IMAGES = tuple(_DOCKERFILES)
_ARCHIVES_KEPT = 2


def cache_folder() -> Path:
    return Path(os.environ.get("RAFTSWARM_CACHE", "/var/cache/raftswarm")) / "images"


def build(names: Sequence[str] = TEST_IMAGES) -> list[Image]:
    """Have these images in the cache. A second call reads them from there."""
    unknown = sorted(set(names) - set(ALL_IMAGES))
    if unknown:
        raise TestbedError(f"there is no recipe for {', '.join(unknown)}: there is {', '.join(ALL_IMAGES)}")
    recipes = [recipe.from_dockerfile(name, _DOCKERFILES[name]) for name in names]
    with locked(cache_folder()):
        return _Builder(cache_folder()).build(recipes)


def load(hosts: Iterable[Host], names: Sequence[str] = TEST_IMAGES) -> None:
    """Have these images in the engines of these hosts, all engines at once."""
    images = build(names)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: _load_missing(host, images), hosts))


def load_all(hosts: Iterable[Host]) -> None:
    """Have every image there is in the engines of these hosts."""
    load(hosts, ALL_IMAGES)


def _load_missing(host: Host, images: Sequence[Image]) -> None:
    there = {(tag, listed["Id"]) for listed in host.engine.request("GET", "/images/json") for tag in _tags(listed)}
    missing = [image for image in images if (image.name, image.id) not in there]
    if missing:
        host.engine.load(_Builder(cache_folder()).archive_of(missing))


def _tags(listed: dict[str, list[str] | None]) -> list[str]:
    return listed["RepoTags"] or []


class _Builder:
    """Builds recipes into a cache folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layers = folder / "layers"
        self._packages = Packages(folder / "packages")

    def build(self, recipes: Sequence[Recipe]) -> list[Image]:
        keys = {wanted.name: _recipe_key(wanted) for wanted in recipes}
        images = {name: self._cached(key) for name, key in keys.items()}
        missing = [wanted for wanted in recipes if images[wanted.name] is None]
        if missing:
            images |= {image.name: image for image in self._build_missing(missing)}
        return [image for image in images.values() if image is not None]

    def archive_of(self, images: Sequence[Image]) -> Path:
        """The file with these images for `docker load`; written at the first call."""
        digest = hashlib.sha256(" ".join(sorted(image.id + image.name for image in images)).encode()).hexdigest()
        file = self._folder / "archives" / f"{digest[:24]}.tar"
        with locked(file.parent):
            if not file.exists():
                partial = file.with_suffix(".partial")
                archive.write_archive(partial, images, self._layer_files(images))
                partial.rename(file)
                prune(file.parent, _ARCHIVES_KEPT)
        return file

    def _layer_files(self, images: Sequence[Image]) -> dict[str, Path]:
        return {digest: self._layers / f"{digest}.tar" for image in images for digest in image.layers}

    def _cached(self, key: str) -> Image | None:
        with contextlib.suppress(FileNotFoundError):
            stored = json.loads((self._folder / f"{key}.json").read_text())
            return Image(stored["name"], stored["config"], tuple(stored["layers"]))
        return None

    def _build_missing(self, recipes: Sequence[Recipe]) -> list[Image]:
        self._layers.mkdir(parents=True, exist_ok=True)
        base = self._packages.closure(BASE_PACKAGES)
        self._packages.fetch([*BASE_PACKAGES, *(name for wanted in recipes for name in wanted.packages)])
        base_layer = self._base_layer(base)
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda wanted: self._build_one(wanted, base, base_layer), recipes))

    def _build_one(self, wanted: Recipe, base: dict[str, Path], base_layer: str) -> Image:
        below = base if wanted.base == recipe.DEBIAN else {}
        layers = [base_layer] if below else []
        if wanted.packages:
            closure = self._packages.closure(wanted.packages)
            own = {name: file for name, file in closure.items() if name not in below}
            layers.append(self._package_layer(own, lowest=not below))
        if wanted.files:
            layers.append(self._file_layer(wanted))
        architecture = run(["dpkg", "--print-architecture"]).stdout.strip()
        image = archive.image(wanted.name, wanted.config, layers, architecture)
        (self._folder / f"{_recipe_key(wanted)}.json").write_text(json.dumps(asdict(image)))
        return image

    def _base_layer(self, closure: dict[str, Path]) -> str:
        with self._new_layer() as layer:
            layer.add_merged_links()
            _add_packages(layer, closure)
            _add_what_scripts_would(layer, closure["base-passwd"])
            _add_busybox_links(layer, closure["busybox-static"], self._folder)
        return self._keep(layer)

    def _package_layer(self, closure: dict[str, Path], *, lowest: bool) -> str:
        with self._new_layer() as layer:
            if lowest:
                layer.add_merged_links()
                layer.add_file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
                layer.add_folder("tmp", 0o1777)
            _add_packages(layer, closure)
            if lowest and "busybox-static" in closure:
                _add_busybox_links(layer, closure["busybox-static"], self._folder)
        return self._keep(layer)

    def _file_layer(self, wanted: Recipe) -> str:
        with self._new_layer() as layer:
            for path, source in wanted.files.items():
                layer.add_file(path, source.read_bytes(), source.stat().st_mode & 0o777)
        return self._keep(layer)

    def _new_layer(self) -> LayerWriter:
        handle, name = tempfile.mkstemp(dir=self._layers, suffix=".partial")
        os.close(handle)
        return LayerWriter(Path(name))

    def _keep(self, layer: LayerWriter) -> str:
        layer.file.rename(self._layers / f"{layer.digest}.tar")
        return layer.digest


def _add_packages(layer: LayerWriter, closure: dict[str, Path]) -> None:
    for _, package in sorted(closure.items()):
        layer.add_package(package)


def _add_what_scripts_would(layer: LayerWriter, base_passwd: Path) -> None:
    """The files that the packages' scripts make on a real Debian."""
    for name in ("passwd", "group"):
        content = packages.read_file(base_passwd, f"usr/share/base-passwd/{name}.master")
        layer.add_file(f"etc/{name}", content.replace(b":*:", b":x:"))
    layer.add_file("etc/nsswitch.conf", b"hosts: files dns\n")


def _add_busybox_links(layer: LayerWriter, package: Path, folder: Path) -> None:
    """A link for each of busybox's programs where no real one stands: it is asked itself which it has."""
    busybox = folder / "busybox"
    busybox.write_bytes(packages.read_file(package, "bin/busybox"))
    busybox.chmod(0o755)
    for program in run([busybox, "--list"]).stdout.split():
        if not layer.has(f"usr/bin/{program}") and not layer.has(f"usr/sbin/{program}"):
            layer.add_link(f"usr/bin/{program}", "busybox")


def _recipe_key(wanted: Recipe) -> str:
    """Changes with everything that can change the image, Debian's versions apart."""
    digest = hashlib.sha256(repr(replace(wanted, files={})).encode())
    for path, source in sorted(wanted.files.items()):
        digest.update(f"{path} {source.stat().st_mode:o} {archive.file_digest(source)}".encode())
    for module in (__file__, archive.__file__, packages.__file__, recipe.__file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()[:32]


def prune(folder: Path, kept: int) -> None:
    """Keep the newest entries of a folder of the cache, remove the others."""
    newest_first = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in newest_first[kept:]:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write to a folder of the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
