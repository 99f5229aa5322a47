"""Whether blobs travel compressed: when the remote speaks zstd and is not on this machine.

No setting: on loopback there is nothing to save, elsewhere one core compresses faster than a line of 1 Gbit/s
carries, and what does not shrink costs little (docs/decisions/0007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker import status

if TYPE_CHECKING:
    from caskeeper.digest import Digest
    from worker.remote.session import Session

#: For tests, whose remotes are all on this machine.
ON_LOOPBACK = False
#: A remote that answers so to a compressed name does not speak what it announced.
NOT_SPOKEN = frozenset({status.UNIMPLEMENTED, status.INVALID_ARGUMENT})


def _is_worth_it(session: Session) -> bool:
    return ON_LOOPBACK or not session.connection.address.loopback


def of_streams(session: Session) -> bool:
    """Whether a blob of its own is read and written as zstd."""
    return _is_worth_it(session) and session.capabilities().zstd


def of_updates(session: Session) -> bool:
    """Whether the entries of a batch are sent as zstd."""
    return _is_worth_it(session) and session.capabilities().zstd_updates


def resource(session: Session, digest: Digest, *, as_zstd: bool, upload: str = "") -> str:
    """The resource name of a read, or of the upload with that uuid (wire-protocols section 4)."""
    segments = [session.instance_name] if session.instance_name else []
    if upload:
        segments += ["uploads", upload]
    segments.append("compressed-blobs/zstd" if as_zstd else "blobs")
    return f"{'/'.join(segments)}/{digest}"
