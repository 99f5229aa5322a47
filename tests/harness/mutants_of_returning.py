"""Protections of what comes back: an operation after a loss, and what a cleanup had taken; and of pins."""

from __future__ import annotations

from harness.mutants import Mutant, Patch
from harness.mutants_of_counts import NOT_EXPECTED

_STORE, _SERVICES = "worker.store", "worker.services"

COME_BACK = [
    Mutant(
        "an operation comes back without its claims",
        "register: claims, in the same step",
        (Patch("lua:register", "if not claim_from(9, record) then\n  return {'CONDEMNED'}\nend\n", ""),),
        "reader that renews, and a Redis that is emptied",
        "m_back_without_claim",
        focus=("reader link /objects/", "reader stat /objects/", "cleaner take /refs/"),
    ),
    Mutant(
        "an operation whose folder was taken settles like any other",
        "settle of a fenced operation keeps the rest",
        (Patch("lua:settle", "if ARGV[4] == '1' then", "if false then"),),
        "writer, recount after its lease",
        "m_fenced_settle_drops",
        guide=(
            "writer script register > recounter",
            "recounter take /tmp/ > writer",
            "writer publish /objects/ > recounter",
            "recounter unlink /trash/ > writer",
        ),
        switches=4,
    ),
    Mutant(
        "what was to go back is deleted where something stands in its way",
        "put back: what stands there is made as young first",
        (
            Patch(
                f"{_STORE}.taking:Taker._end",
                "put_back_or_refresh(self.volume, taken, place)",
                "self.volume.put_back(taken, place)",
            ),
        ),
        "an object that goes back where another was published",
        "m_eexist_unlinks",
        guide=(
            "cleaner stat /o-15 > other",
            "other publish /objects/15 > second",
            "second take /objects/15 > writer",
            "writer touch /closures/ > second",
            "second stat /o-15 > other",
            "other lstat /objects/15 > second",
        ),
        switches=6,
    ),
    Mutant(
        "a pin does not ask whether it still has the lease",
        "pin: the lease is still its own",
        (
            Patch(
                f"{_SERVICES}.pins:Pinning._still_mine",
                "self._maintenance.coordination.maintenance.renew(run.holder, run.epoch)",
                "pass",
            ),
        ),
        "pin, and a cleaner after its lease",
        focus=("pinner stage", "pinner replace", "cleaner take /refs/"),
    ),
    Mutant(
        "a new epoch does not know what was granted in the last",
        "recovery: what operations say that they have reserved",
        (NOT_EXPECTED,),
        "writer with a reservation, and another after a Redis that is emptied",
        focus=("writer stage /tmp/", "writer symlink /reserved"),
    ),
]
