"""A manager's data keys, and the file that holds them.

Theory of operation
    The newest key seals what is written from now on; older ones stay as long as a file is sealed with them.  The
    key file lies in a folder of its own, not with the data: a copy of the data alone tells nothing.  It is replaced
    as a whole, so after a crash there is the old one or the new one; and a key is in the file before it seals anything.

    Without autolock the keys are in the file as they are.  With it they are *wrapped*: encrypted with the cluster's
    unlock key, which is in the replicated state and in people's heads, and on no disk outside of what the keys seal.
    Whenever the file is wrapped with another unlock key, a new data key begins: what has lain open, or under an
    unlock key that was given up, opens nothing that is written later.

    `as_of` is the version of the cluster's settings that was followed last.  A manager that starts has an old state
    until the leader has caught it up; it must not undo what it had followed already.
"""

import hmac
import json
import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from swarm_manager.raft.disk import Disk
from swarm_manager.raft.errors import KeysUnusable, WrongUnlockKey
from swarm_manager.raft.seal import KEY_BYTES, DataKey, RandomBytes

FILE_NAME = "keys"
_FORMAT = 1
_NONCE_BYTES = 12
_PURPOSE = b"raftswarm key file 1"


@dataclass(frozen=True, slots=True)
class _Keys:
    """What the key file says."""

    data_keys: tuple[DataKey, ...]  # the newest last
    unlock_key: bytes | None = None
    as_of: int = 0
    adopts_plain: bool = False


