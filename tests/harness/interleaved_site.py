"""A small volume and a Redis that are set back before each run, and what must hold at every step of it.

The counts are kept beside the program, step by step, from what the file system shows; at the end of each
run they are compared with a whole look.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from harness.fleet import Oracle, write_tree
from harness.interleaved_account import Account, Violation
from harness.interleaved_actors import (
    SCRIPTS,
    Clock,
    ScheduledConnection,
    ScheduledVolume,
    Wire,
    real,
    surroundings,
    text_of,
)
from harness.interleaved_snapshot import Snapshot
from harness.schedule import current
from harness.services import SMALL_CACHE, MemoryPool, MemoryRemote
from harness.volumes import new_volume

from caskeeper.config import QuotaExpression, Settings
from caskeeper.config.remotes import RemoteSpec
from caskeeper.config.settings import LeaseSettings
from caskeeper.contract import CommitRequest, ComputeSizeRequest, VerifyRequest
from caskeeper.coordination import Coordination
from caskeeper.coordination.connection import RUN_ID
from caskeeper.coordination.scripts import load
from worker.protocols import quiet
from worker.wiring import wire

LEASES = LeaseSettings(
    operation_s=3600.0,
    operation_life_s=10**8,
    session_s=3600.0,
    clock_margin_s=0.0,
    upload_grace_s=10**6,
)
VOLUME_ID = "v"
_PREFIX = f"caskeeper:{{{VOLUME_ID}}}:"
#: In the place of a session: what a pin protects stays.
PINNED = "a pin"
#: How actors are called that hold the maintenance lease.
CLEANERS = frozenset({"cleaner", "second", "recounter", "repairer"})

#: ARGV: 1 = sessions too; then whose: the beginnings of what their ids end with, none = everybody's.
_EXPIRE = """
local function is_told(id)
  for n = 2, #ARGV do
    if string.find(id, '-' .. ARGV[n], 1, true) then
      return true
    end
  end
  return #ARGV == 1
end
for _, key in ipairs({'operations', 'sessions'}) do
  local flat = redis.call('HGETALL', KEYS[1] .. key)
  for n = 1, #flat, 2 do
    if flat[n] ~= 'epoch' and (key == 'operations' and is_told(flat[n]) or ARGV[1] == '1') then
      local record = cjson.decode(flat[n + 1])
      record.expires_ms = '0'
      redis.call('HSET', KEYS[1] .. key, flat[n], cjson.encode(record))
    end
  end
end
local holder = redis.call('HGET', KEYS[1] .. 'cleanup', 'holder')
if holder and is_told(holder) then
  redis.call('HSET', KEYS[1] .. 'cleanup', 'expires_ms', '0')
