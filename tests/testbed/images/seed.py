"""Images for hosts that have never been booted, in no time: their engine finds them on its disk.

`docker load` takes two seconds an engine, and five engines share this machine. So what one engine has made of an
archive is kept as a seed, and a blank host's /var/lib/docker starts as a copy of it. Layers are hard links where the
file system allows: an engine never writes to a layer, only to the copy that a container has on top; and hosts that
share their layers' files share the memory these take in the page cache too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.testbed.host import Host
from tests.testbed.images.archive import Image
from tests.testbed.images.catalogue import cache_folder, locked, prune
from tests.testbed.process import run

_KEPT = 4


def is_blank(host: Host) -> bool:
    """Whether the host's engine has never been started."""
    return not (host.folder / "docker" / "image").exists()


def exists(images: Sequence[Image]) -> bool:
    return _seed(images).exists()


def capture(host: Host, images: Sequence[Image]) -> None:
    """Keep what the host's engine, idle and just loaded with exactly these images, has on its disk.

    Nothing happens when the engine stores layers in another way than overlay2.
    """
    source = host.folder / "docker"
    if not (source / "overlay2").is_dir():
        return
    with locked(_folder()):
        partial = _folder() / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        _copy(source, partial)
        shutil.rmtree(_seed(images), ignore_errors=True)
        partial.rename(_seed(images))
        prune(_folder(), _KEPT)


def plant(host: Host, images: Sequence[Image]) -> None:
    """Put the seed of these images, if there is one, on a blank host's disk."""
    with locked(_folder()):
        if exists(images):
            _copy(_seed(images), host.folder / "docker")


def _folder() -> Path:
    return cache_folder() / "seeds"


def _seed(images: Sequence[Image]) -> Path:
    """The folder of the seed for these images and the installed engine."""
    version = run(["dockerd", "--version"]).stdout
    names = sorted(f"{image.name} {image.id}" for image in images)
    return _folder() / hashlib.sha256("\n".join([version, *names]).encode()).hexdigest()[:24]


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    run(["cp", "-a", source / "image", target])
    if run(["cp", "-al", source / "overlay2", target], check=False).returncode != 0:  # another file system
        shutil.rmtree(target / "overlay2", ignore_errors=True)
        run(["cp", "-a", source / "overlay2", target])
