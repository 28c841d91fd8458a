"""Exchanging all Raft data of a manager, so that a crash at any moment leaves the old or the new, whole.

    raft.making       the new data while they are written
    raft.next         the same, complete and durable: from the rename to this name on, the new data count
    raft.before-TIME  the old data, kept until the node leaves or is demoted, or a person removes them
    raft              what a manager runs on
    raft.given-up     a mark: the cluster went on without these data; they go aside, and the manager joins anew

A manager that starts, and everybody who is about to exchange the data, first brings to its end what a crash
interrupted: `settle`.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from swarm_api.identity import utc_now, write_private

from swarm_manager.config import Settings
from swarm_manager.raft.disk import Disk, LocalDisk
from swarm_manager.raft.keys import KeyFile, KeyRing
from swarm_manager.raft.sealed_disk import SealedDisk, open_folder


def settle(settings: Settings) -> None:
    """Finish an exchange that was decided, drop one that was not.  OSError when the disk refuses."""
    making, following = _making(settings), _next(settings)
    if making.exists():
        shutil.rmtree(making)
    if _mark(settings).exists():
        settings.members_file.unlink(missing_ok=True)  # first: nobody begins anew, empty, as the member it was
        _move_aside(settings)
        _mark(settings).unlink()
    if following.exists():
        _move_aside(settings)
        following.rename(settings.raft_dir)
        _sync(settings.raft_dir.parent)


def give_up(settings: Settings) -> None:
    """The cluster went on, in a later era, without this manager's data: move them aside, so that it can join anew."""
    write_private(_mark(settings), b"")
    settle(settings)


@contextlib.contextmanager
def opened(settings: Settings, unlock_key: bytes | None = None) -> Iterator[SealedDisk]:
    """The data of a manager that does not run.

    KeysUnusable, such as when they are locked and no unlock key is given; InvalidConfig when the manager runs.
    """
    with (
        contextlib.closing(KeyFile(LocalDisk(settings.key_dir))) as key_file,
        contextlib.closing(open_folder(settings.raft_dir, key_file, unlock_key)) as disk,
    ):
        yield disk


def prepare(settings: Settings, ring: KeyRing, write: Callable[[Disk], None]) -> None:
    """Have new data written beside those in use, durably; nothing counts yet.  OSError when the disk refuses."""
    making = _making(settings)
    shutil.rmtree(making, ignore_errors=True)
    making.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with contextlib.closing(SealedDisk(LocalDisk(making), ring)) as disk:
            write(disk)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def decide(settings: Settings) -> None:
    """From now on the data that were prepared count; `settle` puts them in place."""
    _making(settings).rename(_next(settings))
    _sync(settings.raft_dir.parent)


def discard(settings: Settings) -> None:
    """Remove what an exchange left that no manager has ever run on."""
    for folder in (_making(settings), _next(settings)):
        shutil.rmtree(folder, ignore_errors=True)


def _move_aside(settings: Settings) -> None:
    if settings.raft_dir.exists():
        settings.raft_dir.rename(settings.raft_dir.with_name(f"raft.before-{utc_now():%Y%m%dT%H%M%S.%f}"))
        _sync(settings.raft_dir.parent)


def _mark(settings: Settings) -> Path:
    return settings.raft_dir.with_name("raft.given-up")


def _making(settings: Settings) -> Path:
    return settings.raft_dir.with_name("raft.making")


def _next(settings: Settings) -> Path:
    return settings.raft_dir.with_name("raft.next")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
