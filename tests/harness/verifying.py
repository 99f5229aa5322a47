"""A volume with three refs that is old enough to be judged, and ways to harm it."""

import os
import shutil
import time

from harness.fleet import Oracle, write_tree

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CommitRequest,
    VerifyRequest,
)
from caskeeper.digest import Digest
from worker.closure import WHOLE
from worker.protocols import quiet

KEPT, OTHER = "p/kept/k1", "p/other/k2"
FILES = {"own": b"own" * 1000, "x:bin/run": b"#!run", "deep/er/file": b"deep", "l:link": b"own"}
OLD_NS = 1_500_000_000 * 10**9
ALL = [KEPT, OTHER, "p/kept/weak"]


def commit(services, folder, ref, files):
    source = write_tree(f"{folder}/src-{ref.replace('/', '-')}", files)
    try:
        return services.run(CommitRequest(path=source, refs=(ref,)), quiet())
    finally:
        shutil.rmtree(source)


def age(services):
    """Everything published is older than any horizon that is to come, and the volume's clock has ticked."""
    for path in files_of(services):
        os.utime(path, ns=(OLD_NS, os.lstat(path).st_mtime_ns), follow_symlinks=False)
    time.sleep(0.02)


def files_of(services):
    return sorted(Oracle(services.layout.root)._files(f"{services.layout.root}/cas"))


def verify(services, **options):
    return services.run(VerifyRequest(**options), quiet())


def record(services, ref):
    return services.maintenance.refs.read(Ref.parse(ref))


def object_of(services, content):
    return services.layout.object(Digest.of(content).hash)


def harm(path, data=b"x"):
    """Behind the cache's back: other bytes under the same name, of the same length or another."""
    status = os.lstat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(data)
    os.chmod(path, status.st_mode & 0o777)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def write(path, data=b"junk"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o444)
    os.utime(path, ns=(OLD_NS, 1_000_000_000 * 10**9))


def root_hash(services, ref=KEPT):
    return record(services, ref).root.hash


def list_of(services, ref=KEPT):
    return services.layout.closure(root_hash(services, ref), WHOLE.id)


def assert_sound(services, *, refs):
    oracle = Oracle(services.layout.root)
    assert sorted(oracle.refs()) == sorted(refs)
    assert oracle.troubles() == []
    assert oracle.leavings() == []
    usage = services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (oracle.used_bytes(), 0)


def objects(paths):
    return [path for path in paths if "/objects/" in path or "/executables/" in path]


def damage_ref(services):
    harm(services.layout.ref(Ref.parse(KEPT)), b"\xff\xff\xff")


def flip(services):
    harm(object_of(services, FILES["own"]))


def leftovers(services):
    write(f"{services.layout.staging}/FORMAT.{'0' * 32}")
    for folder in (services.layout.operation("commit-dead"), services.layout.trash("cleanup-dead")):
        os.mkdir(folder)
        write(f"{folder}/1", b"half")
        os.utime(folder, ns=(OLD_NS, OLD_NS))


def orphan_object(services):
    write(object_of(services, b"nobody's"), b"nobody's")


def truncate(services):
    path = object_of(services, FILES["own"])
    os.chmod(path, 0o644)
    os.truncate(path, 5)
    os.chmod(path, 0o444)
