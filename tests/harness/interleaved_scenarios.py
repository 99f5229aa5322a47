"""Who works at the same time: after the configurations of the model (docs/model/configurations.txt)."""

from __future__ import annotations

from harness.interleaved import Scenario
from harness.interleaved_account import Violation
from harness.interleaved_acts import (
    A_AGAIN,
    DISTURBED,
    A,
    B,
    after,
    artifact_a,
    clean,
    commit,
    damaged_a,
    events,
    extract,
    extracted_a,
    in_turn,
    link,
    pull,
    pushed_a,
    recount,
    remembered,
    remove,
    remove_nothing,
    renewed,
    repair,
    require,
    required_a,
    serve,
    shortened_a,
    shortened_and_pushed_a,
    verify,
)
from harness.interleaved_verbs import MORE
from harness.schedule import Dead

from caskeeper.coordination import StateLost
from caskeeper.errors import ArtifactNotFound, BlobMissing, Busy, CacheTooFull, LeaseLost, NoSpace


def _reader(*more):
    return (ArtifactNotFound, *more)


def nothing_vanishes(site, outcomes):
    """What was there, or was acknowledged, is gone only if a cleanup says that it took it."""
    told = set()
    if Dead in outcomes.values():
        return  # who died cannot say what it took
    for outcome in outcomes.values():
        told.update(getattr(outcome, "removed", ()))
        for group in getattr(outcome, "groups", ()):
            if group.action == "evict":
                told.update(group.refs)
    gone = {A, *site.acknowledged} - site.refs() - told
    if gone:
        raise Violation(f"{sorted(gone)} are gone, and no cleanup took them")


_LATE = {
    "allowed": {
        **dict.fromkeys(("writer", "other", "cleaner", "second", "linker"), DISTURBED),
    }
}

