"""A cache folder in the layout of BuildStream 1.x, made by hand."""

import hashlib
import os

from worker._protos import remote_execution_pb2 as pb

FILES = {
    "bin": {"hello": (b"#!/bin/sh\necho hello\n", True), "hallo": "hello"},
    "share": {"été": (b"x", False), "empty": {}, "日本語": {"large": (b"0123456789abcdef" * 100_000, False)}},
    "nothing": (b"", False),
    "dangling": "no/such/file",
}


def artifact(name):
    return {
        "files": {**FILES, "name": (name.encode(), False)},
        "meta": {"keys.yaml": (b"strong: " + name.encode(), False)},
        "logs": {"build.log": (b"", False)},
        "buildtree": {"src": {"main.c": (b"int main;" + name.encode(), False)}},
    }


class OldCache:
    """``artifacts/`` as BuildStream 1.x keeps it: modes by the way in, refs that are plain digests."""

    def __init__(self, root):
        self.root = root
        for folder in ("cas/objects", "cas/refs/heads", "tmp/tmpx1y2", "extract"):
            os.makedirs(f"{root}/{folder}")
        self._write("cache_size", b"4711", 0o644)
        self._write("tmp/tmpx1y2/left", b"over", 0o600)

    def path(self, hash_hex):
        return f"{self.root}/cas/objects/{hash_hex[:2]}/{hash_hex[2:]}"

    def add(self, content, mode=0o644):
        digest = pb.Digest(hash=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        self._write(f"cas/objects/{digest.hash[:2]}/{digest.hash[2:]}", content, mode)
        return digest

    def add_tree(self, tree, mode=0o644):
        """Executables become 0755 there, once they have been checked out (D-10)."""
        message = pb.Directory()
        for name in sorted(tree):
            entry = tree[name]
            if isinstance(entry, dict):
                message.directories.add(name=name).digest.CopyFrom(self.add_tree(entry, mode))
            elif isinstance(entry, str):
                message.symlinks.add(name=name, target=entry)
            else:
                content, executable = entry
                node = message.files.add(name=name, is_executable=executable)
                node.digest.CopyFrom(self.add(content, 0o755 if executable else mode))
        return self.add(message.SerializeToString(), mode)

    def name(self, ref, digest, age_s):
        self._write(f"cas/refs/heads/{ref}", digest.SerializeToString(), 0o600)
        os.utime(f"{self.root}/cas/refs/heads/{ref}", (2e9 - age_s, 1.5e9 - age_s))

    def extract(self, ref, digest, tree):
        """By hard links to the objects, as it does for every checkout."""
        self._link(tree, f"{self.root}/extract/{ref.rpartition('/')[0]}/{digest.hash}")

    def _link(self, tree, folder):
        os.makedirs(folder)
        for name, entry in tree.items():
            path = f"{folder}/{name}"
            if isinstance(entry, dict):
                self._link(entry, path)
            elif isinstance(entry, str):
                os.symlink(entry, path)
            else:
                os.link(self.path(hashlib.sha256(entry[0]).hexdigest()), path)

    def _write(self, name, content, mode):
        path = f"{self.root}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)


def as_listed(tree, above=""):
    """The same as ``listing`` gives of an extract."""
    found = {}
    for name, entry in tree.items():
        found[above + name] = None if isinstance(entry, dict) else entry
        if isinstance(entry, dict):
            found |= as_listed(entry, f"{above}{name}/")
    return found
