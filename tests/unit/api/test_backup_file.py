"""A backup's file is read as it was written, or refused: there is nothing in between."""

import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_api.backup_file import CHUNK_BYTES, FORMAT_VERSION, MAGIC, BackupFileError, Cost, seal, unseal

CHEAP = Cost(log_n=4, r=1, p=1)
PASSPHRASE = b"correct horse"
HEAD_BYTES = 64


def sealed(plain: bytes, passphrase: bytes = PASSPHRASE) -> bytes:
    return b"".join(seal([plain], passphrase, CHEAP))


def opened(data: bytes, passphrase: bytes = PASSPHRASE) -> bytes:
    return b"".join(unseal(io.BytesIO(data), passphrase))


class Trickle:
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._source = io.BytesIO(data)
        self._sizes = itertools.cycle((1, 7, 1000))

    def read(self, size_bytes: int) -> bytes:
        return self._source.read(min(size_bytes, next(self._sizes)))


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_what_was_sealed_is_read_again_whatever_the_pieces(pieces: list[bytes]) -> None:
    data = b"".join(seal(pieces, PASSPHRASE, CHEAP))
    assert opened(data) == b"".join(pieces)
    assert b"".join(unseal(Trickle(data), PASSPHRASE)) == b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_chunk_boundaries(size: int) -> None:
    plain = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert opened(sealed(plain)) == plain


LONG = sealed(b"state " * 30_000)  # three chunks


@settings(max_examples=300)
@given(st.integers(0, len(LONG) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(LONG)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BackupFileError):
        opened(bytes(data))


@given(st.integers(0, len(LONG) - 1))
def test_any_truncation_is_refused(size: int) -> None:
    with pytest.raises(BackupFileError):
        opened(LONG[:size])


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_cut_between_two_chunks_is_refused(chunks: int) -> None:
    with pytest.raises(BackupFileError, match="cut off"):
        opened(LONG[: HEAD_BYTES + chunks * (CHUNK_BYTES + 16)])


@given(st.binary(min_size=1, max_size=40))
def test_anything_added_is_refused(more: bytes) -> None:
    with pytest.raises(BackupFileError):
        opened(LONG + more)


def test_chunks_in_another_order_are_refused() -> None:
    size = CHUNK_BYTES + 16
    head, first, second, rest = LONG[:64], LONG[64 : 64 + size], LONG[64 + size : 64 + 2 * size], LONG[64 + 2 * size :]
    with pytest.raises(BackupFileError):
        opened(head + second + first + rest)


def test_a_chunk_of_another_backup_with_the_same_passphrase_is_refused() -> None:
    other = sealed(b"state " * 30_000)
    with pytest.raises(BackupFileError):
        opened(LONG[:64] + other[64:])


@given(st.binary(max_size=40))
def test_another_passphrase_is_refused_in_a_sentence_of_its_own(passphrase: bytes) -> None:
    if passphrase != PASSPHRASE:
        with pytest.raises(BackupFileError, match="passphrase"):
            opened(LONG, passphrase)


@given(st.binary(max_size=200))
def test_what_is_no_backup_is_refused(data: bytes) -> None:
    with pytest.raises(BackupFileError):
        opened(data)


def test_a_newer_format_is_named() -> None:
    data = bytearray(LONG)
    data[len(MAGIC) : len(MAGIC) + 2] = (FORMAT_VERSION + 1).to_bytes(2, "big")
    with pytest.raises(BackupFileError, match=f"format {FORMAT_VERSION + 1}"):
        opened(bytes(data))


def test_a_forged_cost_does_not_take_the_machines_memory() -> None:
    data = bytearray(LONG)
    data[len(MAGIC) + 2] = 40  # scrypt with 2^40 blocks
    with pytest.raises(BackupFileError, match="damaged"):
        opened(bytes(data))


def test_nothing_of_the_plaintext_is_in_the_file_and_no_two_are_alike() -> None:
    assert b"state" not in LONG
    assert sealed(b"state " * 30_000)[64:] != LONG[64:]


@pytest.mark.long
def test_the_cost_in_use_is_what_is_recommended_today() -> None:
    """OWASP's least for scrypt: n = 2^17, r = 8, p = 1."""
    assert (Cost().log_n, Cost().r, Cost().p) == (17, 8, 1)
    assert opened(b"".join(seal([b"x"], PASSPHRASE))) == b"x"
