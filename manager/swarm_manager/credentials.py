"""This node's certificate as it is on disk now: the node's daemon renews it there while we run."""

from collections.abc import Callable
from pathlib import Path

import structlog
from swarm_api.identity import NodeCredentials
from swarm_api.join_token import IdentityError

_log = structlog.get_logger("credentials")


class CredentialsFile:
    """Reads the node's credentials again when node.crt was replaced.

    `current` is also called from gRPC's own threads.  It is a stat and, rarely, a read; two threads that read at
    once both get the new one.
    """

    def __init__(self, folder: Path) -> None:
        """Read them for the first time; FileNotFoundError or IdentityError when there are none that can be used."""
        self._folder = folder
        self._stamp = self._read_stamp()
        self._credentials = NodeCredentials.load(folder)

    def current(self) -> NodeCredentials:
        """The credentials to use for a new connection; the same object until they change."""
        try:
            stamp = self._read_stamp()
            if stamp != self._stamp:
                self._credentials = NodeCredentials.load(self._folder)
                self._stamp = stamp
                _log.info("the node's certificate was renewed")
        except (OSError, IdentityError) as error:
            _log.warning("the node's certificate cannot be read; the one from before is used", why=str(error))
        return self._credentials

    def _read_stamp(self) -> tuple[int, int]:
        found = (self._folder / "node.crt").stat()
        return (found.st_mtime_ns, found.st_ino)


class ChangeNotice:
    """Calls back when the credentials have changed since the last look."""

    def __init__(self, source: CredentialsFile, callback: Callable[[NodeCredentials], None]) -> None:
        self._source = source
        self._callback = callback
        self._known = source.current()

    def look(self) -> None:
        """Compare, and call back."""
        current = self._source.current()
        if current is not self._known:
            self._known = current
            self._callback(current)
