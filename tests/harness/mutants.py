"""Protections taken out of the program by patches of its text, each alone or with the one that backs it.

A patch names a function or a Lua script, a text that occurs in it exactly once, and what stands there
instead. It is compiled in the place of the original for as long as a search lasts; the program itself has
no switch. The protections are those of safety.md section 10, the mutants of docs/model/configurations.txt
(named in brackets), and the upload grace.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from caskeeper.coordination.connection import RUN_ID
from caskeeper.coordination.scripts import load


class Patch(NamedTuple):
    """``where``: ``module:Class.function`` or ``lua:script``."""

    where: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """``scenario``: which interleavings notice. ``backed``: why several patches are one mutant."""

    name: str
    removes: str
    patches: tuple[Patch, ...]
    scenario: str
    model: str = ""
    backed: str = ""
    #: where the search switches, for those that take a particular one to be seen
    focus: tuple[str, ...] = ()
    #: where and to whom it switches, one after the other, for those that take a long story
    guide: tuple[str, ...] = ()
    switches: int = 2


class Stale(AssertionError):
    """The program's text is another one by now."""


def _replaced(text, patch):
    if text.count(patch.old) != 1:
        raise Stale(f"{patch.where} has {patch.old!r} {text.count(patch.old)} times, not once")
    return text.replace(patch.old, patch.new)


def _owner(where):
    module_name, _, path = where.partition(":")
    owner = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, name


def _compiled(where, patches):
    """The function, and the code that it has with these patches: whoever has imported it gets that too."""
    owner, name = _owner(where)
    function = inspect.unwrap(getattr(owner, name))
    text = inspect.getsource(function)
    for patch in patches:
        text = _replaced(text, patch)
    names = dict(function.__globals__)
    flags = annotations.compiler_flag
    exec(compile(textwrap.dedent(text), inspect.getsourcefile(function), "exec", flags), names)
    return function, inspect.unwrap(names[name]).__code__


@contextmanager
def applied(mutant, monkeypatch, site):
    """The mutant instead of the program, for the actors of ``site``."""
    wheres = dict.fromkeys(patch.where for patch in mutant.patches)
    with monkeypatch.context() as context:
        scripts = dict(site.scripts)
        for where in wheres:
            patches = [patch for patch in mutant.patches if patch.where == where]
            if where.startswith("lua:"):
                name = where.removeprefix("lua:")
                text = load(name, RUN_ID).text
                for patch in patches:
                    text = _replaced(text, patch)
                site.scripts[name] = site.wire.call(("SCRIPT", "LOAD", text))[0]
            else:
                function, code = _compiled(where, patches)
                context.setattr(function, "__code__", code)
        try:
            yield
        finally:
            site.scripts.update(scripts)


_STORE, _SERVICES = "worker.store", "worker.services"
_MINE = "if not mine(ARGV[2]) then\n  return {'TAKEN'}"
_ANYBODY = "if false then\n  return {'TAKEN'}"
_NO_CLEANER_FENCE = Patch(
    f"{_SERVICES}.recovery:recover",
    "        if not volume.take(volume.layout.trash(name), fenced):\n            continue\n",
    "        fenced = volume.layout.trash(name)\n"
    "        back, gone = _put_back_all(fenced, refs=refs, closures=closures, objects=objects)\n"
    "        restored, freed = restored + back, freed + gone\n"
    "        continue\n",
)
_NO_RECOVERY = Patch(f"{_SERVICES}.recovery:recover", "    for name in others:\n", "    for name in ():\n")
_NO_HOLD = Patch(
    f"{_SERVICES}.operations:Operation.hold",
    "if self._desk.coordination.operations.hold(self.id, self.epoch, refs=names, roots=hashes):",
    "if True:",
)
_NO_LOOK_AT_THE_TAKEN = Patch(
    f"{_SERVICES}.eviction:Evictor.take_refs",
    "            if self._record_at(taken) == record or not self.volume.put_back(taken, place):",
    "            if True:",
)
_NO_CLAIM = Patch(
    f"{_SERVICES}.operations:Operation.claim",
    "            claimed = claim()\n        except",
    "            claimed = True\n        except",
)
#: As the model has it: also one that is old.
_SPARED = Patch(
    f"{_SERVICES}.maintenance:Maintenance._reap",
    "(name not in known and not self._is_starting(run, name, spare=spare_young))",
    "False",
)
_LAST_NAME = Patch(f"{_SERVICES}.trash:unlink", "gone.st_nlink != 1", "False")

