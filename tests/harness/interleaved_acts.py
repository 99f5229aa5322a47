"""What the actors of a scenario do, and the states that runs begin with.

At the beginning ref ``p/a/ka`` names tree *a* (two files); tree *b* shares one of them. Everything is older
than any horizon. An actor is a function of the site and of services of its own.
"""

from __future__ import annotations

import os
from contextlib import suppress

from harness.interleaved_account import Violation
from harness.interleaved_actors import real
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
from caskeeper.errors import Busy, LeaseLost
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


def happen(site, event, *arguments):
    """One step that is nobody's."""
    actor = current()
    actor.schedule.step(actor, "event", event)
    actor.schedule.changed()
    getattr(site, event)(*arguments)


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
