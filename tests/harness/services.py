"""All services over a real volume in a temporary folder, with Redis and remotes in memory."""

from __future__ import annotations

import os

from harness.coordination import fake_coordination
from harness.memory_blobs import MemoryRemote
from harness.trees import write_spec_tree
from harness.volumes import new_volume

from caskeeper.config import QuotaExpression, Settings
from caskeeper.config.remotes import RemoteSpec
from caskeeper.config.settings import CacheSettings
from caskeeper.errors import RemoteUnavailable
from worker.remote.turns import Turn, Turns
from worker.store.coordinator import Coordinator
from worker.wiring import wire

SMALL_CACHE = CacheSettings(
    quota=QuotaExpression("infinity"),
    headroom_bytes=0,
    reserved_disk_space=QuotaExpression("0"),
    modern=True,
)


class MemoryPool:
    """A RemotePool over MemoryRemotes by url; a url that is not in it does not answer."""

    def __init__(self) -> None:
        self.remotes: dict[str, MemoryRemote] = {}
        self.asked: list[str] = []

    def get(self, spec: RemoteSpec) -> MemoryRemote:
        self.asked.append(spec.url)
        if spec.url not in self.remotes:
            raise RemoteUnavailable("connection refused", spec.url)
        return self.remotes[spec.url]

    def meet(self, specs) -> None:
        pass

    def turn(self, spec, context) -> Turn:
        return Turns().at(spec.url, context)

    def close(self) -> None:
        pass


def fake_services(
    tmp_path, *, urls=(), cache=SMALL_CACHE, volume=None, coordination=None, specs=(), pool=None
):
    """Services whose remotes are ``urls``, all of them with push; ``.remotes.remotes[url]`` is each one.

    Or those of ``specs``, over a ``pool`` of real ones.
    """
    volume = volume or new_volume(tmp_path)
    pool = pool or MemoryPool()
    for url in urls:
        pool.remotes[url] = MemoryRemote(url)
    settings = Settings(
        cachedir=volume.layout.root,
        roots=(volume.layout.root, str(tmp_path)),
        cache=cache,
        artifacts=(*specs, *(RemoteSpec(url, push=True) for url in urls)),
        source="test.yaml",
    )
    coordination = coordination or fake_coordination()
    if os.path.isdir(volume.layout.root) and not os.path.lexists(volume.layout.coordinator):
        with open(volume.layout.coordinator, "wb") as file:  # as whoever makes a volume
            file.write(Coordinator(coordination.state().epoch or "", coordination.address).to_bytes())
    return wire(settings, volume, coordination, pool)


def make_tree(folder, *, buildtree=True):
    """The tree of the digest vectors (local-cas section 4), with content in its build tree on demand."""
    write_spec_tree(folder)
    if buildtree:
        os.makedirs(f"{folder}/buildtree/obj/deep")
        for name, data in (("main.o", b"object code"), ("obj/deep/x.o", b"deep code")):
            with open(f"{folder}/buildtree/{name}", "wb") as file:
                file.write(data)
    return str(folder)


def picture(folder):
    """What a tree looks like from outside: {path: content, link target, or None for a folder}."""
    seen = {}
    for above, folders, files in os.walk(folder):
        for name in folders + files:
            path = f"{above}/{name}"
            relative = os.path.relpath(path, folder)
            if os.path.islink(path):
                seen[relative] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                seen[relative] = ("folder",)
            else:
                with open(path, "rb") as file:
                    seen[relative] = ("file", file.read(), bool(os.stat(path).st_mode & 0o100))
    return seen
