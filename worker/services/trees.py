"""Trees and messages without a ref: pull_tree, push_directory, push_message (AC-75 to AC-78, D-13).

No name is made, so nothing stays that nobody names: what ``PullTree`` brings is young, and therefore safe
from every cleanup, until its operation ends. From then on it is garbage that the next cleanup takes first,
unless a ref comes to name it. The closure list is what lets the cleanup find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.artifact import project_name
from caskeeper.contract import PullTreeResult, PushDirectoryResult, PushMessageResult
from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, InvalidRequest
from worker.closure import WHOLE, walk
from worker.directory import MAX_TREE_BYTES
from worker.services import transfer, tree_copy
from worker.services.gather import Gathered
from worker.services.meter import Meter
from worker.services.outcomes import (
    Subject,
    content_push_specs,
    content_specs,
    first_to_give,
    offer,
    require_one_reached,
)
from worker.store.damage import missing
from worker.tree import parse_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.config.settings import Settings
    from caskeeper.contract import PullTreeRequest, PushDirectoryRequest, PushMessageRequest
    from worker.closure import Closure
    from worker.directory import Directory
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool
    from worker.services.desk import OperationDesk
    from worker.services.operations import Operation
    from worker.services.outcomes import Offered
    from worker.services.presence import Presence
    from worker.services.watched import Watched


class PullTree:
    """The verb ``artifacts.pull_tree``: a writer that publishes no name."""

    def __init__(
        self, desk: OperationDesk, presence: Presence, *, settings: Settings, remotes: RemotePool
    ) -> None:
        self._desk = desk
        self._presence = presence
        self._settings = settings
        self._remotes = remotes

    def __call__(self, request: PullTreeRequest, context: Context) -> PullTreeResult:
        """The digest of the root Directory, from the first remote that has all of the Tree; None = nobody.

        Every remote is asked for the digest of the request (D-13). Raises ConfigInvalid without a remote,
        InvalidRequest for a blob that is no Tree or misses a directory of its own, and as a pull does when
        nobody had it and some remotes failed.
        """
        project = project_name(request.project)
        digest = Digest.parse(request.digest)
        if digest.size_bytes > MAX_TREE_BYTES:
            raise InvalidRequest("it is too large for a Tree message", f"tree {digest}")
        specs = content_specs(self._settings, project)
        with self._desk.writer("pull-tree", str(digest), context) as operation:
            running = context._replace(check=operation.check)

            def fetch(remote: Remote, watched: Watched) -> PullTreeResult:
                return self._fetch(operation, digest, remote.url, watched, running)

            subject = Subject("tree", str(digest))
            found = first_to_give(self._remotes, specs, fetch, subject=subject, context=running)
            operation.check()
        return found or PullTreeResult(digest=None)

    def _fetch(
        self, operation: Operation, digest: Digest, url: str, watched: Watched, context: Context
    ) -> PullTreeResult:
        """All files and then all directories of the Tree, which itself is not stored."""
        closure, held = self._read(digest, watched, context)
        meter = tree_copy.bring(operation, closure, held, watched, context)
        self._presence.closures.write(operation.staging, closure)
        blobs, size_bytes = meter.total
        return PullTreeResult(digest=str(closure.root), remote=url, blobs=blobs, bytes=size_bytes)

    def _read(self, digest: Digest, watched: Watched, context: Context) -> tuple[Closure, Gathered]:
        """What belongs to the Tree, and its Directory messages; what its root does not reach is left out.

        The bytes were hashed on their way: what is wrong with them is wrong at every remote.
        """
        blob = Gathered()
        wanted = transfer.find_missing(blob, [digest], context)
        transfer.copy(watched, blob, wanted, context=context, meter=Meter(context, "tree"))
        tree = parse_tree(blob.data[digest], digest)
        held = Gathered()
        held.data.update(tree.messages)

        def read(directory: Digest) -> Directory:
            if directory not in held.data:
                raise InvalidRequest(
                    f"it does not contain the directory {directory} that it names",
                    f"tree {digest}",
                    "its maker is damaged or lying: make it again",
                )
            return held.read(directory)

        return walk(tree.root, WHOLE, read), held


class PushDirectory:
    """The verb ``artifacts.push_directory``: a reader that relies on everything below a Directory."""

    def __init__(
        self, desk: OperationDesk, presence: Presence, *, settings: Settings, remotes: RemotePool
    ) -> None:
        self._desk = desk
        self._presence = presence
        self._settings = settings
        self._remotes = remotes

    def __call__(self, request: PushDirectoryRequest, context: Context) -> PushDirectoryResult:
        """One outcome for each push remote; none when the request has no digest (AC-76).

        Raises ConfigInvalid without a push remote, BlobMissing before anything is sent when a part is not
        here, InvalidRequest for what is no Directory, and as a push does when no remote was reached.
        """
        specs = content_push_specs(self._settings, project_name(request.project))
        if not request.digest:
            return PushDirectoryResult()
        root = Digest.parse(request.digest)
        subject = Subject("directory", str(root))
        with self._desk.reader("push-directory", str(root), context) as operation:
            running = context._replace(check=operation.check)
            closure = self._rely(operation, root, running)
            offers: list[Offered] = []
            self._remotes.meet(specs)
            for spec in specs:
                meter = Meter(running, "push")
                send = self._sender(operation, closure, meter, running)
                offers.append(offer(self._remotes, spec, send, meter=meter, subject=subject, context=running))
        return PushDirectoryResult(remotes=require_one_reached(subject, offers))

    def _rely(self, operation: Operation, root: Digest, context: Context) -> Closure:
        """Everything below ``root``, claimed and young: no ref may name it, so the claim alone is too little.

        A missing object is looked for in the trash before it is a miss (safety.md section 3).
        """
        if not operation.claim([root]):
            raise BlobMissing("it is being removed", f"directory {root}")
        closure = self._presence.closure(root, WHOLE)
        lost = transfer.find_missing(operation.blobs, closure.digests, context)
        self._presence.require(lost)
        still = transfer.find_missing(operation.blobs, lost, context)
        if still:
            raise missing(still[0], f"directory {root}")
        return closure

    def _sender(
        self, operation: Operation, closure: Closure, meter: Meter, context: Context
    ) -> Callable[[Remote, Watched], bool]:
        def send(_remote: Remote, watched: Watched) -> bool:
            sent = tree_copy.send(
                operation, closure, watched, presence=self._presence, meter=meter, context=context
            )
            return sent > 0

        return send


class PushMessage:
    """The verb ``artifacts.push_message``. Touches neither the volume nor any ref."""

    def __init__(self, *, settings: Settings, remotes: RemotePool) -> None:
        self._settings = settings
        self._remotes = remotes

    def __call__(self, request: PushMessageRequest, context: Context) -> PushMessageResult:
        """The digest of the message, which every push remote was sent unasked (AC-77).

        Raises ConfigInvalid without a push remote, InvalidRequest for what is no base64 or too large, and
        as a push does when no remote was reached.
        """
        specs = content_push_specs(self._settings, project_name(request.project))
        message = request.content
        digest = Digest.of(message)
        subject = Subject("blob", str(digest))
        offers: list[Offered] = []
        self._remotes.meet(specs)
        for spec in specs:
            meter = Meter(context, "push")
            send = _message_sender(digest, message, meter)
            offers.append(offer(self._remotes, spec, send, meter=meter, subject=subject, context=context))
        return PushMessageResult(digest=str(digest), remotes=require_one_reached(subject, offers))


def _message_sender(digest: Digest, message: bytes, meter: Meter) -> Callable[[Remote, Watched], bool]:
    def send(_remote: Remote, watched: Watched) -> bool:
        meter.expect([digest], [digest])
        watched.write_stream(digest, (message,))
        meter.add(1, len(message))
        meter.show()
        return True

    return send
