"""The service `remotes.check` against servers that are well, read-only, of another kind, dead or silent."""

from __future__ import annotations

import contextlib
import logging
import threading

import pytest
from harness.lying_server import LyingServer, black_hole, nobody_listening
from harness.remotes import HURRY, Code

from caskeeper.config import Precedence, RemoteSpec, Settings
from caskeeper.contract import RemotesCheckRequest, RemotesCheckResult
from caskeeper.errors import Cancelled
from worker.protocols import quiet
from worker.remote import RemotePool
from worker.services.remotes import Remotes


@pytest.fixture
def server():
    with LyingServer() as running:
        yield running


@pytest.fixture
def pool():
    made = RemotePool(HURRY._replace(probe_s=1.0))
    yield made
    made.close()


def checker(pool, *specs, projects=None, deadline_s=5.0, **more):
    settings = Settings(cachedir="/c", artifacts=specs, projects=projects or {}, **more)
    return Remotes(settings=settings, remotes=pool, deadline_s=deadline_s)


def check(pool, *specs, project=None, **options):
    return checker(pool, *specs, **options)(RemotesCheckRequest(project=project), quiet()).remotes


def test_a_remote_that_is_well_says_what_it_can(server, pool):
    plain, pushed = (
        RemoteSpec(server.url),
        RemoteSpec(server.url, push=True, where="c.yaml [line 1 column 2]"),
    )
    one, two = check(pool, plain, pushed)
    assert (one.usable, one.fetch, one.push, one.protocol, one.reason) == (
        True, True, False, "reference-storage", "",
    )  # fmt: skip
    assert (two.usable, two.fetch, two.push, two.push_configured) == (True, True, True, True)
    assert two.where == "c.yaml [line 1 column 2]"
    assert one.latency_ms > 0


def test_a_refused_push_leaves_fetching_with_one_warning(server, pool, caplog):
    """D-15; AC-19's third row as amended."""
    server.allow_updates = False
    (found,) = check(pool, RemoteSpec(server.url, push=True))
    assert (found.usable, found.fetch, found.push) == (True, True, False)
    assert found.reason == "the server does not allow push"
    assert [(one.levelno, one.url) for one in caplog.records] == [(logging.WARNING, server.url)]


def test_a_push_that_nobody_wants_is_nothing_to_warn_of(server, pool, caplog):
    server.allow_updates = False
    assert check(pool, RemoteSpec(server.url))[0].reason == ""
    assert caplog.records == []


@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.UNAUTHENTICATED])
def test_credentials_for_fetching_alone_are_enough_to_fetch(server, pool, code):
    server.answers |= {"Status": code, "BatchUpdateBlobs": code}
    (found,) = check(pool, RemoteSpec(server.url, push=True))
    assert (found.fetch, found.push) == (True, False)
    assert code.name in found.reason


def test_each_remote_of_no_use_is_dropped_with_one_warning_and_its_reason(server, pool, caplog, tmp_path):
    """AC-19, AC-20, AC-22: refused, silent, of another kind, no url, no file; the order is the spec's."""
    server.answers["Status"] = Code.UNIMPLEMENTED
    with nobody_listening() as dead, black_hole() as silent:
        found = check(
            pool,
            RemoteSpec(dead, push=True),
            RemoteSpec(silent),
            RemoteSpec(server.url),
            RemoteSpec("ftp://host"),
            RemoteSpec("https://localhost:1", server_cert=f"{tmp_path}/none.pem"),
            RemoteSpec("ftp://index", type="index"),
        )
        urls = [dead, silent, server.url, "ftp://host", "https://localhost:1", "ftp://index"]
    assert [one.url for one in found] == urls
    assert not any(one.usable or one.fetch or one.push or one.protocol for one in found)
    for one, reason in zip(
        found,
        ("UNAVAILABLE", "DEADLINE_EXCEEDED", "none of Remote Asset", "scheme", "none.pem", "scheme"),
        strict=True,
    ):
        assert reason in one.reason
        assert one.latency_ms is None
    assert [one.url for one in caplog.records if one.levelno == logging.WARNING] == urls


@contextlib.contextmanager
def asked_together(count, method):
    """Servers that answer ``method`` only when every one of them has been asked."""
    everyone = threading.Barrier(count)

    class Waiting(LyingServer):
        def called(self, called, request, context):
            if called == method:
                everyone.wait(timeout=20)
            super().called(called, request, context)

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Waiting()) for _ in range(count)]


def test_all_are_asked_at_once(pool):
    """D-22: each server answers only when every one has been asked."""
    with asked_together(4, "Status") as servers:
        patient = RemotePool(HURRY._replace(probe_s=20.0))
        found = check(patient, *(RemoteSpec(server.url) for server in servers), deadline_s=30.0)
        patient.close()
    assert [one.usable for one in found] == [True] * 4


