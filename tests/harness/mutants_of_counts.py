"""Protections of names, counts and waiting, taken out."""

from __future__ import annotations

from harness.mutants import Mutant, Patch

_STORE, _SERVICES = "worker.store", "worker.services"
_MINE = "if not mine(ARGV[2]) then\n  return {'TAKEN'}"
_ANYBODY = "if false then\n  return {'TAKEN'}"
_SPARED = Patch(
    f"{_SERVICES}.maintenance:Maintenance._reap",
    "(name not in known and not self._is_starting(run, name, spare=spare_young))",
    "False",
)
NOT_EXPECTED = Patch(
    f"{_SERVICES}.maintenance:Maintenance._begin",
    "for name in self._folders()}",
    "for name in ()}",
)
_LAST_NAME = Patch(f"{_STORE}.trash:unlink", "gone.st_nlink != 1", "False")

COUNTED = [
    Mutant(
        "objects go before their refs",
        "delete in reverse (I7)",
        (
            Patch(
                f"{_SERVICES}.cleanup:Cleanup._evict",
                "        done = take_names(\n",
                "        for raw in [raw for one in steps.values() for raw in one.free]:\n"
                "            evictor.take_object(raw.hex())\n"
                "        done = take_names(\n",
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
                "young = self._make_young(path, digest, stamped=published)",
                "young = not published or self._make_young(path, digest, stamped=True)",
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
        (_SPARED, NOT_EXPECTED),
        "writer, a Redis that is emptied, and a recount",
        "m_recon_spares",
        "after a loss nobody is unregistered whom the recovery has made known",
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