MUTANTS = [
    Mutant(
        "a dead operation is not fenced",
        "fence of operations",
        (
            Patch(
                f"{_SERVICES}.maintenance:Maintenance._fence",
                "if self.volume.take(self.volume.layout.operation(name), taken):",
                "if False:",
            ),
        ),
        "a writer's lease runs out under a cleaner",
        "m_no_op_fence",
    ),
    Mutant(
        "the horizon is taken after the listing",
        "horizon before the listing",
        (
            Patch(
                f"{_SERVICES}.cleanup:Cleanup.clean",
                "            inventory = self._inventory(run)\n",
                "            inventory = self._inventory(run)\n"
                "            run.horizon_ns, run.oldest = self._maintenance.horizon_at(run.trash.start_ns)\n",
            ),
        ),
        "writer and cleaner",
        "m_horizon_late",
        focus=(
            "writer touch /closures/",
            "cleaner scandir /extract",
        ),
    ),
    Mutant(
        "the horizon does not ask for operations",
        "horizon: the start of every operation",
        (
            Patch(
                f"{_SERVICES}.maintenance:Maintenance.horizon_at",
                "for name in self._folders():",
                "for name in ():",
            ),
        ),
        "writer and cleaner",
        "m_horizon_no_ops",
    ),
    Mutant(
        "what is there is not made young",
        "refresh",
        (
            Patch(
                f"{_STORE}.blobs:StoreBlobs._make_young",
                "if not self._volume.touch(path):",
                "if not os.path.lexists(path):",
            ),
            Patch(
                f"{_STORE}.blobs:StoreBlobs._make_young",
                "if there.st_atime_ns >= self.staging.start_ns:",
                "if True:",
            ),
        ),
        "writer and cleaner",
        "m_no_refresh",
    ),
    Mutant(
        "the place is not looked at after the touch",
        "refresh: its look-up",
        (
            Patch(
                f"{_STORE}.blobs:StoreBlobs._make_young",
                "                return False\n            try:",
                "                return False\n            return True\n            try:",
            ),
        ),
        "writer and cleaner",
        "m_no_stat",
    ),
    Mutant(
        "an age is read before it is set",
        "age by the volume's clock when applied",
        (
            Patch(
                f"{_STORE}.volume:Volume.touch",
                '        self._change("touch", path)\n        try:\n            system_calls.touch(path)',
                '        age = system_calls.now()\n        self._change("touch", path)\n'
                "        try:\n            system_calls.touch_late(path, age)",
            ),
        ),
        "two writers, of which one is late, and a cleaner",
        "m_stamp_early",
        guide=(
            "other apply /objects/15 > time",
            "other apply /objects/15 > writer",
            "writer touch /closures/ > other",
            "other touch /objects/77 > cleaner",
        ),
        switches=4,
    ),
    Mutant(
        "what was taken is not looked at again",
        "second look at an object's age",
        (
            Patch(
                f"{_SERVICES}.eviction:Evictor._take",
                "if age_ns >= self.horizon_ns and self.volume.put_back(taken, place):",
                "if False:",
            ),
        ),
        "writer and cleaner",
        "m_no_second_look",
    ),
    Mutant(
        "a link does not refresh",
        "refresh of the whole closure by link",
        (
            Patch(
                f"{_SERVICES}.presence:Presence.rely",
                "lost = transfer.find_missing(operation.blobs, closure.digests, context)",
                "lost = [one for one in closure.digests if self.objects.stat(one.hash) is None]",
            ),
        ),
        "link and cleaner",
        "m_link_no_refresh",
    ),
    Mutant(
        "cleanups share one trash folder",
        "a trash folder for each cleanup",
        (
            Patch(
                f"{_SERVICES}.trash:Trash.__init__",
                "self.folder = volume.layout.trash(cleanup_id)",
                'self.folder = volume.layout.trash("shared")',
            ),
            Patch(
                f"{_SERVICES}.trash:Trash.begin",
                "        self.start_ns = self._status().st_mtime_ns",
                "        from worker.store import system_calls\n        self.start_ns = system_calls.tick()",
            ),
            _NO_RECOVERY,
        ),
        "a writer twice and two cleaners",
        "m_shared_trash",
        "fence and recovery of cleanups are names of folders: with one name there are none",
        guide=(
            "cleaner unlink /o-15 > writer",
            "writer make_folder /tmp/ > second",
            "second take /objects/15 > writer",
            "second stat /o-15 > cleaner",
        ),
        switches=4,
    ),
    Mutant(
        "a ref is taken without hold and without a look at what was taken",
        "hold; look at the taken ref",
        (_NO_HOLD, _NO_LOOK_AT_THE_TAKEN),
        "session, writer and cleaner",
        "m_ref_cad, m_no_hold",
        "each backs the other",
        focus=("cleaner take /refs/",),
    ),
    Mutant(
        "a cleanup that was overtaken is not fenced",
        "fence of cleanups",
        (_NO_CLEANER_FENCE,),
        "session, cleaner and another after its lease",
        "m_no_cleaner_fence",
        focus=(
            "cleaner take /refs/",
            "second script lease_release",
        ),
    ),
    Mutant(
        "what a dead cleanup took is not put back",
        "recovery",
        (_NO_RECOVERY,),
        "session, cleaner and another after its lease",
        "m_no_recover",
        focus=(
            "cleaner take /refs/",
            "second script lease_release",
        ),
    ),
    Mutant(
        "what a dead cleanup took is deleted",
        "recovery puts back",
        (
            Patch(
                f"{_SERVICES}.recovery:_put_back_all",
                "if target and volume.put_back(path, target):",
                "if False:",
            ),
        ),
        "writer and two cleaners",
        "m_recover_unlinks",
        focus=(
            "cleaner take /objects/",
            "cleaner stat /o-",
        ),
    ),
    Mutant(
        "sessions may mark before the state is recovered",
        "ready",
        (
            Patch(
                "lua:session_require",
                "if not READY then\n  return {'UNREADY'}\nend",
                "",
            ),
            Patch("lua:session_open", "if not READY then\n  return {'UNREADY'}\nend", ""),
        ),
        "session that comes back early",
        "m_mark_before_ready",
        focus=(
            "cleaner take /refs/",
            "second make_folder /trash/",
        ),
        switches=3,
    ),
    Mutant(
        "a cleanup that was overtaken condemns",
        "the scripts' lease check; fence of cleanups",
        (Patch("lua:condemn", _MINE, _ANYBODY), Patch("lua:uncondemn", _MINE, _ANYBODY), _NO_CLEANER_FENCE),
        "session, cleaner and another after its lease",
        "m_no_token2",
        "each backs the other",
        focus=(
            "cleaner script condemn",
            "second script lease_release",
            "cleaner take /refs/",
        ),
        switches=4,
    ),
    Mutant(
        "condemning does not ask for sessions",
        "condemn: not what is required",
        (
            Patch(
                "lua:condemn",
                "if key and redis.call('SISMEMBER', session_key(id), key) == 1 then",
                "if false then",
            ),
        ),
        "session and cleaner",
        "m_cond_no_req",
    ),
    Mutant(
        "condemning does not ask for claims",
        "condemn: not what is claimed",
        (Patch("lua:condemn", "if redis.call('HEXISTS', CLAIMS, ARGV[n]) == 1 then", "if false then"),),
        "reader and cleaner",
        "m_cond_no_claim",
    ),
    Mutant(
        "nothing is condemned",
        "condemn: its marks",
        (Patch("lua:condemn", "redis.call('HSET', CONDEMNED, ARGV[n], ARGV[2])", ""),),
        "session and cleaner",
    ),
    Mutant("a reader does not claim", "claim", (_NO_CLAIM,), "reader and cleaner", "m_no_claim"),
    Mutant(
        "objects go before their refs",
        "delete in reverse (I7)",
        (
            Patch(
                f"{_SERVICES}.eviction:evict",
                "    try:\n        result.refs,",
                "    for hash_hex in group.free:\n        evictor.take_object(hash_hex)\n"
                "    try:\n        result.refs,",
            ),
        ),
        "writer and cleaner",
        "m_obj_first",
    ),
    Mutant(
        "an object is renamed over another",
        "nothing replaces an object",
        (
            Patch(
                f"{_STORE}.volume:Volume.publish",
                "system_calls.rename_noreplace(source, target)",
                "os.rename(source, target)",
            ),
        ),
        "two writers, and a cleaner after their leases",
        "m_rename_over",
    ),
    Mutant(
        "who publishes second does not refresh",
        "EEXIST: refresh what is there",
        (
            Patch(
                f"{_STORE}.blobs:StoreBlobs._store",
                "self.staging.publish(staged, self._layout.object(digest.hash), size_bytes=len(data))",
                "self.staging.publish(staged, self._layout.object(digest.hash), size_bytes=len(data))\n"
                "            self._young.add(digest)",
            ),
        ),
        "two writers, of which one is late, and a cleaner",
        "m_eexist_no_refresh",
        guide=(
            "other publish /objects/77 > time",
            "other publish /objects/77 > writer",
            "writer publish /objects/77 > other",
            "other touch /closures/ > writer",
            "writer touch /closures/ > cleaner",
        ),
        switches=5,
    ),
    Mutant(
        "bytes are given back after another count",
        "give-back: mine, this epoch",
        (Patch("lua:give_back", _MINE, _ANYBODY),),
        "cleaner, recount after its lease",
        "m_giveback_no_token",
    ),
    Mutant(
        "a reservation is converted before the fence, and a recount spares who is not registered",
        "conversion after the fence; recount: no unregistered folder is spared",
        (
            Patch(
                f"{_SERVICES}.maintenance:Maintenance._reap",
                "        known = self._registered()\n",
                "        known = self._registered()\n"
                "        for operation_id in sorted(dying):\n"
                "            maintenance.drop_dead(run.holder, run.epoch, operation_id)\n",
            ),
            _SPARED,
        ),
        "writer, cleaner and recount after their leases",
        "m_convert_first",
        "alone it survives, in the model too: whoever counts next fences whom it does not know",
        focus=("writer stage /tmp/", "cleaner take /tmp/"),
    ),
    Mutant(
        "a dead operation's reservation is dropped",
        "conversion of reservations",
        (Patch("lua:drop_dead", "add_used(record.reserved_bytes)\n", ""),),
        "a writer's lease runs out under a cleaner",
        "m_drop_res",
    ),
    Mutant(
        "a recount forgets what was added meanwhile",
        "recount: scan and what was added since",
        (Patch("lua:finish_recount", "int(tonumber(ARGV[3]) + added)", "int(tonumber(ARGV[3]))"),),
        "recount and writer",
        "m_recon_no_delta",
    ),
    Mutant(
        "bytes that have another name are given back",
        "give-back of last names only",
        (_LAST_NAME,),
        "reader of a checkout and two cleaners",
        "m_gb_always",
        guide=("cleaner scandir /trash/ > second",),
        switches=1,
    ),
    Mutant(
        "a recount spares who is not registered",
        "recount: no unregistered folder is spared",
        (_SPARED,),
        "writer, a Redis that is emptied, and a recount",
        "m_recon_spares",
        focus=("writer stage /tmp/",),
    ),
    Mutant(
        "an operation that is dying settles like a live one",
        "settle of a dying operation keeps the rest",
        (Patch("lua:settle", "if record.dying then", "if false then"),),
        "a writer's lease runs out under a cleaner",
        focus=(
            "writer publish /objects/",
            "cleaner scandir /trash/",
        ),
    ),
    Mutant(
        "nothing is waited for after a loss of Redis",
        "waiting period",
        (
            Patch("lua:condemn", "elseif NOW < EVICT_FROM then\n  return {'EARLY', int(EVICT_FROM)}\n", ""),
            Patch(
                f"{_SERVICES}.maintenance:Maintenance.refuse_while_waiting",
                "if run.spares or state.evict_from_ms > state.now_ms:",
                "if False:",
            ),
            Patch(
                f"{_SERVICES}.maintenance:Maintenance._waiting_after_loss",
                "return state.evict_from_ms > state.now_ms",
                "return False",
            ),
            Patch(
                f"{_SERVICES}.space:Space.recount_wanted",
                "return state.ready and state.evict_from_ms <= state.now_ms",
                "return state.ready",
            ),
        ),
        "required artifact, and a Redis that is emptied",
        "",
        "scripts, reaping and counting each obey it",
    ),
    Mutant(
        "what a server told its clients is not heeded",
        "upload grace",
        (Patch(f"{_STORE}.promises:Promises.heed", "found.append(made_ns)", "pass"),),
        "uploads to a server and cleaner",
    ),
]
