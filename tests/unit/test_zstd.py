"""zstd: bounded whatever comes in."""

import os

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from caskeeper.errors import DigestMismatch
from worker import zstd
from worker.protocols import CHUNK_BYTES


@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_what_goes_out_comes_in_again(pieces):
    data = b"".join(pieces)
    sent = list(zstd.compressed(pieces))
    assert b"".join(zstd.decompressed(sent)) == data
    assert len(b"".join(sent)) <= zstd.most_bytes(len(data))
    assert zstd.unpack(zstd.pack(data), size_bytes=len(data)) == data


def test_pieces_stay_small_in_both_directions():
    noise = [os.urandom(zstd.SOURCE_BYTES) for _ in range(8)]
    sent = list(zstd.compressed(noise))
    assert max(map(len, sent)) < 2 * CHUNK_BYTES
    assert max(map(len, zstd.decompressed([b"".join(sent)]))) <= CHUNK_BYTES
    bomb = zstandard.ZstdCompressor().compress(bytes(300_000_000))
    pieces = zstd.decompressed([bomb])
    assert len(next(pieces)) <= CHUNK_BYTES


def test_something_goes_out_for_every_piece_that_goes_in_so_no_reader_thinks_us_dead():
    assert len(list(zstd.compressed([bytes(zstd.SOURCE_BYTES)] * 20))) >= 15


def test_more_than_was_announced_is_refused_before_it_is_made():
    with pytest.raises(DigestMismatch, match="more than 10 bytes"):
        zstd.unpack(zstd.pack(bytes(10**8)), size_bytes=10)


@pytest.mark.parametrize("data", [b"no frame", zstd.pack(b"a") + b"garbage"])
def test_what_is_no_zstd_says_so(data):
    with pytest.raises(DigestMismatch, match="no zstd"):
        zstd.unpack(data, size_bytes=100)


def test_the_error_of_a_source_is_its_own():
    def broken():
        yield zstd.pack(b"abc")[:4]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(zstd.decompressed(broken()))
