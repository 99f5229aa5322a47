"""What an actor works with: a volume, a Redis and a clock at which every step is a switch point.

A step is a change of the volume, a look at a path below it, or a script of Redis. Looks are seen by
replacing the functions of ``os``; threads of the program's own become plain calls, for the order of things
is the schedule's. The volume's clock moves when an operation or a cleanup starts, as in the model
(docs/model), and lies in the future, so that reading a file makes it no younger on any mount.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
import uuid
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import SimpleNamespace

from harness.schedule import current

from caskeeper.coordination.connection import RUN_ID, Connection
from caskeeper.coordination.scripts import load
from caskeeper.errors import CoordinatorUnavailable
from worker.store import parallel, system_calls
from worker.store.volume import Volume

#: The real ones: what the harness itself looks with.
real = SimpleNamespace(
    stat=os.stat,
    lstat=os.lstat,
    open=os.open,
    access=os.access,
    readlink=os.readlink,
    scandir=os.scandir,
    listdir=os.listdir,
    sleep=time.sleep,
    monotonic=time.monotonic,
    uuid4=uuid.uuid4,
)
_LOOKS = ("stat", "lstat", "open", "access", "readlink", "scandir", "listdir")

#: The beginning of the volume's time, and one tick of it.
EPOCH_NS = 4_000_000_000 * 10**9
TICK_NS = 10**6


class Clock:
    """The volume's clock."""

    def __init__(self):
        self.now_ns = EPOCH_NS

    def tick(self):
        self.now_ns += TICK_NS
        return self.now_ns

    def pass_by(self, duration_s):
        self.now_ns += int(duration_s * 1e9)

    # -- in the place of worker.store.system_calls -----------------------------------------------------

    def touch(self, path):
        """In two steps, as the kernel takes: it finds the file, and then sets its age, by then's clock."""
        return self.touch_late(path, None)

    def touch_late(self, path, age_ns):
        try:
            fd = real.open(path, os.O_RDONLY | os.O_NOATIME)
        except FileNotFoundError:
            return False
        try:
            actor = current()
            if actor is not None:
                actor.schedule.step(actor, "apply", path)
            age_ns = self.now_ns if age_ns is None else age_ns
            there = os.fstat(fd)
            # one more for a folder: an age that is not above its other times changes when it is listed
            os.utime(fd, ns=(age_ns + stat.S_ISDIR(there.st_mode), there.st_mtime_ns))
        finally:
            os.close(fd)
        return True

    def stamp(self, fd, path):
        os.utime(fd, ns=(self.now_ns, system_calls.MTIME_S * 10**9))


class ScheduledVolume(Volume):
    """The volume as one actor sees it: each change is a step, and is counted when it was made."""

    def __init__(self, layout, site):
        super().__init__(layout)
        self._site = site
        self._replaced = None

    def _change(self, verb, *paths):
        actor = current()
        if actor is not None:
            actor.schedule.step(actor, verb, *paths)
            actor.schedule.changed()
        if verb == "replace":
            self._replaced = self._site.account.inode(paths[1])
        elif verb == "write":
            self._site.account.grows(paths[0])

    def create(self, path):
        super().create(path)
        self._site.account.appears(path)
        if path.endswith("/start"):
            self._site.clock.tick()
        self._set(path)
        self._set(os.path.dirname(path))

    def stage(self, path, data, *, mode=0o444):
        super().stage(path, data, mode=mode)
        self._site.account.appears(path)

    def stage_stream(self, path, *, mode=0o444):
        file = super().stage_stream(path, mode=mode)
        self._site.account.appears(path)
        return file

    def link(self, source, target):
        linked = super().link(source, target)
        if linked:
            self._site.account.appears(target)
        return linked

    def replace(self, source, target):
        super().replace(source, target)
        self._site.account.loses_name(self._replaced)
        self._site.named()

    def publish(self, source, target):
        published = super().publish(source, target)
        if "/refs/" in target:
            self._site.named()
        return published

    def make_folder(self, path, *, mode=0o777):
        made = super().make_folder(path, mode=mode)
        if made and os.path.dirname(path) == self.layout.trashes:
            self._site.clock.tick()
        if made:
            self._set(path)
        return made

    def unlink(self, path, *, was=None):
        was = super().unlink(path, was=was)
        if was is not None:
            self._site.account.loses_name(was.st_ino)
            self._site.unnamed(path)
        if path.endswith("/start"):
            with suppress(FileNotFoundError):
                self._set(os.path.dirname(path))
        return was

    def _set(self, path):
        """As the kernel does with the times of what is new, and of a folder whose entries changed."""
        now_ns = self._site.clock.now_ns
        with suppress(FileNotFoundError):
            os.utime(path, ns=(now_ns + 1, now_ns))