class KeyFile:
    """The file, open or locked.  Its folder belongs to one process at a time, as LocalDisk sees to."""

    def __init__(self, disk: Disk, random: RandomBytes = os.urandom) -> None:
        self._disk = disk
        self._random = random

    @property
    def is_there(self) -> bool:
        """Whether there are keys."""
        return FILE_NAME in self._disk.names()

    @property
    def is_locked(self) -> bool:
        """Whether it takes an unlock key to open it; KeysUnusable when that cannot be told."""
        return self.is_there and self._read().get("wrapped_by") is not None

    def create(self, *, adopts_plain: bool = False) -> "KeyRing":
        """New keys, durable.  `adopts_plain`: the data there are were written before data were sealed."""
        keys = _Keys((self._new_key(),), adopts_plain=adopts_plain)
        self._save(keys)
        return KeyRing(self, keys)

    def open(self, unlock_key: bytes | None = None) -> "KeyRing":
        """The keys in the file.  WrongUnlockKey; KeysUnusable when the file is missing, damaged, or locked."""
        document = self._read()
        if document.get("wrapped_by") is None:
            return KeyRing(self, self._parse(document))
        if unlock_key is None:
            raise KeysUnusable(
                f"the keys in {self._disk.describe()} are locked: the cluster's unlock key opens them; with "
                "--unlock-key you are asked for it"
            )
        if document["wrapped_by"] != _name(unlock_key):
            raise WrongUnlockKey(
                "this is not the key that unlocks this manager; if the key was rotated while the manager was off, it "
                "takes the one from before"
            )
        return KeyRing(self, replace(self._parse(self._unwrap(document, unlock_key)), unlock_key=unlock_key))

    def close(self) -> None:
        """Give the folder up."""
        self._disk.close()

    # ------------------------------------------------------------------------------------------ the file

    def _new_key(self) -> DataKey:
        return DataKey.of(self._random(KEY_BYTES))

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self._disk.read(FILE_NAME))
        except FileNotFoundError as error:
            raise KeysUnusable(f"the key file in {self._disk.describe()} is missing; {_REMEDY}") from error
        except ValueError as error:
            raise self._damaged() from error
        if not isinstance(document, dict):
            raise self._damaged()
        if document.get("format") != _FORMAT:
            raise KeysUnusable(
                f"the key file in {self._disk.describe()} has the format {document.get('format')!r}, but this version "
                f"of raftswarm knows {_FORMAT}: run the version that wrote it"
            )
        return document

    def _parse(self, document: dict[str, Any]) -> _Keys:
        try:
            secrets = [bytes.fromhex(text) for text in document["data_keys"]]
            as_of, adopts_plain = int(document["as_of"]), bool(document["adopts_plain"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged() from error
        if not secrets or any(len(secret) != KEY_BYTES for secret in secrets):
            raise self._damaged()
        return _Keys(tuple(DataKey.of(secret) for secret in secrets), None, as_of, adopts_plain)

    def _unwrap(self, document: dict[str, Any], unlock_key: bytes) -> dict[str, Any]:
        try:
            nonce, sealed = bytes.fromhex(document["nonce"]), bytes.fromhex(document["wrapped"])
            found = json.loads(_wrapping(unlock_key).decrypt(nonce, sealed, _PURPOSE))
        except (ValueError, KeyError, TypeError, InvalidTag) as error:
            raise self._damaged() from error
        if not isinstance(found, dict):
            raise self._damaged()
        return found

    def _save(self, keys: _Keys) -> None:
        document: dict[str, Any] = {
            "data_keys": [key.secret.hex() for key in keys.data_keys],
            "as_of": keys.as_of,
            "adopts_plain": keys.adopts_plain,
        }
        if keys.unlock_key is not None:
            nonce = self._random(_NONCE_BYTES)
            wrapped = _wrapping(keys.unlock_key).encrypt(nonce, json.dumps(document).encode(), _PURPOSE)
            document = {"wrapped_by": _name(keys.unlock_key), "nonce": nonce.hex(), "wrapped": wrapped.hex()}
        self._disk.replace(FILE_NAME, [json.dumps({"format": _FORMAT, **document}).encode() + b"\n"])

    def _damaged(self) -> KeysUnusable:
        return KeysUnusable(f"the key file in {self._disk.describe()} is damaged; {_REMEDY}")


_REMEDY = (
    "without it this manager's data cannot be read: put the file back from a copy, or remove this manager from the "
    "cluster and let it join again"
)


class KeyRing:
    """The keys in use.  Every change is durable before it counts; an OSError leaves all as it was."""

    def __init__(self, file: KeyFile, keys: _Keys) -> None:
        self._file = file
        self._keys = keys
        self.by_id: Mapping[bytes, DataKey] = {}
        self._index()

    @property
    def current(self) -> DataKey:
        """The key for what is written from now on."""
        return self._keys.data_keys[-1]

    @property
    def unlock_key(self) -> bytes | None:
        """What the file is wrapped with; None: it lies open."""
        return self._keys.unlock_key

    @property
    def as_of(self) -> int:
        """The version of the cluster's settings that was followed last."""
        return self._keys.as_of

    @property
    def adopts_plain(self) -> bool:
        """Whether data that are not sealed are taken for data from before, and sealed."""
        return self._keys.adopts_plain

    def wrap(self, unlock_key: bytes | None, as_of: int) -> None:
        """Wrap the file with this unlock key and begin a new data key; None: leave the keys open."""
        keys = replace(self._keys, unlock_key=unlock_key, as_of=as_of)
        if unlock_key is not None:
            keys = replace(keys, data_keys=(*keys.data_keys, self._file._new_key()))
        self._change(keys)

    def keep(self, key_ids: AbstractSet[bytes]) -> None:
        """Forget the keys that are neither the current one nor among these."""
        kept = tuple(key for key in self._keys.data_keys if key is self.current or key.key_id in key_ids)
        if kept != self._keys.data_keys:
            self._change(replace(self._keys, data_keys=kept))

    def refuse_plain(self) -> None:
        """All data are sealed: whatever is not, from now on, is damage."""
        self._change(replace(self._keys, adopts_plain=False))

    def _change(self, keys: _Keys) -> None:
        self._file._save(keys)
        self._keys = keys
        self._index()

    def _index(self) -> None:
        self.by_id = {key.key_id: key for key in self._keys.data_keys}


def _name(unlock_key: bytes) -> str:
    """How the file refers to an unlock key; it tells nothing of it."""
    return hmac.digest(unlock_key, b"raftswarm unlock key: name", "sha256")[:8].hex()


def _wrapping(unlock_key: bytes) -> AESGCM:
    return AESGCM(hmac.digest(unlock_key, b"raftswarm unlock key: wrap", "sha256"))
