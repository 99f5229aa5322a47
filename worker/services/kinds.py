"""From what an index names to a tree of ours, and back: the only place where a verb minds the kind of a ref.

Everything between is the same for each kind (docs/decisions/0006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, InvalidRequest
from worker._protos import remote_execution_pb2 as reapi
from worker.closure import WHOLE, Closure, Scope, part_of, walk
from worker.directory import parse
from worker.protocols import ARTIFACT, DIRECTORY, Published
from worker.services import transfer
from worker.services.gather import Gathered, gather
from worker.services.meter import Meter
from worker.views import MAX_MESSAGE_BYTES, OPTIONAL_PARTS, artifact_view, message_of, references_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.protocols import BlobAccess, Context
    from worker.services.presence import Presence
    from worker.services.watched import Watched
    from worker.store.objects import Objects
    from worker.store.refs import RefRecord


class Incoming(NamedTuple):
    """A tree that a remote names. ``remote`` knows the messages composed for it.

    ``optional``: the parts of it that the remote may lack, by name.
    """

    root: Digest
    kind: int
    remote: Watched
    optional: Mapping[str, Digest] = {}


def incoming(published: Published, remote: Watched, context: Context) -> Incoming:
    """The tree of what an index named. For an Artifact its message is read from ``remote``.

    Raises BlobMissing when that is gone there, InvalidRequest for a message that is none and for other
    kinds; these count as failures of ``remote``.
    """
    root = published.root
    if published.kind == DIRECTORY:
        return Incoming(root, DIRECTORY, remote)
    with remote.watching():
        if published.kind != ARTIFACT:
            raise InvalidRequest("it names there what this version cannot pull", str(root))
        if root.size_bytes > MAX_MESSAGE_BYTES:
            raise InvalidRequest("it is too large for an Artifact message", str(root))
    message = Gathered()
    lacking = transfer.find_missing(message, [root], context)
    transfer.copy(remote, message, lacking, context=context, meter=Meter(context, "artifact"))
    with remote.watching():
        view = artifact_view(message.data[root], root)
    top = parse(view.messages[view.root], view.root)
    optional = {name: part for name, part in top.directories if name in OPTIONAL_PARTS}
    knowing = remote.knowing({**view.messages, root: message.data[root]})
    return Incoming(view.root, ARTIFACT, knowing, optional)


def offered(
    tree: Incoming,
    scope: Scope,
    *,
    required: str | None,
    held: Gathered,
    store: BlobAccess,
    context: Context,
) -> Scope:
    """``scope`` without the optional parts of an Artifact that neither the store nor its remote has.

    BuildStream pushes what it has of them: such a gap is as if the request had left the part out. Only a
    part that was asked for by its name, as the first of the path ``required``, stays.
    """
    wanted, asked = part_of(scope), (required or "").partition("/")[0]
    lost = [
        name
        for name, part in tree.optional.items()
        if name != asked
        and (inner := wanted.below(name)) is not None
        and inner.whole
        and not _has(part, tree.remote, held=held, store=store, context=context)
    ]
    return Scope.of({*scope.excluded, *lost}, scope.included)


def _has(part: Digest, remote: Watched, *, held: Gathered, store: BlobAccess, context: Context) -> bool:
    if part == EMPTY:
        return True
    try:
        gather(part, WHOLE, store=store, remote=remote, context=context, held=held)
    except BlobMissing as gap:
        if not remote.caused(gap):
            raise
        return False
    with remote.watching():
        digests = walk(part, WHOLE, held.read).digests
    lacking = transfer.find_missing(store, digests, context)
    return not transfer.find_missing(remote, lacking, context)


class Outgoing(NamedTuple):
    """What a push sends of a ref, and what it names at an index."""

    closure: Closure
    published: Published


def outgoing(record: RefRecord, presence: Presence) -> Outgoing:
    """A whole ref as it travels. What was composed here stays here: no remote would know what it is.

    Raises BlobMissing when a Directory is gone, InvalidRequest for a kind that only servers make.
    """
    if record.kind == DIRECTORY:
        # The first root alone: a further one is a view of what our own server was told belongs to it.
        return Outgoing(presence.closure(record.root, WHOLE), Published((record.root,)))
    read = presence.objects.directory
    message = message_of(read(record.root))
    if record.kind != ARTIFACT or message is None:
        raise InvalidRequest(
            "it is no artifact: it was given to this cache's server",
            f"ref {record.name}",
            "push artifacts only",
        )
    blobs, directories = references_of(record.root, read)
    # Part by part, not the view less what was composed: a part may contain the same message by chance.
    parts = [walk(part, WHOLE, read) for part in directories]
    closure = Closure(
        record.root,
        WHOLE,
        tuple(dict.fromkeys(digest for part in parts for digest in part.directories)),
        tuple(dict.fromkeys([message, *blobs, *(digest for part in parts for digest in part.files)])),
    )
    return Outgoing(closure, Published((message,), ARTIFACT, blobs, directories))


def tree_message(closure: Closure, objects: Objects) -> bytes:
    """The serialised ``Tree`` of a whole directory tree. Raises BlobMissing."""
    children = (objects.read(digest) for digest in closure.directories if digest != closure.root)
    return reapi.EncodedTree(root=objects.read(closure.root), children=children).SerializeToString()
