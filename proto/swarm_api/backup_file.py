"""The file of a backup: any bytes, encrypted and authenticated under a passphrase, as a whole or not at all.

Theory of operation
    head     magic, format version, scrypt's cost, salt; then a MAC of these under a key from the passphrase
    chunks   64 KiB of plaintext each (the last may be shorter, or empty), AES-256-GCM, 16 bytes of tag

    scrypt turns passphrase and salt into two keys: one for the head's MAC, which tells a wrong passphrase before
    anything is decrypted, and one for the chunks.  The salt is random, so each file has a key of its own, and a chunk's
    nonce can be its number; its last byte says whether it is the last one (the STREAM construction of Hoang et al.).
    Each chunk is bound to the head.  So no bit can be flipped and no chunk be dropped, moved, doubled or brought over
    from another file, and a file that ends early lacks a chunk that says "last".

    Whoever reads must not act on what `unseal` yields before it has come to its end.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError

from swarm_api.backup_pb2 import BackupHead

MAGIC = b"RSWBACK\x00"
FORMAT_VERSION = 1
CHUNK_BYTES = 64 * 1024

_TAG_BYTES = 16
_SALT_BYTES = 16
_KEY_BYTES = 32
_HEAD = struct.Struct(">8sHBBB3x16s")  # magic, version, log2 of scrypt's n, r, p, salt
_LENGTH = struct.Struct(">I")
_HEAD_BYTES = _HEAD.size + hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Cost:
    """How hard guessing is made: scrypt's parameters; it takes 128 * r * 2**log_n bytes of memory."""

    log_n: int = 17  # 128 MiB, a third of a second
    r: int = 8
    p: int = 1

    @property
    def is_sane(self) -> bool:
        """Whether it can be afforded: a forged file must not take all of this machine's memory."""
        return 1 <= self.log_n <= 20 and 1 <= self.r <= 16 and 1 <= self.p <= 4


class BackupFileError(Exception):
    """The file is no backup that can be read with this passphrase; the text is a sentence for people."""


class Source(Protocol):
    """Where the file's bytes come from."""

    def read(self, size_bytes: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Keys:
    mac: bytes
    chunks: bytes


def seal(plain: Iterable[bytes], passphrase: bytes, cost: Cost | None = None) -> Iterator[bytes]:
    """The bytes of the file, piece by piece, for the bytes of `plain` in pieces of any size."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cost = cost or Cost()
    salt = os.urandom(_SALT_BYTES)
    keys = _derive(passphrase, salt, cost)
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, cost.log_n, cost.r, cost.p, salt)
    yield head + hmac.digest(keys.mac, head, "sha256")
    cipher = AESGCM(keys.chunks)
    for number, (chunk, is_last) in enumerate(_regrouped(plain)):
        yield cipher.encrypt(_nonce(number, is_last=is_last), chunk, head)


def unseal(source: Source, passphrase: bytes) -> Iterator[bytes]:
    """What was sealed, piece by piece; BackupFileError, possibly only at the end, unless all of it is as it was."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head, keys = _open_head(_read(source, _HEAD_BYTES), passphrase)
    cipher = AESGCM(keys.chunks)
    sealed = _read(source, CHUNK_BYTES + _TAG_BYTES)
    number, place = 0, _HEAD_BYTES
    while True:
        following = _read(source, CHUNK_BYTES + _TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(number, is_last=not following), sealed, head)
        except (InvalidTag, ValueError) as error:
            raise BackupFileError(
                f"The backup is damaged, cut off or was tampered with, at byte {place} or at its end: nothing of it "
                "can be trusted; use another copy."
            ) from error
        if not following:
            return
        number, place, sealed = number + 1, place + len(sealed), following


def _open_head(data: bytes, passphrase: bytes) -> tuple[bytes, _Keys]:
    head, mac = data[: _HEAD.size], data[_HEAD.size :]
    if not head.startswith(MAGIC[: len(head)]) or not head:
        raise BackupFileError("This is not a backup of 'swarm-cli backup'; check the file's name.")
    if len(data) < _HEAD_BYTES:
        raise BackupFileError("The backup is cut off in its first bytes; use another copy.")
    _, version, log_n, r, p, salt = _HEAD.unpack(head)
    if version > FORMAT_VERSION:
        raise BackupFileError(
            f"The backup has format {version}, and this raftswarm knows formats up to {FORMAT_VERSION}: use the "
            "version that made it, or a newer one."
        )
    keys = _derive_as_told(passphrase, salt, Cost(log_n, r, p))
    if not hmac.compare_digest(hmac.digest(keys.mac, head, "sha256"), mac):
        raise BackupFileError(
            "The passphrase is not that of this backup (or its first bytes are damaged): try again with the right one."
        )
    return head, keys


def _derive_as_told(passphrase: bytes, salt: bytes, cost: Cost) -> _Keys:
    """The keys at the cost that a file names, which nothing vouches for yet."""
    try:
        if cost.is_sane:
            return _derive(passphrase, salt, cost)
    except (ValueError, MemoryError) as error:  # figures that scrypt cannot have
        raise BackupFileError("The backup is damaged in its first bytes; use another copy.") from error
    raise BackupFileError("The backup is damaged in its first bytes; use another copy.")


def _derive(passphrase: bytes, salt: bytes, cost: Cost) -> _Keys:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    derived = Scrypt(salt, 2 * _KEY_BYTES, 1 << cost.log_n, cost.r, cost.p).derive(passphrase)
    return _Keys(derived[:_KEY_BYTES], derived[_KEY_BYTES:])


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((is_last,))


def _regrouped(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The same bytes in chunks of CHUNK_BYTES, and whether each is the last; there is always one."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) > CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES]), False
            del held[:CHUNK_BYTES]
    yield bytes(held), True


def _read(source: Source, size_bytes: int) -> bytes:
    """So many bytes, or what there is: a pipe gives less at a time."""
    parts, missing = [], size_bytes
    while missing and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def pack(head: BackupHead, state: Iterable[bytes]) -> Iterator[bytes]:
    """What is sealed: the head with its length before it, then the state."""
    data = head.SerializeToString()
    yield _LENGTH.pack(len(data)) + data
    yield from state


def unpack(pieces: Iterable[bytes]) -> tuple[BackupHead, bytes]:
    """Head and state of what `unseal` yields, once all of it was found to be sound."""
    data = b"".join(pieces)
    end = _LENGTH.size + (_LENGTH.unpack_from(data)[0] if len(data) >= _LENGTH.size else 0)
    try:
        head = BackupHead.FromString(data[_LENGTH.size : end])
    except DecodeError as error:
        raise BackupFileError("The backup cannot be read, though it is as it was written: report this.") from error
    return head, data[end:]
