"""The control groups of a host: what its processes are counted and frozen by.

Every host owns the subtree `/raftswarm-testbed/<testbed>/<host>`, with two leaves:

    host/         the host's own processes (init, dockerd, the daemons)
    containers/   the parent Docker is told to put its containers under

Two leaves because cgroup v2 lets only leaves hold processes once controllers are enabled. On v1 every controller
is a tree of its own and the same path exists in each; only the freezer's tree holds the host's processes.
The subtree is also the register of what belongs to a host: `down` finds processes by it when all else is lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.process import wait_until

ROOT = Path("/sys/fs/cgroup")
PARENT = "raftswarm-testbed"


def is_v2() -> bool:
    """Whether the machine has the one unified tree (Debian 12's default) instead of one tree a controller."""
    return (ROOT / "cgroup.controllers").exists()


def _trees() -> list[Path]:
    if is_v2():
        return [ROOT]
    return [tree for tree in ROOT.iterdir() if tree.is_dir() and not tree.is_symlink()]


def _freezer_tree() -> Path:
    return ROOT if is_v2() else ROOT / "freezer"


@dataclass(frozen=True)
class HostCgroup:
    """The control groups of one host."""

    path: str  # below each tree's root, without a leading slash

    @classmethod
    def of(cls, testbed: str, host: str) -> HostCgroup:
        return cls(f"{PARENT}/{testbed}/{host}")

    @property
    def _top(self) -> Path:
        return _freezer_tree() / self.path

    @property
    def procs_file(self) -> Path:
        """Where a process writes its pid to become one of the host's."""
        return self._top / "host" / "cgroup.procs"

    @property
    def docker_parent(self) -> str:
        """What dockerd gets as --cgroup-parent."""
        return f"/{self.path}/containers"

    def create(self) -> None:
        self.procs_file.parent.mkdir(parents=True, exist_ok=True)

    def own_pids(self) -> list[int]:
        """The host's processes outside containers, as pids of this machine."""
        return _pids(self.procs_file.parent)

    def all_pids(self) -> list[int]:
        """Every process of the host, in containers or not, in whichever tree it is listed."""
        tops = (tree / self.path for tree in _trees())
        return sorted({pid for top in tops for group in _below(top) for pid in _pids(group)})

    def freeze(self) -> None:
        if is_v2():
            (self._top / "cgroup.freeze").write_text("1")
        else:
            (self._top / "freezer.state").write_text("FROZEN")
        wait_until(self.frozen, f"freezing {self.path}", timeout_s=10)

    def thaw(self) -> None:
        """Let it run again; nothing happens when it runs or does not exist."""
        with contextlib.suppress(FileNotFoundError):
            if is_v2():
                (self._top / "cgroup.freeze").write_text("0")
            else:
                (self._top / "freezer.state").write_text("THAWED")

    def frozen(self) -> bool:
        try:
            if is_v2():
                return "frozen 1" in (self._top / "cgroup.events").read_text()
            return (self._top / "freezer.state").read_text().strip() == "FROZEN"
        except OSError:
            return False  # no such group: powered off

    def remove(self) -> None:
        """Remove the subtree from every tree. Its processes must be gone."""
        for tree in _trees():
            for group in _below(tree / self.path):
                _rmdir_when_empty(group)


def hosts_of(testbed: str) -> list[str]:
    """The hosts of a testbed that still own a control group somewhere, told from the kernel alone."""
    names = {host.name for tree in _trees() for host in _subgroups(tree / PARENT / testbed)}
    return sorted(names)


def testbeds() -> list[str]:
    """The testbeds that still own a control group somewhere."""
    return sorted({bed.name for tree in _trees() for bed in _subgroups(tree / PARENT)})


def remove_empty_parents(testbed: str) -> None:
    """Remove what the hosts' groups stood under, as far as no other host or testbed stands there."""
    for tree in _trees():
        for parent in (tree / PARENT / testbed, tree / PARENT):
            # Another testbed may live (ENOTEMPTY) or have removed it just now (ENOENT): both are fine.
            with contextlib.suppress(OSError):
                parent.rmdir()


def _pids(group: Path) -> list[int]:
    try:
        return [int(word) for word in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []  # removed while we looked


def _subgroups(group: Path) -> list[Path]:
    try:
        return [entry for entry in group.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _below(top: Path) -> Iterator[Path]:
    """A group and all below it, the deepest first."""
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)


def _rmdir_when_empty(group: Path) -> None:
    def gone() -> bool:
        try:
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False  # EBUSY for as long as the kernel still buries the last process
        return True

    wait_until(gone, f"removing the control group {group}", timeout_s=10)