class Wire:
    """The shortest way to Redis: one socket, one question after the other."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def call(self, *commands):
        """The answers to some commands, sent together."""
        self._socket.sendall(b"".join(map(_packed, commands)))
        answers = [self._answer() for _ in commands]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _answer(self):
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b"*":
            size = int(rest)
            return None if size < 0 else [self._answer() for _ in range(size)]
        if kind == b":":
            return int(rest)
        return CoordinatorUnavailable(rest.decode()) if kind == b"-" else rest

    def close(self):
        self._file.close()
        self._socket.close()


def _packed(words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def text_of(answer):
    """An answer of Redis with text in the place of bytes."""
    if isinstance(answer, bytes):
        return answer.decode()
    return [text_of(one) for one in answer] if isinstance(answer, list) else answer


SCRIPTS = tuple(
    name.removesuffix(".lua")
    for name in sorted(
        os.listdir(os.path.join(os.path.dirname(load.__wrapped__.__code__.co_filename), "lua"))
    )
    if name not in {"prelude.lua", "prelude_jobs.lua", "guard.lua"}
)
NAMES = {load(name, RUN_ID).sha: name for name in SCRIPTS}
#: Scripts that only look.
LOOKS = frozenset({"state", "read", "sessions_live", "begin_recount"})


class ScheduledConnection(Connection):
    """Redis as an actor sees it: every script and every command is one step."""

    def __init__(self, url, site):
        super().__init__(url)
        self._site = site

    def script(self, script, keys, args):
        name = NAMES[script.sha]
        actor = current()
        if actor is not None:
            # which operation it is about, for what commutes with what
            actor.schedule.step(actor, "script", name, str(args[1]) if len(args) > 1 else "")
        answer = self._site.evaluate(name, keys, args)
        if actor is not None and name not in LOOKS and answer[0] == "OK":
            actor.schedule.changed()
        return answer

    def command(self, *words):
        actor = current()
        if actor is not None:
            actor.schedule.step(actor, "command", str(words[0]))
        return text_of(self._site.wire.call(words)[0])


# -- the program's surroundings ----------------------------------------------------------------------------


class _Idle:
    """A thread that renews a lease: leases end by an event of the schedule only."""

    def __init__(self, **_options):
        pass

    def start(self):
        pass

    def join(self, timeout=None):
        pass


class _Inline(_Idle):
    """A thread that works: in the thread of its actor."""

    def __init__(self, target, args=(), **_options):
        self.start = lambda: target(*args)


class _Lock:
    """A lock between actors: who waits for it gives its turn away."""

    def __init__(self):
        self._held = False

    def __enter__(self):
        while self._held:
            actor = current()
            actor.schedule.sleep(actor, 0.01)
        self._held = True

    def __exit__(self, *_):
        self._held = False
        actor = current()
        if actor is not None:
            actor.schedule.changed()


class _Pool:
    """An executor that does everything at once."""

    def __init__(self, *_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as trouble:  # noqa: BLE001 -- as an executor does
            future.set_exception(trouble)
        return future


def _looking(look, root):
    name, wanted = look.__name__, (f"{root}/", root)

    def seen(path=".", *arguments, **options):
        if type(path) is str and path.startswith(wanted):
            actor = current()
            if actor is not None:
                actor.schedule.step(actor, name, path)
        return look(path, *arguments, **options)

    return seen


def _sleep(duration_s):
    actor = current()
    if actor is None:
        real.sleep(duration_s)
    else:
        actor.schedule.sleep(actor, duration_s)


def _monotonic():
    actor = current()
    return real.monotonic() if actor is None else actor.schedule.now_s


def _uuid4():
    actor = current()
    if actor is None:
        return real.uuid4()
    actor.serial += 1
    return uuid.UUID(int=((actor.number + 1) << 120) + actor.serial)


@contextmanager
def surroundings(monkeypatch, root, clock):
    """As long as it lasts, actors see everything through the schedule."""
    from worker.server import rolling
    from worker.services import desk, maintenance, reservation, transfer

    with monkeypatch.context() as patch:
        for name in _LOOKS:
            patch.setattr(os, name, _looking(getattr(real, name), root))
        patch.setattr(time, "sleep", _sleep)
        patch.setattr(time, "monotonic", _monotonic)
        patch.setattr(uuid, "uuid4", _uuid4)
        patch.setattr(system_calls, "touch", clock.touch)
        patch.setattr(system_calls, "stamp", clock.stamp)
        # for a mutant that reads the clock first and sets the age later
        patch.setattr(system_calls, "now", lambda: clock.now_ns, raising=False)
        patch.setattr(system_calls, "tick", clock.tick, raising=False)
        patch.setattr(system_calls, "touch_late", clock.touch_late, raising=False)
        patch.setattr(system_calls, "syncfs", lambda *_arguments: None)
        idle = SimpleNamespace(Event=threading.Event, Lock=_Lock, Thread=_Idle)
        for module in (reservation, desk, maintenance):
            patch.setattr(module, "threading", idle)
        crew = SimpleNamespace(
            Condition=threading.Condition,
            Event=threading.Event,
            Lock=threading.Lock,
            Thread=_Inline,
            get_ident=threading.get_ident,
        )
        for module in (parallel, rolling):
            patch.setattr(module, "threading", crew)
        patch.setattr(transfer, "ThreadPoolExecutor", _Pool)
        yield
