"""One naming function for refs, remotes and extracts (AC-5, D-9), and what counts as use (AC-49, D-29)."""

from __future__ import annotations

import os

import pytest
from harness.services import fake_services, make_tree

from caskeeper.artifact import Element, Ref
from caskeeper.config import RemoteSpec, Settings
from caskeeper.contract import (
    CommitRequest,
    DiffRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushRequest,
    RemoveRequest,
)
from caskeeper.session import Session
from worker.protocols import quiet
from worker.services.outcomes import fetch_specs, push_specs

A, B = "http://a", "http://b"
ODD = "demo/app+dev.bst/k1"


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=[A, B])
    yield made
    made.close()


def commit(services, tmp_path, *refs):
    folder = tmp_path / refs[0].replace("/", "-")
    folder.mkdir(exist_ok=True)
    (folder / "content").write_text(refs[0])
    services.run(CommitRequest(path=str(folder), refs=refs), quiet())


def test_an_odd_element_has_one_name_everywhere(services, tmp_path):
    """Here, on every remote, in its extract; and a removal finds the extract."""
    services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(ODD,)), quiet())
    services.run(PushRequest(refs=(ODD,)), quiet())
    path = services.run(ExtractRequest(ref=ODD), quiet()).path
    assert os.path.isfile(f"{services.layout.refs}/demo/app_dev/k1")
    assert [str(ref) for ref in services.remotes.remotes[A].index.refs] == ["demo/app_dev/k1"]
    assert os.path.dirname(path) == f"{services.layout.extracts}/demo/app_dev"
    services.run(RemoveRequest(refs=("demo/app_dev/k1",)), quiet())
    assert not os.path.exists(path)
    assert os.listdir(services.layout.extracts) == os.listdir(services.layout.refs) == []


OLDER, REF, NEWER = "demo/b/1", "demo/a/1", "demo/c/1"


@pytest.fixture
def three(services, tmp_path):
    for ref in (OLDER, REF, NEWER):
        commit(services, tmp_path, ref)
    services.run(PushRequest(refs=(OLDER, REF, NEWER)), quiet())
    for ref in (OLDER, REF, NEWER):
        services.run(ExtractRequest(ref=ref), quiet())
    return services


def require(services):
    with Session(services.coordination, services.layout) as session:
        session.require(Element("demo", "a", "1"))


USES = {
    "commit": lambda s, tmp_path: commit(s, tmp_path, REF),
    "pull": lambda s, _: s.run(PullRequest(ref=REF), quiet()),
    "push": lambda s, _: s.run(PushRequest(refs=(REF,)), quiet()),
    "extract": lambda s, _: s.run(ExtractRequest(ref=REF), quiet()),
    "diff": lambda s, _: s.run(DiffRequest(ref_a=REF, ref_b=REF), quiet()),  # a build's look at what it needs
    "require": lambda s, _: require(s),
}
LOOKS = {
    "contains": lambda s, _: s.listing.contains(Ref.parse(REF)),
    "list": lambda s, _: s.listing.list(sizes=True),
    "show": lambda s, _: s.listing.show(Ref.parse(REF)),
    "files": lambda s, _: list(s.browse.files(Ref.parse(REF))),
    "link, of what it reads": lambda s, _: s.run(LinkRequest(ref=REF, key="2"), quiet()),
}


def order(services):
    return [line.ref for line in services.listing.list() if line.ref in {OLDER, REF, NEWER}]


@pytest.mark.parametrize("verb", USES)
def test_what_uses_an_artifact_makes_it_the_last_to_go(verb, three, tmp_path):
    USES[verb](three, tmp_path)
    assert order(three) == [OLDER, NEWER, REF]


@pytest.mark.parametrize("verb", LOOKS)
def test_what_only_looks_changes_no_order(verb, three, tmp_path):
    LOOKS[verb](three, tmp_path)
    assert order(three) == [OLDER, REF, NEWER]


def test_what_was_used_at_the_same_moment_is_listed_by_name(three, monkeypatch):
    """AC-49: ties by name ascending."""
    monkeypatch.setattr(three.coordination.recency, "scores", lambda refs: [5] * len(refs))
    assert order(three) == [REF, OLDER, NEWER]


# -- what is said of each remote ---------------------------------------------------------------------------


def phases(services, request):
    said = []
    services.run(request, quiet()._replace(progress=lambda progress: said.append(progress.phase)))
    return said


def told(caplog):
    return [(record.message, record.ref, record.url) for record in caplog.records if hasattr(record, "url")]


def test_a_push_says_what_goes_where_and_what_became_of_it(services, tmp_path, caplog):
    """AC-63."""
    caplog.set_level("INFO")
    commit(services, tmp_path, REF)
    said = phases(services, PushRequest(refs=(REF,)))
    assert [phase for phase in said if phase.startswith("pushing ")] == [
        f"pushing {REF} -> {A}",
        f"pushing {REF} -> {B}",
    ]
    assert told(caplog) == [("pushed", REF, A), ("pushed", REF, B)]
    caplog.clear()
    services.run(PushRequest(refs=(REF,)), quiet())
    assert told(caplog) == [("already-there", REF, A), ("already-there", REF, B)]


def test_a_pull_says_whom_it_asks_and_who_had_it(services, tmp_path, caplog):
    """AC-70; and AC-68: what came from one remote is offered to all of them."""
    caplog.set_level("INFO")
    commit(services, tmp_path, REF)
    services.run(PushRequest(refs=(REF,), remotes=(B,)), quiet())
    services.run(RemoveRequest(refs=(REF,)), quiet())
    caplog.clear()
    said = phases(services, PullRequest(ref=REF))
    assert [phase for phase in said if phase.startswith("pulling ")] == [
        f"pulling {REF} <- {A}",
        f"pulling {REF} <- {B}",
    ]
    assert told(caplog) == [("remote does not have it", REF, A), ("pulled", REF, B)]
    result = services.run(PushRequest(refs=(REF,)), quiet())
    assert [(one.url, one.outcome) for one in result.remotes] == [(A, "pushed"), (B, "already-there")]


def test_one_url_in_two_specs_is_pushed_to_once():
    """D-12: by the first of them that takes pushes."""
    first, second = RemoteSpec(A, push=True), RemoteSpec(A, push=True, instance_name="main")
    settings = Settings(cachedir="/c", artifacts=(RemoteSpec(A), first, second, RemoteSpec(B, push=True)))
    assert push_specs(settings, "demo") == (first, RemoteSpec(B, push=True))
    assert fetch_specs(settings, "demo") == settings.artifacts
