"""ActionCache over the fleet's refs: results of actions, and our own use of it as a ref index.

An action that stands for a ref (wire-protocols section 6) is that ref, however it was bound. Any other
result is a ref of its own, to a view that holds all it references. A hit is complete, and all of it was
made young; an update is refused while content is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound
from worker._protos import remote_execution_pb2 as reapi
from worker.closure import WHOLE, walk
from worker.directory import MAX_TREE_BYTES
from worker.protocols import ACTION_RESULT, DIRECTORY
from worker.server.action_names import ActionNames
from worker.server.answers import answering, checked_digest, invalid, refuse_when_read_only
from worker.server.published import ACTIONS, Content
from worker.store.blobs import StoreBlobs
from worker.tree import Tree, parse_tree
from worker.views import action_view, message_of
from worker.wire_digests import to_wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.server.budget import Take
    from worker.server.needs import Operation
    from worker.server.published import PublishedRefs

SERVICE = "build.bazel.remote.execution.v2.ActionCache"
#: So many outputs one result may have.
MAX_OUTPUTS = 100_000
#: So many roots are remembered with the digest of their Tree.
_TREES = 4096


class ActionCache:
    """The two calls. Made once for a server."""

    def __init__(self, refs: PublishedRefs, *, read_only: bool) -> None:
        self._refs = refs
        self._names = ActionNames(refs.layout, refs.objects)
        self._read_only = read_only
        #: Trees made before, by their root: made again when they are gone.
        self._trees: dict[Digest, Digest] = {}

    # -- Get -------------------------------------------------------------------------------------------

    def get(self, request: reapi.GetActionResultRequest, context: grpc.ServicerContext) -> reapi.ActionResult:
        """The complete result of an action, all of it made young. Raises ArtifactNotFound."""
        action = checked_digest(request.action_digest)
        ref, stored = self._names.known(action), None
        if ref is None:
            stored = self._stored(action, context)
            if stored is None or _is_ref(stored):
                ref = self._names.search(action)
        if ref is not None:
            try:
                return self._named(ref, context)
            except ArtifactNotFound:
                stored = stored or self._stored(action, context)
        if stored is None:
            raise ArtifactNotFound("no complete result of this action", f"action {action}")
        return stored

    def _stored(self, action: Digest, context: grpc.ServicerContext) -> reapi.ActionResult | None:
        """The result as it was sent."""
        try:
            record = self._refs.find(_ref_of(action), context, kinds={ACTION_RESULT})
        except ArtifactNotFound:
            return None
        objects = self._refs.objects
        message = message_of(objects.directory(record.root))
        return None if message is None else reapi.ActionResult.FromString(objects.read(message))

    def _named(self, ref: Ref, context: grpc.ServicerContext) -> reapi.ActionResult:
        """A ref's tree as the result of the action that stands for it."""
        root = self._refs.find(ref, context, kinds={DIRECTORY}).root
        tree = self._refs.rolling.run(lambda operation: self._tree(root, operation), stop=context.cancel)
        if len(self._trees) >= _TREES:
            self._trees.clear()
        self._trees[root] = tree
        output = reapi.OutputDirectory(tree_digest=to_wire(tree), root_directory_digest=to_wire(root))
        return reapi.ActionResult(output_directories=[output])

    def _tree(self, root: Digest, operation: Operation) -> Digest:
        """The Tree message of a whole tree, as a blob that stays for a grace."""
        objects = self._refs.objects
        blobs = StoreBlobs(operation.staging, objects)
        known = self._trees.get(root)
        if known is not None and blobs.refresh(known):
            return known
        below = walk(root, WHOLE, objects.directory).directories
        # The root is field 1 of the message, each child field 2.
        parts = [(b"\x0a", root), *((b"\x12", child) for child in below if child != root)]
        size_bytes = sum(len(_head(tag, digest)) + digest.size_bytes for tag, digest in parts)

        def chunks() -> Iterator[bytes]:
            for tag, digest in parts:
                yield _head(tag, digest) + objects.read(digest)

        return blobs.add_stream(size_bytes, chunks())

    # -- Update ----------------------------------------------------------------------------------------

    def update(
        self, request: reapi.UpdateActionResultRequest, context: grpc.ServicerContext
    ) -> reapi.ActionResult:
        """Bind a result whose content was uploaded before."""
        refuse_when_read_only(context, read_only=self._read_only)
        action, result = checked_digest(request.action_digest), request.action_result
        if len(result.output_files) + len(result.output_directories) > MAX_OUTPUTS:
            raise invalid(f"a result has at most {MAX_OUTPUTS} outputs", where=f"action {action}")
        ours = _is_ref(result)
        ref = self._names.search(action) if ours else self._names.known(action)
        if ref is not None and not ours:
            raise invalid(
                "this action stands for a ref: its result is one output directory without a path",
                where=f"ref {ref}",
                way_out="send its `tree_digest` and `root_directory_digest`, and nothing else",
            )
        refs: dict[Ref, dict[str, str]] = {ref or _ref_of(action): {}}
        self._refs.publish(
            "update-action-result",
            refs,
            lambda take: self._content(result, take) if ref is None else self._tree_content(result, take),
            context,
        )
        return result

    def _tree_content(self, result: reapi.ActionResult, take: Take) -> Content:
        output = result.output_directories[0]
        root = checked_digest(output.root_directory_digest)
        tree = self._read_tree(checked_digest(output.tree_digest), take)
        if tree.root != root:
            raise invalid(f"its Tree has another root, {tree.root}", where=f"directory {root}")
        return Content((root,), DIRECTORY, tree.messages)

    def _content(self, result: reapi.ActionResult, take: Take) -> Content:
        named = [
            checked_digest(output.tree_digest)
            for output in result.output_directories
            if output.HasField("tree_digest")
        ]
        weight = sum(digest.size_bytes for digest in dict.fromkeys(named))
        if weight > MAX_TREE_BYTES:
            raise invalid(f"its Trees have more than {MAX_TREE_BYTES} bytes", where="ActionResult")
        take(weight)
        trees = {digest: self._refs.objects.read(digest) for digest in named}
        data = result.SerializeToString(deterministic=True)
        digest = Digest.of(data)
        view = action_view(data, digest, trees)
        return Content((view.root,), ACTION_RESULT, {**view.messages, digest: data})

    def _read_tree(self, digest: Digest, take: Take) -> Tree:
        if digest.size_bytes > MAX_TREE_BYTES:
            raise invalid(f"it has more than {MAX_TREE_BYTES} bytes", where=f"tree {digest}")
        take(digest.size_bytes)
        return parse_tree(self._refs.objects.read(digest), digest)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, ready to be added to a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetActionResult": grpc.unary_unary_rpc_method_handler(
                    answering(self.get),
                    request_deserializer=reapi.GetActionResultRequest.FromString,
                    response_serializer=reapi.ActionResult.SerializeToString,
                ),
                "UpdateActionResult": grpc.unary_unary_rpc_method_handler(
                    answering(self.update),
                    request_deserializer=reapi.UpdateActionResultRequest.FromString,
                    response_serializer=reapi.ActionResult.SerializeToString,
                ),
            },
        )


def _is_ref(result: reapi.ActionResult) -> bool:
    """Whether the result has the shape that stands for a ref: one output directory, and nothing else."""
    outputs = result.output_directories
    if result.exit_code or len(outputs) != 1 or outputs[0].path:
        return False
    both = outputs[0].HasField("tree_digest") and outputs[0].HasField("root_directory_digest")
    return both and {field.name for field, _ in result.ListFields()} == {"output_directories"}


def _ref_of(action: Digest) -> Ref:
    return Ref(ACTIONS, action.hash[:2], f"{action.hash}-{action.size_bytes}")


def _head(tag: bytes, digest: Digest) -> bytes:
    """What stands before the bytes of a field: its tag, and their number as a varint."""
    rest, head = digest.size_bytes, bytearray(tag)
    while rest > 0x7F:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head)
