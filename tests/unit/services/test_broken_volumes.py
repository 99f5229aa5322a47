"""Whatever is broken on the volume, what comes out of any verb is an error of ours (AC-80), and no bug."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest
from harness.services import fake_services, make_tree

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    DiffRequest,
    ExtractRequest,
    ImportRequest,
    LinkRequest,
    PullRequest,
    PushDirectoryRequest,
    PushRequest,
    RemoveRequest,
)
from caskeeper.errors import CaskeeperError
from worker.protocols import quiet

REF = Ref("demo", "hello", "k1")
A = "http://a"


def verbs(services, folder, root):
    """Every way in, those first that change nothing."""
    ref = str(REF)
    yield lambda: services.listing.list(sizes=True)
    yield lambda: services.listing.show(REF)
    yield lambda: services.listing.contains(REF, "files")
    yield lambda: list(services.browse.files(REF))
    yield lambda: b"".join(services.browse.cat(REF, "files/Z"))
    yield lambda: services.disk_usage("*")
    yield services.status
    yield services.pins.read
    for request in (
        DiffRequest(ref_a=ref, ref_b=ref),
        PushRequest(refs=(ref,)),
        PushDirectoryRequest(project="demo", digest=str(root)),
        ExtractRequest(ref=ref, destination=f"{folder}/copy"),
        ExtractRequest(ref=ref),
        ComputeSizeRequest(),
        CommitRequest(path=f"{folder}/src", refs=("demo/other/k",)),
        LinkRequest(ref=ref, key="k2"),
        PullRequest(ref=ref, refresh=True),
        ImportRequest(path=f"{folder}/src"),
        CleanupRequest(target_bytes=0, dry_run=True),
        RemoveRequest(refs=(ref,)),
        CleanupRequest(target_bytes=0),
    ):
        yield lambda request=request: services.run(request, quiet())
    yield lambda: services.pins.pin(["demo/*"], quiet())
    yield lambda: services.pins.unpin(["demo/*"], quiet())


def gone(_path):
    pass


def file(path):
    with open(path, "wb") as made:
        made.write(b"?")


def loop(path):
    os.symlink(path, path)


@pytest.mark.parametrize("instead", [gone, file, loop])
@pytest.mark.parametrize(
    "part",
    [
        *("root", "objects", "executables", "refs", "closures", "extracts", "staging", "trashes", "pins"),
        *("ref", "object", "closure"),
    ],
)
def test_nothing_but_errors_of_ours_comes_out(tmp_path, part, instead):
    services = fake_services(tmp_path, urls=[A])
    services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(str(REF),)), quiet())
    services.run(ExtractRequest(ref=str(REF)), quiet())
    root, layout = services.listing.show(REF).roots[0], services.layout
    single = {
        "ref": layout.ref(REF),
        "object": layout.object(root.partition("/")[0]),
        "closure": layout.closure(root.partition("/")[0], "whole"),
    }
    path = single.get(part) or getattr(layout, part)
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
    instead(path)
    for verb in verbs(services, tmp_path, root):
        with contextlib.suppress(CaskeeperError):
            verb()
        assert services.coordination.maintenance.holder() is None  # else nobody could clean for a whole lease
    services.close()
