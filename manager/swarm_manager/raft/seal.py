"""Frames: the only shape in which the managers' data are on a disk.

Theory of operation
    A file is a row of frames.  A frame is a head in the clear and, encrypted with AES-256-GCM, what was written
    at once: one group commit of the journal, or one piece of a snapshot.

        marker | key | salt | counter | synced | previous | ends | length | crc32 || data, tag

    The head is authenticated with the data, and so is the file's name.  `previous` is the tag of the frame
    before, so frames cannot be left out, swapped, repeated, or taken over from another file or another history of
    this one.  `ends` says that the file may end after this frame: a snapshot that lacks its end is no snapshot.

    A nonce must never be used twice with a key, and a place in a file is written twice whenever a tail is cut.
    So no nonce comes from a place.  Every *writer* (one opening of one file) draws a random `salt` of 128 bits and
    derives a key of its own from it; under that key, `counter` only goes up, also when the tail is cut.

    Reading takes the frames from the front.  What follows the last sound one is a *torn tail*, as in segment.py:
    it was never promised, unless a later frame is whole and says that the bad place had been `synced` before.
    Then the disk lost what it had promised, and only a person can decide.  `crc32` is over the head alone: it tells
    a frame sealed with a key we do not have from one that is damaged.
"""

import hmac
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from swarm_manager.raft.errors import CorruptData, KeysUnusable

KEY_BYTES = 32
PIECE_BYTES = 256 << 10  # of a whole file: so much is encrypted at once, which holds the GIL for some 0.05 ms
_MARKER = b"RSWSEAL1"
_ID_BYTES = 8
_SALT_BYTES = 16
_TAG_BYTES = 16
_FIELDS = struct.Struct("<8s8s16sQQ16sB3xI")
_CRC = struct.Struct("<I")
HEAD_BYTES = _FIELDS.size + _CRC.size
_FIRST = bytes(_TAG_BYTES)
_CIPHERS_KEPT = 64

#: Draws this many random bytes; os.urandom, or a simulation's.
RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class DataKey:
    """A 256-bit key, and the name by which frames refer to it (it tells nothing of the key)."""

    key_id: bytes
    secret: bytes = field(repr=False)

    @staticmethod
    def of(secret: bytes) -> "DataKey":
        """The key with this secret."""
        return DataKey(hmac.digest(secret, b"raftswarm data key: name", "sha256")[:_ID_BYTES], secret)

    def cipher(self, salt: bytes) -> AESGCM:
        """The cipher of the writer that drew this salt."""
        return AESGCM(hmac.digest(self.secret, b"raftswarm data key: writer" + salt, "sha256"))


class Place(NamedTuple):
    """A boundary between frames: how many bytes of data end here, where in the file that is, and the last tag."""

    data_bytes: int
    file_bytes: int
    previous: bytes


START = Place(0, 0, _FIRST)


class _Head(NamedTuple):
    marker: bytes
    key_id: bytes
    salt: bytes
    counter: int
    synced: int
    previous: bytes
    ends: int
    length: int


