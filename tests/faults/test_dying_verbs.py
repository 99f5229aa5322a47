"""A process that dies at a change of the volume: it is sound afterwards (I1 to I3, I5), and the verb run
again succeeds (I8). A sample of the changes; all of them by hand with STEPS raised.
"""

from __future__ import annotations

import os

import pytest
from harness.coordination import fake_coordination
from harness.fleet import Oracle
from harness.services import fake_services, make_tree, picture
from harness.volumes import Dead, DyingVolume, new_volume

from caskeeper.contract import CommitRequest, ExtractRequest, LinkRequest, PullRequest, PushRequest
from worker.protocols import quiet
from worker.services.operations import Operation

K1 = "demo/hello/k1"
A = "http://a"
NEVER = 10**9
#: How many of a verb's changes are died at.
STEPS = 12


class Site:
    """One volume and one Redis that outlive the processes working on them."""

    def __init__(self, folder, remote):
        folder.mkdir()
        self.folder = folder
        self.remote = remote
        self.layout = new_volume(folder).layout
        self.coordination = fake_coordination()
        self.source = make_tree(folder / "src")
        self.changes = 0

    def run(self, *requests, at=NEVER):
        """A process of its own, which dies at its change number ``at``."""
        volume = DyingVolume(self.layout, at=at)
        services = fake_services(self.folder, urls=[A], volume=volume, coordination=self.coordination)
        services.remotes.remotes[A] = self.remote
        try:
            return [services.run(request, quiet()) for request in requests][-1]
        finally:
            self.changes = volume.changes
            services.desk.close()

    def assert_sound(self):
        oracle = Oracle(self.layout.root)
        assert oracle.troubles() == []
        usage = self.coordination.usage.snapshot()
        assert usage.used_bytes + usage.reserved_bytes >= oracle.used_bytes()


@pytest.fixture
def remote(tmp_path):
    (tmp_path / "publisher").mkdir()
    services = fake_services(tmp_path / "publisher", urls=[A])
    source = make_tree(tmp_path / "publisher" / "src")
    services.run(CommitRequest(path=source, refs=(K1,)), quiet())
    services.run(PushRequest(refs=(K1,)), quiet())
    services.close()
    return services.remotes.remotes[A]


VERBS = {
    "pull": ([], PullRequest(ref=K1)),
    "wider": ([PullRequest(ref=K1, excluded_subdirs=("buildtree",))], PullRequest(ref=K1)),
    "subdir": (
        [PullRequest(ref=K1, excluded_subdirs=("buildtree",)), ExtractRequest(ref=K1)],
        PullRequest(ref=K1, subdir="buildtree/obj"),
    ),
    "commit": ([], "commit"),
    "link": ([PullRequest(ref=K1)], LinkRequest(ref=K1, key="k2")),
    "extract": ([PullRequest(ref=K1)], ExtractRequest(ref=K1)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_dies_at_any_change_leaves_a_sound_volume_and_runs_again(
    tmp_path, remote, verb, monkeypatch
):
    monkeypatch.setattr(
        "worker.store.system_calls.syncfs", lambda *_arguments: None
    )  # nothing loses power here
    # A killed process settles nothing: what a handler does on the way out counts as not done.
    monkeypatch.setattr(Operation, "end", _only_alive(Operation.end))
    before, request = VERBS[verb]
    rehearsal = Site(tmp_path / "rehearsal", remote)
    if before:
        rehearsal.run(*before)
    rehearsal.run(_of(request, rehearsal))
    assert rehearsal.changes > 5
    step = max(1, rehearsal.changes // STEPS)
    for at in range(1, rehearsal.changes + 1, step):
        site = Site(tmp_path / f"at-{at}", remote)
        if before:
            site.run(*before)
        with pytest.raises(Dead):
            site.run(_of(request, site), at=at)
        site.assert_sound()
        site.run(_of(request, site))
        site.assert_sound()
        path = site.run(ExtractRequest(ref=K1)).path
        if verb != "subdir":
            assert picture(path) == picture(site.source)
        else:
            assert os.path.isfile(f"{path}/buildtree/obj/deep/x.o")


def _of(request, site):
    return CommitRequest(path=site.source, refs=(K1,)) if request == "commit" else request


def _only_alive(end):
    def end_unless_dead(operation):
        volume = operation.staging.volume
        if volume.changes < volume.at:
            end(operation)

    return end_unless_dead
