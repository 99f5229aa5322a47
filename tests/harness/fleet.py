"""Services over a real volume and a real Valkey, and an oracle that shares no code with the store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from contextlib import contextmanager
from dataclasses import replace

from google.protobuf.internal.decoder import _DecodeVarint

from caskeeper.config import Settings
from caskeeper.config.quota import QuotaExpression
from caskeeper.config.settings import CacheSettings, LeaseSettings
from worker.wiring import build

QUICK = LeaseSettings(operation_s=2.0, session_s=2.0, clock_margin_s=0.0)


def settings_for(folder, *, quota="infinity", leases=QUICK, low_watermark=0.5, artifacts=()):
    return Settings(
        cachedir=f"{folder}/cache",
        roots=(str(folder),),
        cache=CacheSettings(
            quota=QuotaExpression.parse(quota),
            headroom_bytes=0,
            reserved_disk_space=QuotaExpression.parse("0"),
            low_watermark=low_watermark,
            modern=True,
        ),
        leases=leases,
        artifacts=artifacts,
        source="test.yaml",
    )


@contextmanager
def fleet(folder, url, count=1, **options):
    """``count`` sets of services on one volume, as many processes would have them."""
    settings = settings_for(folder, **options)
    opened = []
    try:
        opened.extend(build(settings, redis_url=url) for _ in range(count))
        yield opened[0] if count == 1 else opened
    finally:
        for services in opened:
            services.close()


def write_tree(folder, files):
    """A tree of ``{path: bytes}``; ``x:`` before a path makes it executable, ``l:`` a link."""
    for name, content in files.items():
        kind, _, path = name.rpartition(":")
        path = f"{folder}/{path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "l":
            os.symlink(content.decode(), path)
            continue
        with open(path, "wb") as file:
            file.write(content)
        if kind == "x":
            os.chmod(path, 0o755)
    return str(folder)


# -- the oracle: reads the volume by its documented layout, shares nothing with the store ------------------


def _fields(data):
    """Wire format: {field number: [values]}, varints as int, the rest as bytes."""
    found, at = {}, 0
    while at < len(data):
        key, at = _DecodeVarint(data, at)
        if key & 7 == 0:
            value, at = _DecodeVarint(data, at)
        elif key & 7 == 1:
            value, at = data[at : at + 8], at + 8
        else:
            length, at = _DecodeVarint(data, at)
            value, at = data[at : at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def _digest(data):
    fields = _fields(data)
    return fields[1][0].decode(), fields.get(2, [0])[0]


def _unaged(path, flags):
    """Looking makes nothing younger."""
    return os.open(path, flags | os.O_NOATIME)


EMPTY_HASH = hashlib.sha256(b"").hexdigest()


class Oracle:
    """What is wrong with a volume; an empty list is a sound one."""

    def __init__(self, root):
        self.root = root
        self.objects = f"{root}/cas/objects"

    def _read(self, hash_hex, size):
        if hash_hex == EMPTY_HASH:
            return b""
        with open(f"{self.objects}/{hash_hex[:2]}/{hash_hex[2:]}", "rb", opener=_unaged) as file:
            data = file.read()
        assert len(data) == size, f"{hash_hex} has {len(data)} bytes, not {size}"
        return data

    def refs(self):
        top = f"{self.root}/cas/refs/heads"
        for folder, _folders, files in os.walk(top):
            for name in files:
                yield os.path.relpath(f"{folder}/{name}", top)

    def troubles(self):
        return [*self._bad_objects(), *self._dangling()]

    def _bad_objects(self):
        for path in self._files(self.objects):
            with open(path, "rb", opener=_unaged) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != "".join(path.split("/")[-2:]):
                    yield f"wrong bytes: {path}"
            if stat.S_IMODE(os.stat(path).st_mode) != 0o444:
                yield f"wrong mode: {path}"

    def _dangling(self):
        for ref in self.refs():
            with open(f"{self.root}/cas/refs/heads/{ref}", "rb", opener=_unaged) as file:
                record = _fields(file.read())
            scope = _fields(record[18][0]) if 18 in record else {}
            excluded = {name.decode() for name in scope.get(1, [])}
            try:
                self._walk(record[1][0].decode(), record.get(2, [0])[0], excluded, top=True)
            except (FileNotFoundError, AssertionError) as trouble:
                yield f"{ref}: {trouble}"

    def _walk(self, hash_hex, size, excluded, *, top=False):
        fields = _fields(self._read(hash_hex, size))
        for node in fields.get(1, []):
            self._read(*_digest(_fields(node)[2][0]))
        for node in fields.get(2, []):
            entry = _fields(node)
            if not (top and entry[1][0].decode() in excluded):
                self._walk(*_digest(entry[2][0]), excluded)

    def names(self):
        """The objects, executables and refs that are there."""
        return (os.path.relpath(path, self.root) for path in self._files(f"{self.root}/cas"))

    def used_bytes(self):
        """Every regular file once, in blocks, as interface section 4 says. What goes meanwhile is gone."""
        block = os.statvfs(self.root).f_frsize
        sizes = {}
        for part in ("cas", "tmp", "trash", "extract"):
            for path in self._files(f"{self.root}/{part}"):
                try:
                    found = os.lstat(path)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    sizes[found.st_ino] = -(-found.st_size // block) * block
        return sum(sizes.values())

    def _files(self, folder):
        """Everything below that is no folder. Quicker than os.walk, which looks twice."""
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.path
                continue
            with contextlib.suppress(FileNotFoundError):
                yield from self._files(entry.path)

    def leavings(self):
        """What should be gone when nothing runs: staging and trash.

        A server's promises stay for a grace, and its journals until a cleanup has read them.
        """
        return [
            os.path.join(part, name)
            for part in ("tmp", "trash")
            for name in os.listdir(f"{self.root}/{part}")
            if not name.startswith(("served-", "uploads-"))
        ]


def quick(**changes):
    return replace(QUICK, **changes)
