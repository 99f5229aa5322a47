"""Names of artifacts in an ActionCache, for servers that know nothing else (wire-protocols section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, InvalidRequest
from worker._protos import remote_execution_pb2 as reapi
from worker.names import action_key
from worker.protocols import DIRECTORY, Published
from worker.remote.answers import answered_digest
from worker.remote.methods import GET_ACTION_RESULT, UPDATE_ACTION_RESULT
from worker.wire_digests import to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.artifact import Ref
    from worker.protocols import BlobAccess
    from worker.remote.session import Session


class ActionCacheIndex:
    """A ref is an action that nobody ever runs; its result has one output directory, the artifact."""

    kinds = frozenset({DIRECTORY})

    def __init__(self, session: Session, blobs: BlobAccess) -> None:
        self._session = session
        self._blobs = blobs

    def resolve(self, ref: Ref) -> Published | None:
        """None when the remote has no such result, or one that is not of our shape."""
        request = reapi.GetActionResultRequest(
            instance_name=self._session.instance_name, action_digest=to_wire(Digest.of(action_key(ref)))
        )

        def read(answer: reapi.ActionResult) -> Published | None:
            if not _is_ours(answer):
                return None
            output = answer.output_directories[0]
            root = answered_digest(output.root_directory_digest, ref, url=self._session.url)
            return Published((root,), DIRECTORY)

        try:
            return self._session.unary(GET_ACTION_RESULT, request, read=read, where=str(ref))
        except BlobMissing:
            return None

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        """First the Tree and the bytes of each key, which servers look for; then a result for each name."""
        if published.kind != DIRECTORY or len(published.roots) != 1:
            raise InvalidRequest(
                "only a directory tree can be named in an ActionCache",
                self._session.url,
                "push it to a remote with a Remote Asset index",
            )
        if not refs:
            return
        message = tree()
        digest, keys = Digest.of(message), {Digest.of(key): key for key in map(action_key, refs)}
        missing = self._blobs.find_missing([digest, *keys])
        self._blobs.write_batch([(key, keys[key]) for key in keys if key in missing])
        if digest in missing:
            self._blobs.write_stream(digest, (message,))
        result = reapi.ActionResult(
            output_directories=[
                reapi.OutputDirectory(
                    path="", tree_digest=to_wire(digest), root_directory_digest=to_wire(published.root)
                )
            ]
        )
        for ref, key in zip(refs, keys, strict=True):
            request = reapi.UpdateActionResultRequest(
                instance_name=self._session.instance_name, action_digest=to_wire(key), action_result=result
            )
            self._session.unary(UPDATE_ACTION_RESULT, request, read=lambda _answer: None, where=str(ref))


def _is_ours(result: reapi.ActionResult) -> bool:
    """One output directory without a path, named by Tree and root; no `output_files` or `output_symlinks`."""
    outputs = result.output_directories
    return (
        result.exit_code == 0
        and len(outputs) == 1
        and not (outputs[0].path or result.output_files or result.output_symlinks)
        and outputs[0].HasField("tree_digest")
        and outputs[0].HasField("root_directory_digest")
    )
