"""Names of artifacts on a server of BuildStream 2's kind (wire-protocols section 6), as a RefIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from caskeeper.errors import BlobMissing, CaskeeperError, ConfigInvalid, InvalidRequest, Transient
from worker import status
from worker._protos import remote_asset_pb2 as assets
from worker._protos import remote_execution_pb2 as reapi
from worker.names import ARTIFACT_URN, DIRECTORY_URN
from worker.protocols import ARTIFACT, DIRECTORY, Published
from worker.remote.answers import answered_digest
from worker.remote.failure import CallFailed
from worker.remote.methods import FETCH_BLOB, FETCH_DIRECTORY, PUSH_BLOB, PUSH_DIRECTORY
from worker.wire_digests import all_to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.remote.methods import Method
    from worker.remote.session import Session

Asked = TypeVar("Asked", assets.FetchBlobRequest, assets.FetchDirectoryRequest)
Answered = TypeVar("Answered", assets.FetchBlobResponse, assets.FetchDirectoryResponse)


class RemoteAssetIndex:
    """Plain trees as directories under the URN of BuildStream 1.6, Artifact messages as blobs."""

    kinds = frozenset({DIRECTORY, ARTIFACT})

    def __init__(self, session: Session) -> None:
        self._session = session

    def resolve(self, ref: Ref) -> Published | None:
        """What is there under either URN, a plain tree first; None when the remote has neither.

        A server may try to fetch a URN it does not know and fail: that is an error, unless the other one
        is there (I10).
        """
        failures: list[CaskeeperError] = []
        for look in (self._directory, self._artifact):
            try:
                published = look(ref)
            except Transient:
                raise
            except CaskeeperError as failure:
                failures.append(failure)
                continue
            if published is not None:
                return published
        # One of the two calls may be all that a server knows of Fetch; that it knows Fetch was asked before.
        telling = [failure for failure in failures if not isinstance(failure, ConfigInvalid)]
        if telling or len(failures) == 2:
            raise (telling or failures)[0]
        return None

    def _directory(self, ref: Ref) -> Published | None:
        request = assets.FetchDirectoryRequest(
            instance_name=self._session.instance_name, uris=[f"{DIRECTORY_URN}{ref}"]
        )
        root = self._fetch(FETCH_DIRECTORY, request, lambda answer: answer.root_directory_digest, ref)
        return None if root is None else Published((root,), DIRECTORY)

    def _artifact(self, ref: Ref) -> Published | None:
        request = assets.FetchBlobRequest(
            instance_name=self._session.instance_name, uris=[f"{ARTIFACT_URN}{ref}"]
        )
        message = self._fetch(FETCH_BLOB, request, lambda answer: answer.blob_digest, ref)
        return None if message is None else Published((message,), ARTIFACT)

    def _fetch(
        self,
        method: Method[Asked, Answered],
        request: Asked,
        digest_of: Callable[[Answered], reapi.Digest],
        ref: Ref,
    ) -> Digest | None:
        """A miss comes as the status of the call or as that in its answer."""

        def read(answer: Answered) -> Digest | None:
            if answer.status.code == status.NOT_FOUND:
                return None
            if answer.status.code != status.OK:
                raise CallFailed(answer.status.code, answer.status.message, entry=True)
            return answered_digest(digest_of(answer), ref, url=self._session.url)

        try:
            return self._session.unary(method, request, read=read, where=str(ref))
        except BlobMissing:
            return None

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        """All names in one call, with what belongs to them, so that the server keeps it. No ``tree``."""
        if not refs:
            return
        if published.kind not in self.kinds or len(published.roots) != 1:
            raise InvalidRequest("only an artifact can be named on this remote", self._session.url)
        root = all_to_wire([published.root])[0]
        name, where = self._session.instance_name, str(refs[0])
        blobs, directories = all_to_wire(published.blobs), all_to_wire(published.directories)
        if published.kind == DIRECTORY:
            self._session.unary(
                PUSH_DIRECTORY,
                assets.PushDirectoryRequest(
                    instance_name=name,
                    uris=[f"{DIRECTORY_URN}{ref}" for ref in refs],
                    root_directory_digest=root,
                    references_blobs=blobs,
                    references_directories=directories,
                ),
                read=lambda _answer: None,
                where=where,
            )
            return
        self._session.unary(
            PUSH_BLOB,
            assets.PushBlobRequest(
                instance_name=name,
                uris=[f"{ARTIFACT_URN}{ref}" for ref in refs],
                blob_digest=root,
                references_blobs=blobs,
                references_directories=directories,
            ),
            read=lambda _answer: None,
            where=where,
        )