SCENARIOS = [
    Scenario("two writers of one tree", {"writer": commit("b", B), "other": commit("b", B)}, artifact_a),
    Scenario(
        "writer and cleaner",
        {"writer": commit("b", B), "cleaner": clean()},
        artifact_a,
        after=nothing_vanishes,
    ),
    Scenario(
        "writer of what is there and cleaner",
        {"writer": commit("a", A), "cleaner": clean()},
        artifact_a,
        after=nothing_vanishes,
    ),
    Scenario(
        "a writer's lease runs out under a cleaner",
        {"writer": commit("b", B), "cleaner": after("expire", clean())},
        artifact_a,
        **_LATE,
    ),
    Scenario(
        "two writers, and a cleaner after their leases",
        {"writer": commit("b", B), "other": commit("b", B), "cleaner": after("expire", clean())},
        artifact_a,
        **_LATE,
    ),
    Scenario(
        "writer and two cleaners",
        {"writer": commit("b", B), "cleaner": clean(), "second": after("expire", clean())},
        artifact_a,
        **_LATE,
    ),
    Scenario(
        "link and cleaner", {"linker": link, "cleaner": clean()}, artifact_a, {"linker": (ArtifactNotFound,)}
    ),
    Scenario(
        "link and two cleaners",
        {"linker": link, "cleaner": clean(), "second": after("expire", clean())},
        artifact_a,
        {**_LATE["allowed"], "linker": (*DISTURBED, ArtifactNotFound, BlobMissing)},
        heals=True,
    ),
    Scenario(
        "reader and cleaner", {"reader": extract, "cleaner": clean()}, artifact_a, {"reader": _reader()}
    ),
    Scenario(
        "reader of a checkout and cleaner",
        {"reader": extract, "cleaner": clean()},
        extracted_a,
        {"reader": _reader()},
    ),
    Scenario(
        "reader and two cleaners",
        {"reader": extract, "cleaner": clean(), "second": after("expire", clean())},
        artifact_a,
        {**_LATE["allowed"], "reader": _reader(*DISTURBED, BlobMissing)},
        heals=True,
    ),
    Scenario(
        "reader, writer and cleaner",
        {"reader": extract, "writer": commit("a", A), "cleaner": clean()},
        artifact_a,
        {"reader": _reader()},
    ),
    Scenario(
        "session and cleaner",
        {"session": require(A), "cleaner": clean()},
        artifact_a,
    ),
    Scenario(
        "session and two cleaners",
        {"session": require(A), "cleaner": clean(), "second": after("expire", clean())},
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "session, writer and cleaner",
        {"session": require(A, B), "writer": in_turn(commit("a", A), commit("b", B)), "cleaner": clean()},
        artifact_a,
    ),
    Scenario(
        "session, writer and two cleaners",
        {
            "session": require(A, B),
            "writer": commit("a", A),
            "cleaner": clean(),
            "second": after("expire", clean()),
        },
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "required artifact, writer and a Redis that is emptied",
        {
            "session": require(A),
            "writer": commit("b", B),
            "cleaner": after("empty", clean()),
            "time": events("wait_after_loss"),
            "second": clean(),
        },
        required_a,
        {**_LATE["allowed"], "session": (StateLost,)},
    ),
    Scenario(
        "required artifact, and a Redis that is emptied",
        {"session": renewed(A), "cleaner": after("empty", clean()), "second": clean()},
        required_a,
        {**_LATE["allowed"], "session": (StateLost,)},
    ),
    Scenario(
        "session that comes back early",
        {"cleaner": clean(), "second": after("empty", recount), "session": require(A)},
        artifact_a,
        {**_LATE["allowed"], "session": (StateLost,)},
    ),
    Scenario(
        "two writers and a cleaner",
        {"writer": commit("b", B), "other": commit("b", B), "cleaner": clean()},
        artifact_a,
    ),
    Scenario(
        "a writer twice and two cleaners",
        {
            "writer": in_turn(commit("b", B), commit("b", B)),
            "cleaner": clean(),
            "second": after("expire", clean()),
        },
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "session, cleaner and another after its lease",
        {"session": require(A), "cleaner": clean(), "second": after("expire", remove_nothing)},
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "two writers, of which one is late, and a cleaner",
        {
            "other": commit("b", B),
            "time": events("expire"),
            "writer": commit("b", B),
            "cleaner": clean(),
        },
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "writer, cleaner and recount after their leases",
        {
            "writer": commit("b", B),
            "cleaner": after("expire", clean()),
            "second": after("expire", recount),
        },
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "writer, a Redis that is emptied, and a recount",
        {
            "writer": commit("b", B),
            "cleaner": after("empty", recount),
            "second": after("wait_after_loss", recount),
        },
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "reader of a checkout and two cleaners",
        {"reader": extract, "cleaner": clean(), "second": after("expire", clean())},
        extracted_a,
        {**_LATE["allowed"], "reader": _reader(*DISTURBED, BlobMissing)},
        heals=True,
    ),
    Scenario(
        "writer and a Redis that is emptied",
        {
            "writer": commit("b", B),
            "cleaner": after("empty", clean()),
            "second": after("wait_after_loss", clean()),
        },
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario(
        "reader and a Redis that is emptied",
        {
            "reader": extract,
            "cleaner": after("empty", clean()),
            "second": after("wait_after_loss", clean()),
        },
        artifact_a,
        {**_LATE["allowed"], "reader": _reader(*DISTURBED, BlobMissing)},
        heals=True,
    ),
    Scenario("pull of what is here and cleaner", {"puller": pull(A), "cleaner": clean()}, pushed_a),
    Scenario(
        "remove and writer", {"remover": remove, "writer": commit("a", A)}, artifact_a, {"remover": (Busy,)}
    ),
    Scenario(
        "remove and reader",
        {"remover": remove, "reader": extract},
        artifact_a,
        {"remover": (Busy,), "reader": _reader()},
    ),
    Scenario(
        "recount and writer",
        {"recounter": recount, "writer": commit("b", B)},
        artifact_a,
        {"writer": (LeaseLost,)},
    ),
    Scenario(
        "recount, writer and cleaner",
        {"recounter": recount, "writer": commit("b", B), "cleaner": clean()},
        artifact_a,
        {"writer": (LeaseLost,)},
    ),
    Scenario(
        "cleaner, recount after its lease",
        {"cleaner": clean(), "recounter": after("expire", recount)},
        artifact_a,
        {**_LATE["allowed"], "recounter": DISTURBED},
    ),
    Scenario(
        "writer, recount after its lease",
        {"writer": commit("b", B), "recounter": after("expire", recount)},
        artifact_a,
        _LATE["allowed"],
    ),
    Scenario("uploads to a server and cleaner", {"server": serve, "cleaner": clean()}, remembered),
    Scenario(
        "uploads to a server that loses its leases",
        {"server": serve, "cleaner": after("expire", clean())},
        remembered,
        {"server": DISTURBED},
    ),
    Scenario(
        "repair of what is whole and writer", {"repairer": repair, "writer": commit("b", B)}, artifact_a
    ),
    Scenario("verify and cleaner", {"verifier": verify, "cleaner": clean()}, artifact_a),
    Scenario(
        "repair of damage and writer of the same",
        {"repairer": repair, "writer": commit("a", A)},
        damaged_a,
        {"repairer": (Busy,), "writer": (Busy,)},
        heals=True,
    ),
    Scenario(
        "repair of damage and cleaner",
        {"repairer": repair, "cleaner": clean()},
        damaged_a,
        {"repairer": (Busy,)},
        heals=True,
    ),
    Scenario(
        "reader that heals and writer",
        {"reader": extract, "writer": commit("a", A)},
        shortened_a,
        {"reader": _reader(Busy), "writer": (Busy,)},
        heals=True,
    ),
    Scenario(
        "two readers that heal from a remote",
        {"reader": extract, "other": extract},
        shortened_and_pushed_a,
        {"reader": (Busy,), "other": (Busy,)},
        heals=True,
    ),
    Scenario(
        "reader that heals from a remote and cleaner",
        {"reader": extract, "cleaner": clean()},
        shortened_and_pushed_a,
        {"reader": _reader(Busy)},
        heals=True,
    ),
    Scenario(
        "two writers and room for one",
        {"writer": commit("a", A_AGAIN), "other": commit("b", B)},
        artifact_a,
        {"writer": (NoSpace, CacheTooFull), "other": (NoSpace, CacheTooFull)},
        quota_bytes=7 * 4096,
        slow=4,
    ),
    Scenario(
        "writer without room, reader",
        {"writer": commit("b", B), "reader": extract},
        artifact_a,
        {"writer": (NoSpace, CacheTooFull), "reader": _reader()},
        quota_bytes=7 * 4096,
        slow=4,
    ),
    *MORE,
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
