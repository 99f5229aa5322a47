"""What each verb costs, by number: system calls for each file, questions to Redis, calls to a remote.

Bounds are what the code needs now. One that is exceeded is a regression, or a decision: then it is raised
here, with the reason in the change. One that is met with room to spare is lowered.
"""

import os
from collections import Counter
from dataclasses import replace

import pytest
from harness.coordination import fake_coordination
from harness.costs import calls_counted, redis_counted, system_calls_counted
from harness.fleet import settings_for
from harness.services import fake_services
from harness.serving import entry, make_old, serving

from caskeeper.config.remotes import RemoteSpec
from caskeeper.config.settings import LeaseSettings
from caskeeper.contract import (
    CommitRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushRequest,
    RemoveRequest,
)
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import quiet
from worker.server.app import serve
from worker.store.parallel import THREADS
from worker.wiring import build

REF = "p/e/k"
#: A tree of few files, and the same with more of them.
FEW, MANY = 50, 250
#: Of what does not grow with the tree a little does by chance: a folder of the fan-out that is made.
CHANCE = 0.2

COMMIT, AGAIN = "commit", "commit again"
LINKS, COPY = "extract by links", "extract as a copy"
PUSH, PULL, PULLED = "push", "pull", "pull of what is here"
REMOVE = "remove"

#: System calls for each file of 100 bytes, of this side alone.
PER_FILE = {COMMIT: 10.2, AGAIN: 6.1, LINKS: 2.2, COPY: 6.2, PUSH: 4.1, PULL: 7.2, PULLED: 2.1, REMOVE: 7.2}
#: And for each blob of a server.
PER_BLOB = {"write": 8.0, "read": 3.0, "find": 2.0}