def test_one_deadline_covers_all_and_the_others_are_not_lost(server):
    """The remotes' own patience is far longer: what ends the wait is the check's own clock."""
    patient = RemotePool(HURRY._replace(probe_s=300.0))
    with black_hole() as first, black_hole() as second:
        specs = [RemoteSpec(first), RemoteSpec(server.url), RemoteSpec(second)]
        found = check(patient, *specs, deadline_s=1.0)
    patient.close()
    assert [one.usable for one in found] == [False, True, False]
    assert "no answer within 1 s" in found[0].reason


def test_a_check_that_is_cancelled_does_not_wait_for_the_silent(pool):
    def check_cancelled():
        raise Cancelled("asked to stop")

    with black_hole() as silent, pytest.raises(Cancelled):
        checker(pool, RemoteSpec(silent), deadline_s=300.0)(
            RemotesCheckRequest(), quiet()._replace(check=check_cancelled)
        )


def test_it_asks_again_each_time(server, pool):
    service = checker(pool, RemoteSpec(server.url, push=True))
    assert service(RemotesCheckRequest(), quiet()).remotes[0].push
    server.allow_updates = False
    assert not service(RemotesCheckRequest(), quiet()).remotes[0].push
    server.answers["GetCapabilities"] = Code.INTERNAL
    assert not service(RemotesCheckRequest(), quiet()).remotes[0].usable
    server.answers.clear()
    assert service(RemotesCheckRequest(), quiet()).remotes[0].usable


def test_without_remotes_nobody_is_contacted_and_nothing_said(pool, caplog):
    assert check(pool) == ()
    assert caplog.records == []


def test_a_spec_that_several_projects_use_is_asked_once_and_none_leaks_into_another(server, pool):
    """AC-18, D-11."""
    shared, own = RemoteSpec(server.url), RemoteSpec(server.url, push=True)
    options = {"projects": {"p": (own,), "q": (shared,)}}
    found = check(pool, shared, **options)
    assert [(one.push, one.projects) for one in found] == [(True, ("p",)), (False, ("p", "q", "*"))]
    assert sum(method == "GetCapabilities" for method, _request in server.calls) == 2
    (only,) = check(pool, shared, project="q", **options)
    assert (only.push, only.projects) == (False, ("q",))


def test_has_remotes_as_the_last_check_found_them(server, pool):
    """AC-23 to AC-25."""
    with nobody_listening() as dead:
        service = checker(
            pool,
            RemoteSpec(dead, push=True),
            projects={"p": (RemoteSpec(server.url, push=True),), "q": (RemoteSpec(server.url),)},
            precedence=Precedence(replacing=frozenset({"p", "q"})),
        )
        assert not service.has_fetch_remotes()
        assert not service.has_push_remotes("p")
        service(RemotesCheckRequest(), quiet())
    asked = ("p", "q", "another", None)
    assert [service.has_fetch_remotes(name) for name in asked] == [True, True, False, True]
    assert [service.has_push_remotes(name) for name in asked] == [True, False, False, True]
    assert not RemotesCheckResult().has_fetch_remotes("p")


def test_first_contact_with_several_is_made_at_once_and_each_of_them_once(pool):
    """What pull and push begin with: several silent ones cost one deadline together (D-22)."""
    with asked_together(3, "Status") as servers:
        patient = RemotePool(HURRY._replace(probe_s=20.0))
        specs = [RemoteSpec(server.url, push=True) for server in servers]
        patient.meet([*specs, RemoteSpec("ftp://nowhere")])
        patient.meet(specs)
        assert [patient.get(spec).writable for spec in specs] == [True] * 3
        patient.meet(specs)
        patient.close()
        asked = [sum(method == "Status" for method, _request in server.calls) for server in servers]
    assert asked == [1, 1, 1]


def test_an_index_and_a_storage_are_checked_each_by_itself(pool):
    """Both halves are needed to fetch, and to push (wire-protocols section 9)."""
    named = LyingServer(indexes=("remote-asset",), holds=False)
    with named, LyingServer(indexes=()) as held, nobody_listening() as dead:
        index = RemoteSpec(named.url, push=True, type="index")
        storage = RemoteSpec(held.url, push=True, type="storage")
        service = checker(
            pool,
            projects={"both": (storage, index), "half": (index, RemoteSpec(dead, type="storage"))},
            precedence=Precedence(replacing=frozenset({"both", "half"})),
        )
        found = {one.type: one for one in service(RemotesCheckRequest(), quiet()).remotes if one.usable}
    assert (found["storage"].protocol, found["storage"].push) == ("storage", True)
    assert (found["index"].protocol, found["index"].reason) == ("remote-asset", "it has no Remote Asset Push")
    assert [service.has_fetch_remotes(name) for name in ("both", "half", None)] == [True, False, True]
    assert not service.has_push_remotes("both")


def test_first_contact_with_an_index_is_made_with_its_storages_at_once():
    """D-22: a silent index and a silent storage cost one deadline."""
    with asked_together(3, "GetCapabilities") as waiting:
        index, *storages = waiting
        held = tuple(RemoteSpec(server.url, push=True, type="storage") for server in storages)
        spec = RemoteSpec(index.url, push=True, type="index", storages=held)
        patient = RemotePool(HURRY._replace(probe_s=20.0))
        patient.meet([spec])
        assert patient.get(spec).writable
        patient.close()
