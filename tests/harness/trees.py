"""Trees for tests: the one whose digests the specification gives, trees in memory, and how to compare."""

import os
import stat

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing
from worker.directory import Directory, DirectoryEntry, FileEntry, SymlinkEntry, parse, serialise

#: local-cas section 4, test vectors
VECTORS = {
    "": Digest("121cfbba8481b1c6565c475ebb3eec894712d041acaa3187b5d5779b0ecbb95a", 317),
    "files": Digest("e394f4f1e5d2f8a5d3e9c3d55ed7c3e2966679d235be7a2648895d173067298c", 329),
    "files/bin": Digest("0aa5218efbf3de0cbe95071055797b5fd4c262b0dcbd91b0379463fae3aa9ab7", 81),
    "logs": Digest("95d5a29c84f3b7a63b0164413feab27162ae885d0ebc4de4932d987eb8e837b6", 81),
    "meta": Digest("03e2d65d2652ef53566393ac18813309c9fbe7e299f19c409bcf4132615f3e23", 83),
    "files/bin/hello": Digest("bfdeaeb08cffb6a36438bcd12dda25417e3cdd36f1e7e482a2849d539225288b", 21),
    "files/été": Digest("2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", 1),
}
ROOT = VECTORS[""]


def write_spec_tree(folder):
    """The tree of the test vectors, as files below ``folder``."""
    folder = os.fspath(folder)
    for name in ("files/bin", "meta", "logs", "buildtree"):
        os.makedirs(f"{folder}/{name}")
    contents = {
        "files/README": b"readme\n",
        "files/Z": b"z",
        "files/été": b"x",
        "files/bin/hello": b"#!/bin/sh\necho hello\n",
        "meta/keys.yaml": b"strong: aaaa\nweak: bbbb\n",
        "logs/build.log": b"",
    }
    for name, data in contents.items():
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)
    os.chmod(f"{folder}/files/bin/hello", 0o755)
    os.symlink("bin/hello", f"{folder}/files/run")
    return folder


class MemoryTree:
    """Directory messages and file content in memory, by hash."""

    def __init__(self):
        self.data = {}
        self.reads = []

    def file(self, content):
        digest = Digest.of(content)
        self.data[digest.hash] = content
        return digest

    def folder(self, **entries):
        """bytes = a file, str = a symbolic link, a digest = a sub-folder; ``_x_NAME`` = an executable."""
        files, directories, links = [], [], []
        for name, value in entries.items():
            if isinstance(value, bytes):
                plain = name.removeprefix("_x_")
                files.append(FileEntry(plain, self.file(value), plain != name))
            elif isinstance(value, str):
                links.append(SymlinkEntry(name, value))
            else:
                directories.append(DirectoryEntry(name, value))
        return self.file(serialise(Directory(tuple(files), tuple(directories), tuple(links))))

    def read(self, digest):
        self.reads.append(digest)
        if digest.hash not in self.data:
            raise BlobMissing(str(digest))
        return parse(self.data[digest.hash], digest)


def listing(folder):
    """What a tree looks like: path -> content, link target or None, with the owner-execute bit of files."""
    found = {}
    folder = os.fspath(folder)
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = f"{above}/{name}"
            short = os.path.relpath(path, folder)
            there = os.lstat(path)
            if stat.S_ISLNK(there.st_mode):
                found[short] = os.readlink(path)
            elif stat.S_ISDIR(there.st_mode):
                found[short] = None
            else:
                with open(path, "rb") as file:
                    found[short] = (file.read(), bool(there.st_mode & 0o100))
    return found
