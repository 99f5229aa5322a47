"""The ref index of a remote, whichever it turned out to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.errors import ConfigInvalid
from worker.remote.action_cache import ActionCacheIndex
from worker.remote.address import place_of
from worker.remote.reference_storage import ReferenceStorageIndex
from worker.remote.remote_asset import RemoteAssetIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.config.remotes import RemoteSpec
    from worker.protocols import BlobAccess, Published, RefIndex
    from worker.remote.session import Session


class NegotiatedIndex:
    """A RefIndex that is found out at the first use. Raises ConfigInvalid where there is none."""

    def __init__(self, spec: RemoteSpec, session: Session, blobs: BlobAccess) -> None:
        self._spec = spec
        self._session = session
        self._indexes: dict[str, RefIndex] = {
            "remote-asset": RemoteAssetIndex(session),
            "reference-storage": ReferenceStorageIndex(session),
            "action-cache": ActionCacheIndex(session, blobs),
        }

    @property
    def kinds(self) -> frozenset[int]:
        return self._index().kinds

    def resolve(self, ref: Ref) -> Published | None:
        return self._index().resolve(ref)

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        self._index().publish(refs, published, tree=tree)

    def name(self) -> str:
        """How it is asked for names, as `index:` calls it."""
        capabilities = self._session.capabilities()
        if capabilities.index_refusal:
            raise ConfigInvalid(
                f"the remote cannot name artifacts: {capabilities.index_refusal}",
                place_of(self._spec, url=self._session.url),
                "check that the url names an artifact server of this kind",
            )
        return capabilities.protocol

    def _index(self) -> RefIndex:
        return self._indexes[self.name()]