def tree(tmp_path, name, files):
    """``files`` small files, fifty a folder."""
    for number in range(files):
        folder = tmp_path / name / str(number // 50)
        if number % 50 == 0:
            folder.mkdir(parents=True)
        (folder / str(number)).write_bytes(f"{name} {number}".ljust(100).encode())
    return str(tmp_path / name)


def run(services, request):
    return services.run(request, quiet())


@pytest.mark.parametrize("verb", PER_FILE)
def test_system_calls_of_a_verb_for_each_file(verb, tmp_path, monkeypatch):
    costs = [_system_calls(verb, tmp_path, monkeypatch, files) for files in (FEW, MANY)]
    more = Counter({name: count - costs[0][name] for name, count in costs[1].items()})
    each = {name: round(count / (MANY - FEW), 2) for name, count in more.most_common() if count}
    assert 0 < sum(each.values()) <= PER_FILE[verb] + CHANCE, each


def _system_calls(verb, tmp_path, monkeypatch, files):
    """Those of the verb with a tree of so many files."""
    place = tmp_path / f"{verb} {files}"
    place.mkdir()
    leases = LeaseSettings(clock_margin_s=0.0)
    services = fake_services(place, urls=["http://a"], coordination=fake_coordination(leases=leases))
    source = tree(place, "source", files)
    if verb != COMMIT:
        run(services, CommitRequest(path=source, refs=(REF,)))
    if verb == PULL:
        run(services, PushRequest(refs=(REF,)))
        remote = services.remotes.remotes
        services.close()
        (place / "other").mkdir()
        services = fake_services(place / "other", urls=["http://a"])
        services.remotes.remotes = remote
    request = {
        COMMIT: CommitRequest(path=source, refs=(REF,)),
        AGAIN: CommitRequest(path=source, refs=(REF,)),
        LINKS: ExtractRequest(ref=REF),
        COPY: ExtractRequest(ref=REF, destination=str(place / "copy")),
        PUSH: PushRequest(refs=(REF,)),
        PULL: PullRequest(ref=REF),
        PULLED: PullRequest(ref=REF),
        REMOVE: RemoveRequest(refs=(REF,)),
    }[verb]
    for folder, _folders, names in os.walk(services.layout.objects if verb == REMOVE else place / "none"):
        for name in names:
            make_old(f"{folder}/{name}")
    with system_calls_counted(monkeypatch) as seen:
        run(services, request)
    services.close()
    return seen


@pytest.fixture
def site(tmp_path, valkey):
    """``site(name, url)``: services on a volume of their own; all end with the test."""
    opened = []

    def open_site(name, url=""):
        artifacts = (RemoteSpec(url, push=True),) if url else ()
        # Leases that nobody renews within a test: what the clock asks is no cost of a verb.
        settings = settings_for(
            tmp_path / name, leases=LeaseSettings(clock_margin_s=0.0), artifacts=artifacts
        )
        (tmp_path / name).mkdir()
        made = build(replace(settings, roots=(str(tmp_path),)), redis_url=f"{valkey.url}?db={len(opened)}")
        opened.append(made)
        return made

    yield open_site
    for made in opened:
        made.close()


@pytest.fixture
def served(site):
    """The url of a server on a volume of its own."""
    running = serve(site("served"), listen="127.0.0.1:0")
    yield f"http://{running.address}"
    running.stop(0)


READER = ["register", "hold", "recency_touch", "settle"]
#: Room is asked for in slices of 16 MiB, here once.
ROOM = ["read", "reserve"]
#: Questions to Redis, each one round trip, in their order.
ASKED = {
    COMMIT: ["register", *ROOM, "hold", "note", "settle"],
    AGAIN: ["register", *ROOM, "hold", "note", "settle"],
    LINKS: READER,
    "extract of what is laid out": READER,
    COPY: READER,
    PUSH: ["register", "hold", "breaker_look", "turn_take", "turn_release", "settle", "recency_touch"],
    "push of what is there": ["register", "hold", "breaker_look", "settle", "recency_touch"],
    PULL: [
        *("register", "breaker_look", "turn_take", "hold", *ROOM, "hold", "note"),
        *("turn_release", "settle"),
    ],
    PULLED: ["register", "hold", "recency_touch", "settle"],
    "link": ["register", "hold", *ROOM, "hold", "note", "settle"],
    REMOVE: [
        *("acquire", "state", "ready", "give_back", "state", "mark_dying", "read"),
        *("condemn", "uncondemn", "condemn", "uncondemn", "give_back", "note", "lease_release"),
    ],
    "look for upkeep, after every job": ["state"],
}


@pytest.mark.parametrize("files", [FEW, MANY])
def test_questions_to_redis_of_each_verb_however_large_the_tree_is(
    files, site, served, tmp_path, monkeypatch
):
    ours, theirs = site("ours", served), site("theirs", served)
    source = tree(tmp_path, "source", files)
    asked = {}

    def ask(name, services, request):
        with redis_counted(services.coordination, monkeypatch) as questions:
            run(services, request)
        asked[name] = questions

    run(ours, CommitRequest(path=tree(tmp_path, "first", 1), refs=("p/e/first",)))
    run(ours, PushRequest(refs=("p/e/first",)))  # the first one also says that the remote answers
    run(theirs, PullRequest(ref="p/e/first"))
    ask(COMMIT, ours, CommitRequest(path=source, refs=(REF,)))
    ask(AGAIN, ours, CommitRequest(path=source, refs=(REF,)))
    ask(LINKS, ours, ExtractRequest(ref=REF))
    ask("extract of what is laid out", ours, ExtractRequest(ref=REF))
    ask(COPY, ours, ExtractRequest(ref=REF, destination=f"{tmp_path}/copy"))
    ask(PUSH, ours, PushRequest(refs=(REF,)))
    ask("push of what is there", ours, PushRequest(refs=(REF,)))
    ask(PULL, theirs, PullRequest(ref=REF))
    ask(PULLED, theirs, PullRequest(ref=REF))
    ask("link", ours, LinkRequest(ref=REF, key="k2"))
    ask(REMOVE, ours, RemoveRequest(refs=(REF,)))
    with redis_counted(ours.coordination, monkeypatch) as questions:
        ours.upkeep_wanted()
    asked["look for upkeep, after every job"] = questions
    for name in (COMMIT, AGAIN):  # by two threads, which may both find that there is no room yet
        asked[name] = _without_repeated_room(asked[name])
    assert asked == ASKED


def _without_repeated_room(questions):
    room = [name for name in questions if name in ROOM]
    assert sorted(room) == sorted(ROOM * (len(room) // 2))
    assert len(room) <= 2 * THREADS * len(ROOM) // 2
    first = questions.index(ROOM[0])
    rest = [name for name in questions if name not in ROOM]
    return [*rest[:first], *ROOM, *rest[first:]]


#: Calls to a server, by method.
CALLS = {
    "first push": {
        "GetCapabilities": 1,
        "Status": 1,
        "GetActionResult": 1,
        "FetchBlob": 2,
        "FetchDirectory": 1,
        "BatchReadBlobs": 1,
        "FindMissingBlobs": 1,
        "BatchUpdateBlobs": 3,
        "PushBlob": 1,
        "PushDirectory": 1,
    },
    PUSH: {
        "FetchDirectory": 1,
        "FetchBlob": 1,
        "FindMissingBlobs": 1,
        "BatchUpdateBlobs": 2,
        "PushDirectory": 1,
    },
    "push of what is there": {"FetchDirectory": 1},
    PULL: {"FetchDirectory": 1, "BatchReadBlobs": 3},  # one for each level of folders, one for the files
    PULLED: {},
    "pull of what nobody has": {"FetchDirectory": 1, "FetchBlob": 1},
}


@pytest.mark.parametrize("files", [FEW, MANY])
def test_calls_to_a_server_of_each_verb_however_large_the_tree_is(files, site, served, tmp_path, monkeypatch):
    ours, theirs = site("ours", served), site("theirs", served)
    run(ours, CommitRequest(path=tree(tmp_path, "source", files), refs=(REF,)))
    run(ours, CommitRequest(path=tree(tmp_path, "first", 1), refs=("p/e/first",)))
    asked = {}

    def ask(name, services, request):
        with calls_counted(monkeypatch) as calls:
            run(services, request)
        asked[name] = dict(calls)

    ask("first push", ours, PushRequest(refs=("p/e/first",)))
    ask(PUSH, ours, PushRequest(refs=(REF,)))
    ask("push of what is there", ours, PushRequest(refs=(REF,)))
    run(theirs, PullRequest(ref="p/e/first"))
    ask(PULL, theirs, PullRequest(ref=REF))
    ask(PULLED, theirs, PullRequest(ref=REF))
    ask("pull of what nobody has", theirs, PullRequest(ref="p/e/none"))
    assert asked == CALLS


def test_system_calls_of_a_server_for_each_blob(site, monkeypatch):
    costs = {}
    with system_calls_counted(monkeypatch) as seen, serving(site("served")) as peer:
        for what, files in (("first", 10), (FEW, FEW), (MANY, MANY)):
            blobs = [f"{what} {number}".ljust(100).encode() for number in range(files)]
            seen.clear()
            digests = peer.upload(*blobs)
            costs["write", files] = seen.copy()
            seen.clear()
            request = reapi.BatchReadBlobsRequest(digests=[entry(one, b"").digest for one in digests])
            assert len(peer.cas.BatchReadBlobs(request).responses) == files
            costs["read", files] = seen.copy()
            seen.clear()
            assert peer.missing(*digests) == []
            costs["find", files] = seen.copy()
    for what in ("write", "read", "find"):
        each = {
            name: (count - costs[what, FEW][name]) / (MANY - FEW) for name, count in costs[what, MANY].items()
        }
        assert 0 < sum(each.values()) <= PER_BLOB[what] + CHANCE, (what, each)
