"""What an index answered, believed when it can be true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest, RemoteUnavailable

if TYPE_CHECKING:
    from caskeeper.artifact import Ref
    from worker._protos import remote_execution_pb2 as reapi


def answered_digest(sent: reapi.Digest, ref: Ref, *, url: str) -> Digest:
    """The digest that a remote answered for ``ref``. RemoteUnavailable for what is none."""
    try:
        return Digest.checked(sent.hash, sent.size_bytes)
    except InvalidRequest as malformed:
        what = f"it answered for {ref} what is no digest: {malformed.what}"
        raise RemoteUnavailable(what, url) from None