end
return 1
"""


class Site:
    """One volume, one Redis, and the services of each actor. ``prepare`` once, ``reset`` before each run."""

    def __init__(self, folder, valkey, *, cache=SMALL_CACHE, leases=LEASES):
        self.folder = str(folder)
        self._valkey = valkey
        self._cache, self.leases = cache, leases
        self.clock = Clock()
        self.remote = MemoryRemote("http://memory")
        self.wire = Wire(valkey.socket)
        self.wire.call(("FLUSHALL",))
        os.makedirs(self.folder, exist_ok=True)
        self.layout = new_volume(_Path(self.folder)).layout
        self.account = Account(self)
        self.oracle = Oracle(self.layout.root)
        self.scripts = {name: load(name, RUN_ID).sha for name in SCRIPTS}
        for name in SCRIPTS:
            self.wire.call(("SCRIPT", "LOAD", load(name, RUN_ID).text))
        self._expire = self.wire.call(("SCRIPT", "LOAD", _EXPIRE))[0]
        self.trees = {
            "a": write_tree(f"{self.folder}/a", {"shared": b"shared content", "own": b"own content of a"}),
            "b": write_tree(f"{self.folder}/b", {"shared": b"shared content"}),
        }
        self.violations = []
        self.promised = {}
        self.required, self.acknowledged = set(), set()
        self.closures = {}
        self.contents = {}
        self.opened = []
        self.used = self.reserved = 0
        self.known = False
        self.heals = False
        self.quota_bytes = 0
        #: objects that are bad from the beginning: they may be missing until they are mended
        self.damaged = set()

    def prepare(self, monkeypatch, before):
        """Make the state that every run begins with: ``before`` is called with services."""
        self._monkeypatch = monkeypatch
        Coordination.create(
            self._valkey.url,
            volume_id=VOLUME_ID,
            epoch="e",
            used_bytes=self.oracle.used_bytes(),
            leases=self.leases,
        ).close()
        with self.surroundings():
            self._roots(self.services())
            before(self)
            self.clock.tick()
            self._prune()
        self._save()
        self.reset()

    def _roots(self, services):
        """What belongs to each root, as the harness knows it: found by committing, and forgotten again."""
        for name, path in self.trees.items():
            done = services.run(CommitRequest(path=path, refs=(f"p/{name}/probe",)), quiet())
            root = done.root.partition("/")[0]
            listing = services.maintenance.closures.read(root, "whole")
            self.closures[root] = tuple(digest.hash for digest in listing.digests())
            self.contents |= {
                digest.hash: services.maintenance.objects.read(digest) for digest in listing.digests()
            }
        shutil.rmtree(f"{self.layout.root}/cas/refs/heads/p")
        for part in ("objects", "executables", "closures"):
            shutil.rmtree(f"{self.layout.root}/cas/{part}")
            os.mkdir(f"{self.layout.root}/cas/{part}")
        self.clock.tick()
        services.run(ComputeSizeRequest(), quiet())

    def _prune(self):
        """Folders of the fan-out that nothing needs would cost every run some milliseconds."""
        names = {hash_hex[:2] for hashes in self.closures.values() for hash_hex in hashes}
        for part in ("objects", "closures"):
            for name in names | {root[:2] for root in self.closures}:
                os.makedirs(f"{self.layout.root}/cas/{part}/{name}", exist_ok=True)

    def surroundings(self):
        return surroundings(self._monkeypatch, self.layout.root, self.clock)

    def services(self):
        """Those of one more process."""
        pool = MemoryPool()
        pool.remotes[self.remote.url] = self.remote
        settings = Settings(
            cachedir=self.layout.root,
            roots=(self.folder,),
            cache=self._cache if not self.quota_bytes else self._limited(),
            leases=self.leases,
            artifacts=(RemoteSpec(self.remote.url, push=True),),
            source="test.yaml",
        )
        connection = ScheduledConnection(self._valkey.url, self)
        coordination = Coordination(connection, volume_id=VOLUME_ID, leases=self.leases)
        services = wire(settings, ScheduledVolume(self.layout, self), coordination, pool)
        services.healing.heal = self._watched(services.healing.heal)
        self.opened.append(services)
        return services

    def _limited(self):
        return replace(self._cache, quota=QuotaExpression.parse(str(self.quota_bytes)))

    def _watched(self, heal):
        """Nothing is damaged here: who finds something missing although it has its claim was betrayed.

        A cleanup that was overtaken has no claim.
        """

        def watched(trouble, *arguments, **options):
            if not self.heals and current().name not in CLEANERS:
                self.violations.append(f"something is to be healed: {trouble}")
            return heal(trouble, *arguments, **options)

        return watched

    # -- the state that runs begin with ----------------------------------------------------------------

    def _save(self):
        self._snapshot = Snapshot(self.layout.root)
        self._started_ns = self.clock.now_ns
        keys = self.wire.call(("KEYS", "*"))[0]
        self._keys = [(key, self.wire.call(("DUMP", key))[0]) for key in keys]

    def reset(self):
        """Everything is as ``prepare`` left it."""
        self.account.reset(self._snapshot.restore())
        commands = [("RESTORE", key, 0, dump) for key, dump in self._keys]
        self.wire.call(("FLUSHDB",), *commands)
        self.clock.now_ns = self._started_ns
        self.violations.clear()
        self.promised.clear()
        self.required.clear()
        self.acknowledged.clear()
        self.opened.clear()
        self._look_at_usage(
            *self.wire.call(
                ("HMGET", f"{_PREFIX}usage", "used", "reserved"), ("HGET", f"{_PREFIX}state", "known")
            )
        )

    # -- Redis -----------------------------------------------------------------------------------------

    def evaluate(self, name, keys, args):
        """One script; then what it made of the counters."""
        answer, usage, known = self.wire.call(
            ("EVALSHA", self.scripts[name], len(keys), *keys, *args),
            ("HMGET", f"{_PREFIX}usage", "used", "reserved"),
            ("HGET", f"{_PREFIX}state", "known"),
        )
        self._look_at_usage(usage, known)
        return text_of(answer)

    def _look_at_usage(self, usage, known):
        self.known = known == b"1" and None not in usage
        if self.known:
            self.used, self.reserved = map(int, usage)
            self.check_size()

    def expire(self, *numbers):
        """Leases run out, and the volume's clock has gone on: those of these actors, or everybody's."""
        whose = [f"{number + 1:02x}" for number in numbers]
        self.wire.call(("EVALSHA", self._expire, 1, _PREFIX, "0", *whose))
        self.clock.pass_by(2 * self.leases.operation_s)

    def time_passes(self, schedule):
        """Everybody waits: who died does not renew any more."""
        dead = [actor.number for actor in schedule.actors if actor.dead]
        if dead:
            self.expire(*dead)

    def empty(self):
        """FLUSHALL."""
        self.wire.call(("FLUSHDB",))
        self.known = False

    def wait_after_loss(self):
        """The waiting period is over: sessions that did not come back have lost their promises."""
        if self.wire.call(("HEXISTS", f"{_PREFIX}state", "evict_from_ms"))[0]:
            self.wire.call(("HSET", f"{_PREFIX}state", "evict_from_ms", "0"))
        self.clock.pass_by(2 * self.leases.operation_s)
        alive = set(self.wire.call(("HKEYS", f"{_PREFIX}sessions"))[0])
        for ref, session in list(self.promised.items()):
            if session != PINNED and session.encode() not in alive:
                del self.promised[ref]

    # -- what must hold at every step ------------------------------------------------------------------

    def after(self):
        """A step is done."""
        if self.account._growing is not None:
            self.account.look_again()
        if self.violations:
            raise Violation("; ".join(self.violations))

    def check_size(self):
        """I5."""
        if self.known and self.used + self.reserved < self.account.actual_bytes:
            self.violations.append(
                f"I5: used {self.used} + reserved {self.reserved} < {self.account.actual_bytes} on the disk"
            )
        if 0 < self.quota_bytes < self.account.actual_bytes:
            self.violations.append(f"{self.account.actual_bytes} on the disk are above the quota")

    def named(self):
        """A ref was published: it names what is there (I3)."""
        self._check_refs()

    def unnamed(self, path):
        """A file lost a name, maybe its last."""
        name = path.rpartition("/")[2]
        if name.startswith("o-") or "/objects/" in path:
            self._check_refs()
        elif name.startswith("r-") or "/refs/" in path:
            self._check_promises()

    def _check_refs(self):
        for place in self._files_below(self.layout.refs):
            try:
                fd = real.open(place, os.O_RDONLY | os.O_NOATIME)
            except FileNotFoundError:
                continue
            root = os.read(fd, 70)[2:66].decode()
            os.close(fd)
            for hash_hex in self.closures.get(root, ()):
                if hash_hex in self.damaged:
                    continue
                if not self._is_somewhere(self.layout.object(hash_hex), f"o-{hash_hex}"):
                    short = place[len(self.layout.refs) + 1 :]
                    self.violations.append(f"I3: {short} names {hash_hex[:8]}, which is gone")

    def _check_promises(self):
        for ref in self.promised:
            if not self._is_somewhere(f"{self.layout.refs}/{ref}", f"r-{ref.replace('/', '%')}"):
                self.violations.append(f"{ref} was required and is gone")

    def _is_somewhere(self, place, in_trash):
        if self._is_there(place):
            return True
        trashes = self.layout.trashes
        return any(self._is_there(f"{trashes}/{name}/{in_trash}") for name in real.listdir(trashes))

    def _is_there(self, path):
        try:
            real.lstat(path)
        except FileNotFoundError:
            return False
        return True

    def _files_below(self, folder):
        with real.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._files_below(entry.path)
                else:
                    yield entry.path

    # -- the end of a run ------------------------------------------------------------------------------

    def settle(self):
        """Everybody is over and every lease has run out: one recount, and everything is exact.

        Where something was damaged a repair comes first: no look at a size sees a bit that turned.
        """
        self.expire()
        services = self.services()
        services.maintenance.ensure_ready()
        self.wait_after_loss()
        self.expire()  # those of who was made known by that, too
        if self.damaged:  # who relied on it in time published it all the same (safety.md section 5)
            services.run(VerifyRequest(repair=True), quiet())
        services.run(ComputeSizeRequest(), quiet())
        if self.violations:
            raise Violation("; ".join(self.violations))
        troubles = self.oracle.troubles()
        self._check_promises()
        troubles += self.violations
        if self.oracle.leavings():
            troubles.append(f"left over: {self.oracle.leavings()}")
        actual = self.oracle.used_bytes()
        if (self.used, self.reserved, self.known) != (actual, 0, True):
            troubles.append(f"counted {self.used} + {self.reserved}, there are {actual} bytes")
        if self.account.actual_bytes != actual:
            troubles.append(f"the harness counted {self.account.actual_bytes}, there are {actual}")
        if services.coordination.operations.list():
            troubles.append("operations are left")
        if troubles:
            raise Violation("; ".join(troubles))

    def refs(self):
        """The names that are there."""
        return set(self.oracle.refs())

    def close(self):
        self.wire.close()
        shutil.rmtree(self.folder)


class _Path(str):
    """A folder as the other harness takes one."""

    __slots__ = ()

    def __truediv__(self, name):
        return _Path(f"{self}/{name}")