class Writer:
    """Seals what is written to one file between its opening and its closing."""

    def __init__(self, key: DataKey, name: str, random: RandomBytes, place: Place = START) -> None:
        self.key_id = key.key_id
        self.place = place
        self._salt = random(_SALT_BYTES)
        self._cipher = key.cipher(self._salt)
        self._name = name.encode()
        self._counter = 0

    def seal(self, data: bytes, *, synced: int = 0, ends: bool = True) -> bytes:
        """The next frame; `place` is after it.  `synced`: how many bytes of the file are known durable."""
        length = len(data) + _TAG_BYTES
        fields = _FIELDS.pack(
            _MARKER, self.key_id, self._salt, self._counter, synced, self.place.previous, ends, length
        )
        head = fields + _CRC.pack(zlib.crc32(fields))
        sealed = self._cipher.encrypt(_nonce(self._counter), data, head + self._name)
        self._counter += 1
        at = self.place
        self.place = Place(at.data_bytes + len(data), at.file_bytes + HEAD_BYTES + length, sealed[-_TAG_BYTES:])
        return head + sealed

    def seal_all(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The frames of a file that is written at once, of however many and however large chunks."""
        waiting = bytearray()
        for chunk in chunks:
            waiting += chunk
            while len(waiting) > PIECE_BYTES:
                yield self.seal(bytes(waiting[:PIECE_BYTES]), ends=False)
                del waiting[:PIECE_BYTES]
        yield self.seal(bytes(waiting))


@dataclass(frozen=True, slots=True)
class Opened:
    """What a sealed file holds: its data up to `end`, the place after the last sound frame, and what sealed them."""

    data: bytes
    end: Place
    key_ids: frozenset[bytes]


class Opener:
    """Opens frames with the keys there are.  `keys` is asked each time, so a key added later counts."""

    def __init__(self, keys: Callable[[], Mapping[bytes, DataKey]]) -> None:
        self._keys = keys
        self._ciphers: dict[tuple[bytes, bytes], AESGCM] = {}

    def open_file(self, name: str, file: bytes, where: str) -> Opened:
        """All sound data of a file.

        KeysUnusable when a key is missing, CorruptData when a place is damaged that had been synced; `where`
        names the folder in these.
        """
        parts: list[bytes] = []
        key_ids: set[bytes] = set()
        sound, end, tag, place = 0, 0, _FIRST, 0
        for data, key_id, ends, place, previous in self._walk(name.encode(), file):
            parts.append(data)
            key_ids.add(key_id)
            if ends:
                sound, end, tag = len(parts), place, previous
        if place < len(file):
            key_ids |= self._known_key_at(name, file, place, where)
            self._refuse_if_synced(name, file, place, where)
        data = b"".join(parts[:sound])
        return Opened(data, Place(len(data), end, tag), frozenset(key_ids))

    def open_next(self, name: str, frame: bytes, previous: bytes) -> tuple[bytes, bytes, bool] | None:
        """(data, tag, whether the file may end here) of the frame after the one with this tag; None: not sound."""
        found = next(self._walk(name.encode(), frame, previous), None)
        if found is None:
            return None
        data, _, ends, _, tag = found
        return data, tag, ends

    def _walk(
        self, name: bytes, file: bytes, previous: bytes = _FIRST
    ) -> Iterator[tuple[bytes, bytes, bool, int, bytes]]:
        """(data, key id, whether the file may end here, where the frame ends, its tag) up to the first unsound frame.

        A restart reads every commit of the last hour like this: plain tuples, because names cost as much as AES.
        """
        place, size_bytes, unpack = 0, len(file), _FIELDS.unpack_from
        while place + HEAD_BYTES <= size_bytes:
            _, key_id, salt, counter, _, before, ends, length = unpack(file, place)
            data = None if before != previous else self._decrypt(name, file, place, key_id, salt, counter, length)
            if data is None:
                return
            place += HEAD_BYTES + length
            previous = file[place - _TAG_BYTES : place]
            yield data, key_id, bool(ends), place, previous

    def _decrypt(
        self, name: bytes, file: bytes, place: int, key_id: bytes, salt: bytes, counter: int, length: int
    ) -> bytes | None:
        cipher = self._ciphers.get((key_id, salt)) or self._cipher(key_id, salt)
        body = place + HEAD_BYTES
        if cipher is None or body + length > len(file):
            return None
        try:
            return cipher.decrypt(_nonce(counter), file[body : body + length], file[place:body] + name)
        except InvalidTag:
            return None

    def _cipher(self, key_id: bytes, salt: bytes) -> AESGCM | None:
        key = self._keys().get(key_id)
        if key is None:
            return None
        if len(self._ciphers) >= _CIPHERS_KEPT:
            self._ciphers.clear()
        cipher = self._ciphers[key_id, salt] = key.cipher(salt)
        return cipher

    def _known_key_at(self, name: str, file: bytes, place: int, where: str) -> set[bytes]:
        """The key of the unsound frame here, which is needed to tell that it is unsound; KeysUnusable: we lack it."""
        head = _parse_head(file, place)
        if head is None:
            return set()
        if head.key_id not in self._keys():
            raise KeysUnusable(
                f"the file {name!r} in {where} is sealed with the key {head.key_id.hex()}, which this manager's key "
                "file does not hold: put back the key file that belongs to these data, or remove this manager from the "
                "cluster and let it join again"
            )
        return {head.key_id}

    def _refuse_if_synced(self, name: str, file: bytes, bad: int, where: str) -> None:
        place = file.find(_MARKER, bad)
        while place >= 0:
            if self._vouches_for(name, file, place, bad):
                raise CorruptData(
                    f"the file {name} in {where} is damaged at byte {bad}, in a part that had been written safely: "
                    "the disk lost data or they were tampered with; remove this manager from the cluster and let it "
                    "join again, or restore its data folder from a backup"
                )
            place = file.find(_MARKER, place + 1)

    def _vouches_for(self, name: str, file: bytes, place: int, bad: int) -> bool:
        """Whether the frame at `place` is whole, and was written when another content of the bad place had been synced.

        At the bad place itself a whole frame is one that does not follow from the frame before: that one was changed.
        """
        head = _parse_head(file, place)
        if head is None or head.synced < bad or (head.synced == bad and place > bad):
            return False
        args = (head.key_id, head.salt, head.counter, head.length)
        return self._decrypt(name.encode(), file, place, *args) is not None


def is_sealed(start: bytes) -> bool:
    """Whether a file that begins like this is one of frames."""
    return start.startswith(_MARKER)


def body_bytes(head: bytes) -> int | None:
    """How many bytes follow this head; None when it is none."""
    parsed = _parse_head(head, 0)
    return None if parsed is None else parsed.length


def _parse_head(file: bytes, place: int) -> _Head | None:
    """The head at this place, if its checksum says that it is one."""
    end = place + _FIELDS.size
    if place + HEAD_BYTES > len(file) or _CRC.unpack_from(file, end)[0] != zlib.crc32(file[place:end]):
        return None
    return _Head._make(_FIELDS.unpack_from(file, place))


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "little")
