"""Artifacts of BuildStream 2 in memory: the message, and all that it references, in a dictionary of blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker._protos import artifact_pb2
from worker._protos import remote_execution_pb2 as reapi

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.digest import Digest


def folder(add: Callable[[bytes], Digest], files: dict[str, bytes], **folders: Digest) -> Digest:
    """A Directory of files and sub-folders, stored with ``add``."""
    message = reapi.Directory()
    for name, content in sorted(files.items()):
        message.files.add(name=name, digest=sent(add(content)))
    for name, digest in sorted(folders.items()):
        message.directories.add(name=name, digest=sent(digest))
    return add(message.SerializeToString())


def sent(digest: Digest) -> reapi.Digest:
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


class Artifact:
    """One artifact with output, logs, metadata, a build tree, sources and a sub-sandbox.

    ``parts`` are the directories by name, ``message`` is the blob that stands for all.
    """

    def __init__(self, add: Callable[[bytes], Digest], *, text: bytes = b"hello\n") -> None:
        lib = folder(add, {"libhello.so": b"\x7fELF" + text * 9})
        self.parts = {
            "files": folder(add, {"hello.txt": text}, lib=lib),
            "buildtree": folder(add, {"main.o": b"object " + text}, deep=folder(add, {"x.o": b"x" + text})),
            "sources": folder(add, {"main.c": b"source " + text}),
            "buildroot": folder(add, {"cc": b"compiler " + text}),
            "subsandbox": folder(add, {"sub": b"sandbox " + text}),
        }
        self.blobs = {
            "build.log": add(b"log of " + text),
            "public-data.yaml": add(b"public: " + text),
            "low-diversity.yaml": add(b"low: " + text),
            "high-diversity.yaml": add(b"high: " + text),
        }
        made = artifact_pb2.Artifact(version=2, build_success=True, strong_key="a" * 64, weak_key="b" * 64)
        for name in ("files", "buildtree", "sources", "buildroot"):
            getattr(made, name).CopyFrom(sent(self.parts[name]))
        made.buildsandbox.subsandbox_digests.append(sent(self.parts["subsandbox"]))
        made.public_data.CopyFrom(sent(self.blobs["public-data.yaml"]))
        made.low_diversity_meta.CopyFrom(sent(self.blobs["low-diversity.yaml"]))
        made.high_diversity_meta.CopyFrom(sent(self.blobs["high-diversity.yaml"]))
        made.logs.add(name="build.log", digest=sent(self.blobs["build.log"]))
        self.data = made.SerializeToString()
        self.message = add(self.data)
