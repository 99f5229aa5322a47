"""What the URIs of a request name: a ref that is an artifact's, or one of the server's own making."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from caskeeper.artifact import Ref
from worker._protos import remote_asset_pb2 as wire
from worker._protos import remote_execution_pb2 as reapi
from worker.names import ARTIFACT_URN, DIRECTORY_URN
from worker.protocols import ARTIFACT, DIRECTORY
from worker.server.answers import invalid
from worker.server.published import ASSETS, MAX_NAMES

if TYPE_CHECKING:
    FetchRequest: TypeAlias = wire.FetchBlobRequest | wire.FetchDirectoryRequest
    PushRequest: TypeAlias = wire.PushBlobRequest | wire.PushDirectoryRequest

#: The label that says what such a ref stands for.
URI, QUALIFIERS = "uri", "qualifiers"
#: A URI with its qualifiers; they are kept in the ref's record.
MAX_NAME_BYTES = 64 * 1024
#: All names of one push, likewise: what a short message may have us write.
MAX_NAMES_BYTES = 16 * 1024 * 1024


class Half(NamedTuple):
    """How one half of the API, blobs or directories, names things."""

    urn: str
    kind: int
    element: str


BLOBS = Half(ARTIFACT_URN, ARTIFACT, "blob")
DIRECTORIES = Half(DIRECTORY_URN, DIRECTORY, "directory")


class Name(NamedTuple):
    """One URI of a request as a ref. ``own``: the ref is an artifact's."""

    uri: str
    ref: Ref
    own: bool


def checked_qualifiers(request: FetchRequest | PushRequest) -> list[tuple[str, str]]:
    """The qualifiers, sorted. Raises InvalidRequest for what no request may be."""
    if not request.uris:
        raise invalid("a request without a URI")
    if max(len(request.uris), len(request.qualifiers)) > MAX_NAMES:
        raise invalid(
            f"one request has at most {MAX_NAMES} URIs, and as many qualifiers", way_out="send several"
        )
    if request.digest_function not in {reapi.DigestFunction.UNKNOWN, reapi.DigestFunction.SHA256}:
        raise invalid("digests are by SHA-256 only", way_out="leave `digest_function` unset")
    qualifiers = sorted((one.name, one.value) for one in request.qualifiers)
    if len({name for name, _ in qualifiers}) < len(qualifiers):
        raise invalid("a qualifier is named twice")
    return qualifiers


def names_of(request: PushRequest, half: Half) -> list[Name]:
    """All URIs as refs. Raises InvalidRequest when one cannot be one, or when they are too many."""
    qualifiers = checked_qualifiers(request)
    each_bytes = sum(len(name) + len(value) for name, value in qualifiers)
    if len(request.uris) * each_bytes > MAX_NAMES_BYTES:
        raise invalid(
            f"its URIs, each with the qualifiers, exceed {MAX_NAMES_BYTES} bytes", way_out="send several"
        )
    return [name_of(uri, qualifiers, half) for uri in request.uris]


def name_of(uri: str, qualifiers: list[tuple[str, str]], half: Half) -> Name:
    """The ref of one URI. Raises InvalidRequest."""
    if uri.startswith(half.urn) and not qualifiers:
        return Name(uri, Ref.parse(uri.removeprefix(half.urn), where="uri"), own=True)
    text = canonical([("uri", uri), *qualifiers])
    if not uri or not uri.isprintable() or len(text) > MAX_NAME_BYTES:
        raise invalid("it is no URI, or too long", where=f"uri {uri[:200]!r}")
    key = hashlib.sha256(text.encode()).hexdigest()
    return Name(uri, Ref(ASSETS, f"{half.element}-{key[:2]}", key), own=False)


def canonical(pairs: list[tuple[str, str]]) -> str:
    """One text for equal pairs, another for others."""
    return json.dumps(pairs, separators=(",", ":"))  # ASCII whatever is in it
