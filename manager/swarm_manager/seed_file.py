"""A new cluster's first change set, from `init` until it is committed; sealed, because it holds the CA's key."""

import os
from pathlib import Path

from google.protobuf.message import DecodeError
from swarm_api.identity import write_private
from swarm_api.store_pb2 import ChangeSet

from swarm_manager.errors import StartError
from swarm_manager.raft.keys import KeyRing
from swarm_manager.raft.seal import Opener, Writer, is_sealed

_NAME = "seed"


class SeedFile:
    """The file, with the keys of the manager whose it is."""

    def __init__(self, path: Path, ring: KeyRing) -> None:
        self._path = path
        self._ring = ring

    def exists(self) -> bool:
        """Whether there is one."""
        return self._path.exists()

    def save(self, seed: ChangeSet) -> None:
        """Write it, durably; OSError when that cannot be."""
        writer = Writer(self._ring.current, _NAME, os.urandom)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._path, b"".join(writer.seal_all([seed.SerializeToString()])))

    def load(self) -> ChangeSet:
        """What was saved; StartError when it is damaged, RaftError when it is sealed with other keys."""
        data = self._path.read_bytes()
        if is_sealed(data):  # else `init` was run by a version that did not seal it
            data = Opener(lambda: self._ring.by_id).open_file(_NAME, data, str(self._path.parent)).data
        try:
            seed = ChangeSet.FromString(data)
        except DecodeError:
            seed = ChangeSet()
        if not seed.changes:
            raise StartError(f"{self._path} is damaged, and the cluster was never begun: leave it and make it again")
        return seed

    def remove(self) -> None:
        """It is committed: the state holds what it held."""
        self._path.unlink()
