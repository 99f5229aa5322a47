"""Names of blobs in ByteStream, from peers of every age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, InvalidRequest
from worker.server.resource_names import Resource, parse_read, parse_write

HASH = "ab" * 32
DIGEST = Digest(HASH, 12)
UUID = "0a1b2c3d-1111-4222-8333-444455556666"


@pytest.mark.parametrize(
    "name",
    [
        f"blobs/{HASH}/12",
        f"main/blobs/{HASH}/12",
        f"a/b/c/blobs/{HASH}/12",
        f"blobs/sha256/{HASH}/12",
        f"main/blobs/sha256/{HASH}/12",
        f"{HASH}/12",
    ],
)
def test_a_read_names_its_digest_in_every_form_of_the_protocol(name):
    assert parse_read(name) == Resource(DIGEST)


@pytest.mark.parametrize(
    "name",
    [
        f"uploads/{UUID}/blobs/{HASH}/12",
        f"a/b/uploads/{UUID}/blobs/{HASH}/12",
        f"uploads/{UUID}/blobs/sha256/{HASH}/12",
        f"uploads/{UUID}/blobs/{HASH}/12/some/file.txt",
        f"uploads/{UUID.upper()}/blobs/{HASH}/12",
    ],
)
def test_an_upload_names_its_digest_in_every_form_of_the_protocol(name):
    assert parse_write(name) == Resource(DIGEST)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "blobs",
        f"blobs/{HASH}",
        f"blobs/{HASH}/12/more",
        f"blobs/{HASH.upper()}/12",
        f"blobs/{HASH}/-1",
        f"blobs/{HASH}/1e3",
        f"blobs/{HASH[:-1]}/12",
        f"blobs/../{HASH}/12",
        f"/blobs/{HASH}/12",
        f"a//blobs/{HASH}/12",
        f"actions/blobs/{HASH}/12",
        f"blobs/blobs/{HASH}/12",
        f"uploads/{UUID}/blobs/{HASH}/12",
        f"more/{HASH}/12",
        f"{HASH}/99999999999999999999",
    ],
)
def test_a_read_by_any_other_name_is_no_such_blob(name):
    with pytest.raises(BlobMissing):
        parse_read(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        f"blobs/{HASH}/12",
        f"{HASH}/12",
        f"uploads/blobs/{HASH}/12",
        f"uploads/not-a-uuid/blobs/{HASH}/12",
        f"uploads/0a1b2c3d-1111-1222-8333-444455556666/blobs/{HASH}/12",
        f"uploads/{UUID}/{HASH}/12",
        f"uploads/{UUID}/blobs/{HASH}",
        f"uploads/{UUID}/blobs/{HASH}/twelve",
    ],
)
def test_an_upload_by_any_other_name_is_no_such_place(name):
    with pytest.raises(BlobMissing):
        parse_write(name)


@pytest.mark.parametrize("prefix", ["", "main/", "a/b/"])
@pytest.mark.parametrize("function", ["", "sha256/"])
def test_a_compressed_form_names_the_digest_of_the_plain_bytes(prefix, function):
    behind = f"compressed-blobs/zstd/{function}{HASH}/12"
    assert parse_read(f"{prefix}{behind}") == Resource(DIGEST, zstd=True)
    assert parse_write(f"{prefix}uploads/{UUID}/{behind}") == Resource(DIGEST, zstd=True)
    assert parse_write(f"{prefix}uploads/{UUID}/{behind}/some/file") == Resource(DIGEST, zstd=True)


@pytest.mark.parametrize(
    "behind",
    [
        f"compressed-blobs/deflate/{HASH}/12",
        f"compressed-blobs/ZSTD/{HASH}/12",
        f"compressed-blobs/identity/{HASH}/12",
        f"compressed-blobs/{HASH}/12",
        "compressed-blobs",
        f"blobs/sha512/{HASH}/12",
        f"compressed-blobs/zstd/sha512/{HASH}/12",
    ],
)
def test_a_form_that_is_not_served_is_refused_and_not_called_missing(behind):
    with pytest.raises(InvalidRequest):
        parse_read(f"main/{behind}")
    with pytest.raises(InvalidRequest):
        parse_write(f"uploads/{UUID}/{behind}")


@pytest.mark.parametrize("behind", [f"compressed-blobs/zstd/{HASH}", f"compressed-blobs/zstd/{HASH}/x"])
def test_a_compressed_form_without_a_digest_is_no_such_blob(behind):
    with pytest.raises(BlobMissing):
        parse_read(behind)
    with pytest.raises(BlobMissing):
        parse_write(f"uploads/{UUID}/{behind}")


@given(
    instance=st.lists(st.text("abcdefABC.-_é", min_size=1, max_size=9), max_size=4),
    size_bytes=st.integers(0, 2**63 - 1),
    content=st.binary(max_size=4),
)
def test_any_instance_name_without_a_keyword_is_accepted_before_any_digest(instance, size_bytes, content):
    digest = Digest(Digest.of(content).hash, size_bytes)
    prefix = "".join(f"{segment}/" for segment in instance)
    assert parse_read(f"{prefix}blobs/{digest}") == Resource(digest)
    assert parse_write(f"{prefix}uploads/{UUID}/blobs/{digest}") == Resource(digest)
