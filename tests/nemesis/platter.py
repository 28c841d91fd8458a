"""Files in memory that know what of them is durable, and lose the rest when the power goes.

Theory of operation
    Data and names become durable separately, as on a journaling file system.

    Data: each file has what processes see (`data`), what is safe (`durable`), and the changes between them, which
    fsync makes safe.  A power loss keeps any of these changes, none, or a torn one.

    Names: each folder has what processes see (`names`) and what is safe.  Creations, removals and renames go into one
    journal, which becomes durable in order; fsync of a folder makes it safe up to the last change in that folder.  A
    power loss keeps some prefix of the rest.  So a renamed file whose data was not synced may well come back empty,
    and a synced file whose folder was not synced may not come back at all.
"""

import errno
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

#: A change of a file's data: (offset, bytes written), or (new size, None).
Change = tuple[int, bytes | None]


@dataclass(eq=False)
class File:
    """One file."""

    mode: int
    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Write or resize; durable after `sync`."""
        _apply(self.data, change)
        self.unsynced.append(change)

    def sync(self) -> None:
        """Make all of it durable."""
        for change in self.unsynced:
            _apply(self.durable, change)
        self.unsynced.clear()

    def forget_unsynced(self) -> None:
        """A failed sync: what was written stays visible, and no later sync will make it durable."""
        self.unsynced.clear()

    def lose_power(self, rng: random.Random, *, everything: bool = False) -> None:
        """Keep what was synced and a random part of what was not; none of that with `everything`."""
        for change in self.unsynced:
            survivor = None if everything else _survivor(change, rng)
            if survivor is not None:
                _apply(self.durable, survivor)
        self.unsynced.clear()
        self.data = bytearray(self.durable)


@dataclass(eq=False)
class Folder:
    """One folder."""

    mode: int
    names: "dict[str, File | Folder]" = field(default_factory=dict)
    durable: "dict[str, File | Folder]" = field(default_factory=dict)


#: One entry of the journal: names and what they stand for from then on (None: nothing), all or none of it.
Renaming = Sequence[tuple[Folder, str, File | Folder | None]]


class Platter:
    """One file system; paths are absolute.  Failures are OSErrors."""

    def __init__(self, rng: random.Random) -> None:
        self.root = Folder(0o755)
        self._rng = rng
        self._journal: list[Renaming] = []

    # ---------------------------------------------------------------------------------------- looking

    def find(self, path: str) -> File | Folder:
        """What has this path."""
        found: File | Folder = self.root
        for name in filter(None, path.split("/")):
            if isinstance(found, File):
                raise _error(errno.ENOTDIR)
            if name not in found.names:
                raise _error(errno.ENOENT)
            found = found.names[name]
        return found

    def folder(self, path: str) -> Folder:
        """The folder that has this path."""
        found = self.find(path)
        if isinstance(found, File):
            raise _error(errno.ENOTDIR)
        return found

    # --------------------------------------------------------------------------------------- changing

    def create(self, path: str, mode: int) -> File:
        """A new empty file, or the one that is there, emptied."""
        folder, name = self._place(path)
        existing = folder.names.get(name)
        if isinstance(existing, File):
            existing.change((0, None))
            return existing
        file = File(mode)
        self._rename([(folder, name, file)])
        return file

    def make_folder(self, path: str, mode: int) -> None:
        """A new folder."""
        folder, name = self._place(path)
        if name in folder.names:
            raise _error(errno.EEXIST)
        self._rename([(folder, name, Folder(mode))])

    def remove(self, path: str) -> None:
        """Take a file's or an empty folder's name away."""
        folder, name = self._place(path)
        found = self.find(path)
        if isinstance(found, Folder) and found.names:
            raise _error(errno.ENOTEMPTY)
        self._rename([(folder, name, None)])

    def rename(self, old: str, new: str) -> None:
        """Move, replacing what is there."""
        moved = self.find(old)
        source, old_name = self._place(old)
        target, new_name = self._place(new)
        self._rename([(source, old_name, None), (target, new_name, moved)])

    def sync_folder(self, folder: Folder) -> None:
        """Make the names durable, up to the last change in this folder."""
        touched = [n for n, entry in enumerate(self._journal, 1) if any(part[0] is folder for part in entry)]
        self._commit(max(touched, default=0))

    def sync_all(self) -> None:
        """Make everything durable."""
        self._commit(len(self._journal))
        for file in _files(self.root):
            file.sync()

    def lose_power(self, *, everything: bool = False) -> None:
        """From now on there is only what survived; with `everything` nothing that was not synced did."""
        self._commit(0 if everything else self._rng.randint(0, len(self._journal)))
        self._journal.clear()
        _restore(self.root)
        for file in _files(self.root):
            file.lose_power(self._rng, everything=everything)

    def _place(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        return self.folder(parent), name

    def _rename(self, renaming: Renaming) -> None:
        for folder, name, thing in renaming:
            _set(folder.names, name, thing)
        self._journal.append(renaming)

    def _commit(self, count: int) -> None:
        for renaming in self._journal[:count]:
            for folder, name, thing in renaming:
                _set(folder.durable, name, thing)
        del self._journal[:count]


def _set(names: dict[str, File | Folder], name: str, thing: File | Folder | None) -> None:
    if thing is None:
        names.pop(name, None)
    else:
        names[name] = thing


def _apply(data: bytearray, change: Change) -> None:
    place, written = change
    end = place + len(written or b"")
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    if written is None:
        del data[place:]
    else:
        data[place:end] = written


def _survivor(change: Change, rng: random.Random) -> Change | None:
    fate = rng.random()
    place, written = change
    if fate < 0.5:
        return None
    if written and fate < 0.7:
        return place, written[: rng.randrange(len(written) + 1)]
    return change


def _files(folder: Folder) -> list[File]:
    found: list[File] = []
    for thing in folder.names.values():
        found += [thing] if isinstance(thing, File) else _files(thing)
    return found


def _restore(folder: Folder) -> None:
    folder.names = dict(folder.durable)
    for thing in folder.names.values():
        if isinstance(thing, Folder):
            _restore(thing)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
