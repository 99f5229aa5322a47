"""More verbs against a cleaner, and the thread that renews leases as an actor of its own."""

from __future__ import annotations

from contextlib import suppress

from harness.interleaved import Scenario
from harness.interleaved_account import Violation
from harness.interleaved_actors import real
from harness.interleaved_acts import (
    A_AGAIN,
    DISTURBED,
    A,
    B,
    after,
    artifact_a,
    clean,
    commit,
    extract,
    happen,
    in_turn,
    renew,
)
from harness.interleaved_site import PINNED
from harness.old_cache import OldCache

from caskeeper.artifact import Ref
from caskeeper.contract import DiffRequest, DiffResult, ImportRequest, PushRequest
from caskeeper.errors import ArtifactNotFound, CacheTooFull, LeaseLost, NoSpace
from worker.protocols import quiet

# -- what actors do ----------------------------------------------------------------------------------------


def take_over(site, services):
    """An import of tree *b* from an old cache, as ref ``p/b/kb``."""
    (outcome,) = services.run(ImportRequest(path=f"{site.folder}/old"), quiet()).artifacts
    if outcome.outcome != "imported":
        raise Violation(f"the import answers {outcome}")
    site.acknowledged.add(B)


def push(site, services):
    """A reader; the remote never has a ref without its content."""
    blobs, index = site.remote.blobs, site.remote.index
    blobs.data.clear()
    index.refs.clear()
    try:
        pushed = services.run(PushRequest(refs=(A,)), quiet()).pushed
        if not pushed:
            raise Violation("the push found everything there")
    finally:
        published = index.refs.get(Ref.parse(A))
        whole = next(hashes for hashes in site.closures.values() if len(hashes) == 3)
        if published is not None and not blobs.data.keys() >= set(whole):
            raise Violation("the remote has a ref without its content")


def diff(site, services):
    """A reader of two trees, which differ by one file."""
    found = services.run(DiffRequest(ref_a=A, ref_b=B), quiet())
    if found != DiffResult(removed=("own",)):
        raise Violation(f"the diff answers {found}")


def pin(site, services):
    """What is here when it returns stays."""
    services.pins.pin(["p/a/*"], quiet())
    with suppress(FileNotFoundError):
        real.lstat(f"{site.layout.refs}/{A}")  # at this very moment: no step of the actor's
        site.promised[A] = PINNED


def expires(*numbers):
    """The leases of the actors with these numbers run out, and nobody else's."""

    def act(site, _services):
        happen(site, "expire", *numbers)

    return act


def happens(event):
    return lambda site, _services: happen(site, event)


def refused(act):
    """It may be refused because of a loss."""

    def tried(site, services):
        with suppress(*DISTURBED):
            act(site, services)

    return tried


def lost_and_renewed(number):
    """Redis is emptied; the actor with this number comes back in time; then everything may go."""
    return in_turn(
        happens("empty"), refused(clean()), renew(number), happens("wait_after_loss"), refused(clean())
    )


# -- the state that runs begin with ------------------------------------------------------------------------


def old_cache(site):
    artifact_a(site)
    old = OldCache(f"{site.folder}/old")
    old.name(B, old.add_tree({"shared": (b"shared content", False)}), age_s=10)


def both(site):
    artifact_a(site)
    commit("b", B)(site, site.services())
    site.acknowledged.clear()


NO_ROOM = (NoSpace, CacheTooFull, LeaseLost)
_LATE = {"cleaner": DISTURBED, "second": DISTURBED}

MORE = [
    Scenario("import and cleaner", {"importer": take_over, "cleaner": clean()}, old_cache),
    Scenario(
        "push and cleaner", {"pusher": push, "cleaner": clean()}, artifact_a, {"pusher": (ArtifactNotFound,)}
    ),
    Scenario("diff and cleaner", {"differ": diff, "cleaner": clean()}, both, {"differ": (ArtifactNotFound,)}),
    Scenario("pin and cleaner", {"pinner": pin, "cleaner": clean()}, artifact_a),
    Scenario(
        "pin, and a cleaner after its lease",
        {"pinner": pin, "cleaner": after("expire", clean())},
        artifact_a,
        {"pinner": DISTURBED, "cleaner": DISTURBED},
    ),
    Scenario(
        "cleaner, and a pin after its lease",
        {"cleaner": clean(), "pinner": after("expire", pin)},
        artifact_a,
        {"pinner": DISTURBED, "cleaner": DISTURBED},
    ),
    Scenario(
        "reader that renews, and a Redis that is emptied",
        {"reader": extract, "cleaner": lost_and_renewed(0)},
        artifact_a,
        {"reader": (ArtifactNotFound, LeaseLost)},  # it may have begun since, and stood still
    ),
    Scenario(
        "writer that renews, and a Redis that is emptied",
        {"writer": commit("b", B), "cleaner": lost_and_renewed(0)},
        artifact_a,
        {"writer": (LeaseLost,)},
    ),
    Scenario(
        "writer, the thread that renews its lease, and a Redis that is emptied",
        {
            "writer": commit("b", B),
            "renewal": in_turn(renew(0), renew(0)),
            "cleaner": in_turn(happens("empty"), refused(clean())),
        },
        artifact_a,
    ),
    Scenario(
        "writer, the thread that renews its lease, and a cleaner after it",
        {
            "writer": commit("b", B),
            "renewal": in_turn(renew(0), renew(0)),
            "cleaner": after("expire", clean()),
        },
        artifact_a,
        {**_LATE, "writer": DISTURBED},
    ),
    Scenario(
        "writer with a reservation, and another after a Redis that is emptied",
        {"writer": commit("b", B), "other": in_turn(happens("empty"), commit("a", A_AGAIN))},
        artifact_a,
        {"writer": NO_ROOM, "other": NO_ROOM},
        quota_bytes=8 * 4096,  # of which each finds room for itself
        slow=2,
    ),
    Scenario(
        "an object that goes back where another was published",
        {
            "writer": commit("b", B),
            "other": commit("b", B),
            "cleaner": clean(),
            "second": in_turn(expires(2), clean(), expires(1), clean()),
        },
        artifact_a,
        {**_LATE, "writer": DISTURBED, "other": DISTURBED},
        most_switches=1,
    ),
]
