"""Secrets and configs of tasks, as files that exist in memory only.

Each task has a folder below `<run>/files`, which is on a tmpfs: the run directory usually is one, else one is mounted
there. Containers see single files of it, bind-mounted read-only; the folder itself is root's alone. A file is made
before its container and lives until the task is forgotten, so that a container survives a restart of the daemon.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from swarm_api.objects_pb2 import Task
from swarm_api.types_pb2 import FileTarget

from swarm_worker.runtime import FileMount, RefusedError

SECRETS_FOLDER = PurePosixPath("/run/secrets")
DEFAULT_MODE = 0o444
_MEMORY = frozenset({"tmpfs", "ramfs"})


class TaskFiles:
    """The files of this node's tasks. Methods block a little; safe for different tasks at once."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "files"

    def write(self, task: Task, content: Callable[[str], bytes]) -> tuple[FileMount, ...]:
        """Make the task's files; `content` gives the bytes of a key (`secret/ID`, `config/ID`)."""
        wanted = list(_wanted(task))
        if not wanted:
            return ()
        self._have_folder()
        folder = self._folder / task.id
        folder.mkdir(mode=0o700, exist_ok=True)
        mounts = []
        for number, (key, path, target) in enumerate(wanted):
            source = folder / str(number)
            _write(source, content(key), target)
            mounts.append(FileMount(source, path))
        return tuple(mounts)

    def remove(self, task_id: str) -> None:
        """Remove the task's files, if it has any."""
        shutil.rmtree(self._folder / task_id, ignore_errors=True)

    def keep_only(self, task_ids: Collection[str]) -> None:
        """Remove the files of all other tasks: what a crash left behind."""
        if self._folder.is_dir():
            for entry in self._folder.iterdir():
                if entry.name not in task_ids:
                    shutil.rmtree(entry, ignore_errors=True)

    def close(self) -> None:
        """Remove all of it, and the tmpfs if one was mounted for it."""
        if self._folder.is_mount():
            subprocess.run(["umount", "--lazy", str(self._folder)], capture_output=True, check=False, timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _have_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _filesystem(self._folder) in _MEMORY:
            return
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "mode=0700", "raftswarm", str(self._folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        if done.returncode:
            raise RefusedError(
                f"Secrets are kept in memory only, and no tmpfs could be mounted on {self._folder}: "
                f"{done.stderr.strip()}; choose a run directory on a tmpfs, such as /run/raftswarm."
            )


def _wanted(task: Task) -> Iterator[tuple[str, str, FileTarget]]:
    """(key, path in the container, owner and mode) of each file."""
    spec = task.spec.container
    for secret in spec.secrets:
        name = secret.target.name or secret.secret_name
        yield f"secret/{secret.secret_id}", str(SECRETS_FOLDER / name), secret.target
    for config in spec.configs:
        name = config.target.name or config.config_name
        yield f"config/{config.config_id}", str(PurePosixPath("/") / name), config.target


def _write(path: Path, data: bytes, target: FileTarget) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        os.fchown(handle, _number(target.uid, "uid"), _number(target.gid, "gid"))
        os.fchmod(handle, target.mode or DEFAULT_MODE)


def _number(text: str, what: str) -> int:
    if text and not text.isdigit():
        raise RefusedError(f"The {what} of a secret or config must be a number, not {text!r}.")
    return int(text or 0)


def _filesystem(path: Path) -> str:
    """The type of the file system that `path` is on."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].encode().decode("unicode_escape")
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind
