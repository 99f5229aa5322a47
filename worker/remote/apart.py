"""The ref index of a server whose content other servers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.errors import ConfigInvalid, RemoteUnavailable
from worker.remote.address import place_of
from worker.remote.failure import CallFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.config.remotes import RemoteSpec
    from worker.protocols import Published, RefIndex


class IndexApart:
    """``index``, of ``spec``: what it lacks when a name is bound did not vanish there, it goes elsewhere."""

    def __init__(self, index: RefIndex, spec: RemoteSpec, *, url: str) -> None:
        self._index = index
        self._spec = spec
        self._url = url

    @property
    def kinds(self) -> frozenset[int]:
        return self._index.kinds

    def resolve(self, ref: Ref) -> Published | None:
        return self._index.resolve(ref)

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        """Raises ConfigInvalid where the server names only content that it holds itself."""
        try:
            self._index.publish(refs, published, tree=tree)
        except RemoteUnavailable as error:
            # The attempt that failed; what came of it has the same class for every trouble of a remote's.
            attempt = error.__context__
            if not (isinstance(attempt, CallFailed) and attempt.lacks_content):
                raise
            raise ConfigInvalid(
                f"this index names only content that it holds, and that goes to other servers: {error.what}",
                f"{refs[0]}, {place_of(self._spec, url=self._url)}",
                "give it `type: all`, or name it as a server of `type: storage` too",
            ) from None
