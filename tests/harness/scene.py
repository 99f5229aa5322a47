"""A place where things go wrong: a worker, an honest server, an artifact that must survive it all."""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager

from harness.commands import Place, environment, read, until
from harness.fleet import Oracle
from harness.impatient import COMMAND, TESTS
from harness.valkey import ValkeyServer

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination
from caskeeper.errors import every_error

KEPT = "demo/kept/1"
#: A command that finds no configuration of ours shall not find the user's, nor use his cache.
NOWHERE = {"XDG_CACHE_HOME": "/proc/none", "XDG_CONFIG_HOME": "/proc/none"}
QUICK = {"operation": "2s", "session": "2s", "clock-margin": "0s", "upload-grace": "2s"}


class Scene(Place):
    """A Place whose commands and workers are the impatient ones."""

    def __init__(self, folder, valkey, *, database=0, **configuration):
        self.database = database
        self.configuration = configuration
        self._started = []
        self.seen = ""  # where the volume is seen from here, when it is mounted for the worker alone
        super().__init__(folder, valkey)

    def configure(self, name="fleet", **more):
        own = {"redis": f"{self.valkey.url}?db={self.database}", "leases": QUICK}
        return super().configure(name, **{**own, **self.configuration, **more})

    def start(self, *words, config=None, **options):
        """A command that is still running."""
        self._started.append(start_impatient("--config", config or self.config, *words, **options))
        return self._started[-1]

    def both(self, *words, **options):
        """The command as a person runs it, and with --json; one after the other where they would collide."""
        plain = self.start("--no-progress", *words, **options)
        if "--to" in words:
            plain.wait(60)
        return plain, self.start("--json", *words, **options)

    def tidy(self):
        """After a test that failed half-way: none of its commands goes on."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=30) if process.stdout and not process.stdout.closed else process.wait(
                30
            )
        self._started.clear()

    def end(self):
        self.tidy()
        super().end()

    def worker(self, config=None, *, concurrency=2, within=()):
        log = f"{self.cachedir}-worker-{len(self._running)}.log"
        words = ("--config", config or self.config, "worker", "--concurrency", concurrency)
        with open(log, "w", encoding="utf-8") as file:
            process = start_impatient(*words, within=within, stdout=file, stderr=file)
        self._running.append(process)
        until(lambda: process.poll() is not None or "taking jobs" in read(log))
        assert process.poll() is None, read(log)
        return process

    @property
    def oracle(self):
        return Oracle(self.seen or self.cachedir)

    def coordination(self):
        """What Redis knows of the volume, read directly."""
        url = f"{self.valkey.url}?db={self.database}"
        return Coordination.connect(url, volume_id=None, leases=LeaseSettings())

    def refs(self):
        return sorted(self.oracle.refs())

    def assert_sound(self):
        """Nothing half-written, nothing lost, nothing left over, nothing understated."""
        coordination = self.coordination()
        try:
            until(lambda: not coordination.operations.list() and not self.oracle.leavings(), wait_s=10)
            usage = coordination.usage.snapshot()
        finally:
            coordination.close()
        assert self.oracle.troubles() == []
        assert usage.reserved_bytes == 0
        assert usage.used_bytes >= self.oracle.used_bytes()

    def fails(self, *words, error, holds=(), **options):
        """The command fails this way, in a sentence and as JSON; the volume is as it was. The document."""
        refs = self.refs()
        document = assert_failure(*self.both(*words, **options), error=error, holds=holds)
        assert self.refs() == refs
        self.assert_sound()
        return document


def start_impatient(*words, within=(), cwd=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **env):
    return subprocess.Popen(
        [*within, *COMMAND, *(word if isinstance(word, bytes) else str(word) for word in words)],
        cwd=cwd,
        env=environment(**{"PYTHONPATH": _path(), **NOWHERE, **env}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        encoding="utf-8",
        errors="surrogateescape",
        start_new_session=True,
    )


def _path():
    """Where Python looks, with the tests' own folder in front."""
    return os.pathsep.join(filter(None, (TESTS, os.environ.get("PYTHONPATH"))))


def assert_failure(plain, asked, *, error, holds=()):
    """Two runs of one command: a sentence with the way out and its exit code; the same as one document."""
    kind = every_error()[error]
    said, document_text = finish(plain), finish(asked)
    assert document_text.stdout.count("\n") == 1, document_text
    document = json.loads(document_text.stdout)
    assert "error" in document, document_text
    assert (document["error"], document["exit_code"], asked.returncode) == (
        error,
        kind.exit_code,
        kind.exit_code,
    ), document
    assert (plain.returncode, said.stdout) == (kind.exit_code, ""), said
    assert document["what"]
    assert document["where"], "no place"
    assert document["way_out"], "no way out"
    assert document["retry"] == (20 <= kind.exit_code <= 29)
    assert document["message"].endswith(f"[{document['where']}]: {document['way_out']}")
    sentence = said.stderr.splitlines()[-1]
    assert sentence.startswith("caskeeper: " + kind.template.partition("{")[0])
    assert document["way_out"] in sentence
    assert "Traceback" not in said.stderr + document_text.stderr
    for text in (holds,) if isinstance(holds, str) else holds:
        assert text in document["message"], document
        assert text in sentence
    return document


def finish(process, timeout_s=60):
    """A command's outcome."""
    stdout, stderr = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def done(process, timeout_s=60):
    """What a command that succeeds wrote."""
    finished = finish(process, timeout_s)
    assert finished.returncode == 0, finished
    return finished.stdout


def lies(world, files):
    """A tree of files in a LyingServer; the digest of its root. Names in order."""
    from harness.lying_server import reapi

    folder = reapi.Directory()
    for name, content in sorted(files.items()):
        digest = world.add(content)
        folder.files.add(name=name, digest=reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes))
    return world.add(folder.SerializeToString())


@contextmanager
def scene_in(folder, *, database=0, valkey=None, **configuration):
    """A Scene with a worker and an artifact; what runs in it ends with the block."""
    with ValkeyServer() as own:
        scene = Scene(folder, valkey or own, database=database, **configuration)
        try:
            scene.worker()
            tree = scene.tree("kept", {"hello": b"hello", "bin/large": os.urandom(300_000)})
            done(scene.start("commit", tree, KEPT))
            yield scene
        finally:
            scene.end()


def can_mount():
    """Whether the kernel lets this user mount a disk of their own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


def tmpfs(options):
    """Words before a command: it sees such a disk at the path that stands first among its words."""
    return ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o {options} none "$0" && exec "$@"']


@contextmanager
def disk(scene, name, *, within=(), **configuration):
    """A worker on another volume; ``within`` puts it into a namespace where the volume is a small disk."""
    folder = f"{scene.folder}/{name}"
    os.makedirs(f"{folder}/cache")
    other = Scene(folder, scene.valkey, roots=[scene.folder], **configuration)
    process = other.worker(within=[*within, other.cachedir] if within else ())
    if within:
        other.seen = f"/proc/{process.pid}/root{other.cachedir}"
    try:
        yield other
    finally:
        other.end()


__all__ = [
    "KEPT",
    "Scene",
    "assert_failure",
    "can_mount",
    "disk",
    "done",
    "finish",
    "lies",
    "scene_in",
    "start_impatient",
    "tmpfs",
]
