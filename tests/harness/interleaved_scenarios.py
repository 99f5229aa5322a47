"""Who works at the same time: after the configurations of the model (docs/model/configurations.txt).

At the beginning ref ``p/a/ka`` names tree *a* (two files); tree *b* shares one of them. Everything is older
than any horizon. An actor is a function of the site and of services of its own.
"""

from __future__ import annotations

import os
from contextlib import suppress

from harness.interleaved import Scenario
from harness.interleaved_actors import real
from harness.interleaved_site import Violation
from harness.schedule import Dead, current

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushRequest,
    RemoveRequest,
    VerifyRequest,
)
from caskeeper.coordination import StateLost
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, BlobMissing, Busy, CacheTooFull, LeaseLost, NoSpace
from caskeeper.presence import is_here
from worker.protocols import DIRECTORY, quiet
from worker.server.published import Content, PublishedRefs
from worker.server.rolling import Rolling
from worker.store.objects import Objects
from worker.store.promises import Promises
from worker.store.system_calls import MTIME_S

A, B, A_AGAIN = "p/a/ka", "p/b/kb", "p/a/kl"
SESSION = "s"
#: How an actor may end whose lease ran out, or whose Redis was emptied.
DISTURBED = (LeaseLost, Busy, StateLost)


# -- what actors do ----------------------------------------------------------------------------------------


def run(request):
    return lambda _site, services: services.run(request, quiet())


def commit(tree, *refs):
    """A writer; what it acknowledges while its key is required stays."""

    def act(site, services):
        done = services.run(CommitRequest(path=site.trees[tree], refs=refs), quiet())
        site.acknowledged.update(refs)
        for ref in refs:
            if ref in site.required:
                site.promised[ref] = SESSION
        return done

    return act


def pull(ref):
    def act(site, services):
        done = services.run(PullRequest(ref=ref), quiet())
        if not (done.cached or done.pulled):
            raise Violation("the pull found nothing")
        return done

    return act


def clean(target_bytes=0):
    return run(CleanupRequest(target_bytes=target_bytes))


recount = run(ComputeSizeRequest())
repair = run(VerifyRequest(repair=True))
verify = run(VerifyRequest())
link = run(LinkRequest(ref=A, key="kl"))
#: A holder of the maintenance lease that takes nothing away.
remove_nothing = clean(10**12)
remove = run(RemoveRequest(refs=(A,)))


def extract(site, services):
    """A reader: what it is given is whole at that moment, or it was taken away since."""
    path = services.run(ExtractRequest(ref=A), quiet()).path
    with suppress(FileNotFoundError):
        seen = sorted(real.listdir(path))  # at this very moment: no step of the actor's
        if seen != ["own", "shared"]:
            raise Violation(f"the checkout has {seen}")
    return path


def require(*refs):
    """A session: it marks, then looks; what is there then is promised to it (safety.md section 4)."""

    def act(site, services):
        sessions = services.coordination.sessions
        sessions.open(SESSION)
        _mark(site, services, refs)
        if not sessions.renew(SESSION):
            site.promised.clear()
            site.required.clear()
            sessions.open(SESSION)
            _mark(site, services, refs)

    return act


def renewed(*refs):
    """A session that is open and renews: what it was promised stays promised as long as that succeeds."""

    def act(site, services):
        site.promised.update(dict.fromkeys(refs, SESSION))
        if not services.coordination.sessions.renew(SESSION):
            # over, so it marks again and believes only the new answer
            site.promised.clear()
            services.coordination.sessions.open(SESSION)
            _mark(site, services, refs)

    return act


def _mark(site, services, refs):
    keys = {Ref.parse(ref).key: ref for ref in refs}
    condemned = services.coordination.sessions.require(SESSION, sorted(keys))
    for key, ref in keys.items():
        site.required.add(ref)
        if key not in condemned and is_here(site.layout, Ref.parse(ref)):
            site.promised[ref] = SESSION


class Client:
    """Stands where gRPC's context of a call stands."""

    def is_active(self):
        return True

    def abort(self, code, details):
        raise Violation(f"the server answered {code}: {details}")


def serve(site, services):
    """A server takes two blobs in and ends; a client that was told so binds them within the grace."""
    rolling = Rolling(
        services.desk, Promises(services.volume), subject="test", grace_s=10.0, clock=lambda: 0.0
    )
    blobs = [(Digest.of(data), data) for data in site.messages]
    try:
        missing = rolling.run(
            lambda operation: operation.blobs.find_missing([digest for digest, _ in blobs]),
            stop=lambda: None,
        )
        wanted = [blob for blob in blobs if blob[0] in missing]
        if wanted:
            rolling.run(lambda operation: operation.blobs.write_batch(wanted), stop=lambda: None)
        rolling.close()
    except Dead:
        for tenure in rolling._tenures:  # now, in this thread, where it does nothing; not when collected
            with suppress(Dead):
                tenure.ending.close()
        raise
    refs = PublishedRefs(services, Objects(services.volume), rolling)
    content = Content((Digest.parse(site.bound),), DIRECTORY)
    refs.publish("update", {Ref.parse(B): {}}, lambda _take: content, Client())


def after(event, act):
    """Something happens to the world, and then the actor begins: both at any moment of the others."""

    def both(site, services):
        happen(site, event)
        return act(site, services)

    return both


def happen(site, event):
    """One step that is nobody's."""
    actor = current()
    actor.schedule.step(actor, "event", event)
    actor.schedule.changed()
    getattr(site, event)()


def events(*names):
    """An actor that only makes things happen, one after the other."""

    def act(site, _services):
        for name in names:
            happen(site, name)

    return act


def in_turn(*acts):
    """One after the other, by the same actor."""

    def act(site, services):
        return [one(site, services) for one in acts]

    return act


def renew(number):
    """The thread that renews the leases of the actor with this number."""

    def act(site, _services):
        for operation in list(site.opened[number].desk._running):
            operation.renew()

    return act


# -- the state that runs begin with ------------------------------------------------------------------------


def artifact_a(site):
    site.services().run(CommitRequest(path=site.trees["a"], refs=(A,)), quiet())


def extracted_a(site):
    artifact_a(site)
    site.services().run(ExtractRequest(ref=A), quiet())


def pushed_a(site):
    artifact_a(site)
    site.services().run(PushRequest(refs=(A,)), quiet())


def damaged_a(site):
    """A bit of its own file has turned."""
    artifact_a(site)
    _damage(site)


def shortened_a(site):
    """The end of its own file is gone: every reader sees that."""
    artifact_a(site)
    _damage(site, short=True)


def shortened_and_pushed_a(site):
    """As before, and a remote has it."""
    pushed_a(site)
    _damage(site, short=True)


def _damage(site, *, short=False):
    whole = next(hash_hex for hash_hex, data in site.contents.items() if data.startswith(b"own"))
    path = site.layout.object(whole)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"O")
        if short:
            file.truncate()
    os.chmod(path, 0o444)
    os.utime(path, ns=(site.clock.now_ns, MTIME_S * 10**9))
    site.damaged.add(whole)


def required_a(site):
    """A session that protects it has been open for long."""
    artifact_a(site)
    sessions = site.services().coordination.sessions
    sessions.open(SESSION)
    sessions.require(SESSION, ["ka"])


def remembered(site, *, bound="b"):
    """What a client of a server will upload: tree *b*, which is not here yet."""
    artifact_a(site)
    root = next(root for root, hashes in site.closures.items() if len(hashes) == 2)
    site.bound = f"{root}/{len(site.contents[root])}"
    site.messages = [site.contents[hash_hex] for hash_hex in site.closures[root]]


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
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
