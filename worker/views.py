"""Views: Directory messages composed here, under which lies everything that belongs to one named message.

An index may name what is no directory tree: the Artifact message of BuildStream 2, an ActionResult, a blob.
Each becomes a tree of which the message is one file, so that whatever keeps, walks, shows, links, removes and
measures trees does so for every kind (docs/decisions/0006). A view is a function of the message alone: two
hosts compose the same one. What is composed lies on no remote; what it names does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest
from worker._protos import artifact_pb2
from worker._protos import remote_execution_pb2 as reapi
from worker.directory import Directory, DirectoryEntry, FileEntry, is_name, serialise
from worker.tree import parse_tree
from worker.wire_fields import has_more_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: The file of a view that is the message itself, and the folder that stands for it where it is a Directory.
MESSAGE, DIRECTORY = "message", "directory"
#: Parts of a BuildStream 2 artifact that its remotes may lack: BuildStream pushes what it has of them.
OPTIONAL_PARTS = frozenset({"buildroot", "buildtree", "sources", "subsandboxes"})
#: The folders of an Artifact's view that are composed themselves.
_COMPOSED = frozenset({"meta", "logs", "subsandboxes"})
#: A larger message is read by nobody; nor is one with more dependencies and logs.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_FIELDS = 50_000


class View(NamedTuple):
    """``messages`` are the composed Directory messages by digest; ``root`` is one of them."""

    root: Digest
    messages: Mapping[Digest, bytes]


def artifact_view(data: bytes, digest: Digest) -> View:
    """The view of a ``buildstream.v2.Artifact``: ``files``, ``buildtree``, ``logs/NAME`` and the like.

    Raises InvalidRequest for what is no such message and for digests or names of logs that cannot be any.
    """
    where = f"Artifact {digest}"
    artifact = _parse_artifact(data, where)
    composed = _Composition(where)
    composed.file(MESSAGE, digest)
    for name in ("files", "buildtree", "sources", "buildroot"):
        if artifact.HasField(name):
            composed.folder(name, _checked(getattr(artifact, name), where))
    for number, sandbox in enumerate(artifact.buildsandbox.subsandbox_digests):
        composed.folder(f"subsandboxes/{number}", _checked(sandbox, where))
    for field, name in (
        ("public_data", "public-data.yaml"),
        ("low_diversity_meta", "low-diversity.yaml"),
        ("high_diversity_meta", "high-diversity.yaml"),
    ):
        if artifact.HasField(field):
            composed.file(f"meta/{name}", _checked(getattr(artifact, field), where))
    for log in artifact.logs:
        if not is_name(log.name):
            raise _invalid(f"{log.name[:300]!r} is not a name of a log", where)
        composed.file(f"logs/{log.name}", _checked(log.digest, where))
    return composed.view()


def _parse_artifact(data: bytes, where: str) -> artifact_pb2.Artifact:
    if has_more_fields(data, _MAX_FIELDS):
        raise _invalid("it is no Artifact message, or too large for one", where)
    try:
        artifact = artifact_pb2.Artifact.FromString(data)
    except DecodeError:
        raise _invalid("it is no Artifact message", where) from None
    if artifact.version < 1:
        raise _invalid("it is no Artifact message: it has no version", where)
    return artifact


def action_view(data: bytes, digest: Digest, trees: Mapping[Digest, bytes]) -> View:
    """The view of an ActionResult; ``trees`` are its Tree messages by digest.

    Their Directory messages are among those of the view: no client needs to have uploaded them.
    Raises InvalidRequest for what is no such message, KeyError for a Tree that is not given.
    """
    where = f"ActionResult {digest}"
    try:
        result = reapi.ActionResult.FromString(data)
    except DecodeError:
        raise _invalid("it is no ActionResult message", where) from None
    composed = _Composition(where)
    composed.file(MESSAGE, digest)
    for blob in blobs_of(result, where=where):
        composed.file(f"blobs/{blob.hash}", blob)
    for output in result.output_directories:
        if output.HasField("tree_digest"):
            found = _checked(output.tree_digest, where)
            tree = parse_tree(trees[found], found)
            composed.messages.update({held: sent for held, sent in tree.messages.items() if sent})
            composed.folder(f"directories/{tree.root.hash}", tree.root)
        if output.HasField("root_directory_digest"):
            root = _checked(output.root_directory_digest, where)
            composed.folder(f"directories/{root.hash}", root)
    return composed.view()


def blobs_of(result: reapi.ActionResult, *, where: str) -> list[Digest]:
    """The blobs that a result names, Trees among them; not what is in the Trees. InvalidRequest as above."""
    named = [file.digest for file in result.output_files]
    named += [output.tree_digest for output in result.output_directories if output.HasField("tree_digest")]
    for field in ("stdout_digest", "stderr_digest"):
        if result.HasField(field):
            named.append(getattr(result, field))
    return list(dict.fromkeys(_checked(digest, where) for digest in named))


def asset_view(
    *,
    blob: Digest | None = None,
    directory: Digest | None = None,
    blobs: Iterable[Digest] = (),
    directories: Iterable[Digest] = (),
) -> View:
    """The view of what a URI names, a blob or a directory, and of what was pushed as belonging to it."""
    composed = _Composition("asset")
    if blob is not None:
        composed.file(MESSAGE, blob)
    if directory is not None:
        composed.folder(DIRECTORY, directory)
    for digest in blobs:
        composed.file(f"blobs/{digest.hash}", digest)
    for digest in directories:
        composed.folder(f"directories/{digest.hash}", digest)
    return composed.view()


def message_of(root: Directory) -> Digest | None:
    """The blob that a view stands for, by its root; None where it stands for a directory, or is no view."""
    return next((entry.digest for entry in root.files if entry.name == MESSAGE), None)


def directory_of(root: Directory) -> Digest | None:
    """The directory that an asset's view stands for, by its root."""
    entry = root.directory(DIRECTORY)
    return None if entry is None else entry.digest


