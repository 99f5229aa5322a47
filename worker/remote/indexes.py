"""The ref index of a remote, whichever it turned out to have."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

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

Answered = TypeVar("Answered")


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
        return self._asking(lambda index: index.resolve(ref))

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        self._asking(lambda index: index.publish(refs, published, tree=tree))

    def _asking(self, call: Callable[[RefIndex], Answered]) -> Answered:
        """``call`` of the index that was found out; of another one when the server has another by now.

        A server may come back as another version while this process runs for weeks.
        """
        name = self.name()
        try:
            return call(self._indexes[name])
        except ConfigInvalid:
            self._session.forget()
            now = self.name()
            if now == name:
                raise
            return call(self._indexes[now])

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
