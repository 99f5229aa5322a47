"""Protections of what is relied upon, taken out: horizons, refresh, fences, recovery, condemning, claims."""

from __future__ import annotations

from harness.mutants import Mutant, Patch

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
    "            if may_go or not self.volume.put_back(taken, place):",
    "            if True:",
)
_NO_CLAIM = Patch(
    f"{_SERVICES}.operations:Operation.claim",
    "            claimed = claim()\n        except",
    "            claimed = True\n        except",
)

RELIED_UPON = [
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
                "            run.horizon_ns, run.oldest = self._maintenance.horizon_at(run.trash.start_ns)\n"
                "            evictor.horizon_ns = run.horizon_ns\n",
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
                '        self._change("touch", path)\n        try:\n'
                "            return system_calls.touch(path)",
                '        age = system_calls.now()\n        self._change("touch", path)\n'
                "        try:\n            return system_calls.touch_late(path, age)",
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
                f"{_STORE}.taking:Taker._end",
                "if age_ns >= self.horizon_ns and put_back_or_refresh(self.volume, taken, place):",
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
                f"{_STORE}.trash:Trash.__init__",
                "self.folder = volume.layout.trash(cleanup_id)",
                'self.folder = volume.layout.trash("shared")',
            ),
            Patch(
                f"{_STORE}.trash:Trash.begin",
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
                "if target and put_back_or_refresh(volume, path, target):",
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
]