def references_of(
    root: Digest, read: Callable[[Digest], Directory]
) -> tuple[tuple[Digest, ...], tuple[Digest, ...]]:
    """The blobs and the directories that an Artifact references, by its view: what nobody composed."""
    blobs: dict[Digest, None] = {}
    directories: dict[Digest, None] = {}
    for name, folder in read(root).directories:
        if name in _COMPOSED:
            inner = read(folder)
            blobs.update((entry.digest, None) for entry in inner.files)
            directories.update((entry.digest, None) for entry in inner.directories)
        else:
            directories[folder] = None
    return tuple(blobs), tuple(directories)


class _Composition:
    """Entries by path, at most one folder deep; then their messages."""

    def __init__(self, where: str) -> None:
        self.messages: dict[Digest, bytes] = {}
        self._where = where
        self._files: dict[str, dict[str, Digest]] = {"": {}}
        self._folders: dict[str, dict[str, Digest]] = {"": {}}

    def file(self, path: str, digest: Digest) -> None:
        self._add(self._files, path, digest)

    def folder(self, path: str, digest: Digest) -> None:
        self._add(self._folders, path, digest)

    def _add(self, entries: dict[str, dict[str, Digest]], path: str, digest: Digest) -> None:
        above, _, name = path.rpartition("/")
        if entries.setdefault(above, {}).setdefault(name, digest) != digest:
            raise _invalid(f"{path!r} is named twice", self._where)

    def view(self) -> View:
        for above in sorted((self._files.keys() | self._folders.keys()) - {""}):
            self.folder(above, self._compose(above))
        return View(self._compose(""), self.messages)

    def _compose(self, above: str) -> Digest:
        data = serialise(
            Directory(
                files=tuple(FileEntry(name, held) for name, held in self._files.get(above, {}).items()),
                directories=tuple(
                    DirectoryEntry(name, held) for name, held in self._folders.get(above, {}).items()
                ),
            )
        )
        digest = Digest.of(data)
        self.messages[digest] = data
        return digest


def _checked(digest: reapi.Digest, where: str) -> Digest:
    return Digest.checked(digest.hash, digest.size_bytes, where=where)


def _invalid(what: str, where: str) -> InvalidRequest:
    return InvalidRequest(what, where, "the sender is damaged or lying: do not use it")
