"""A folder that every volume has is gone, empty or a link while a worker runs: a disk that is not mounted.

What lies in it is out of reach and not missing (I10): nothing is withdrawn, evicted, swept or deleted for it
(I9), and who brings the folder back has everything as it was.
"""

import os
import shutil
import subprocess

import pytest
from harness.fleet import Oracle, fleet, quick, write_tree
from harness.mortal import expire_leases
from harness.plain_user import plain_user

from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    RemoveRequest,
    VerifyRequest,
)
from caskeeper.errors import ArtifactNotFound, CaskeeperError, VolumeFailed
from worker.protocols import quiet
from worker.services import findings as kinds

REFS = {"p/e/0", "p/e/1", "p/e/2"}


@pytest.fixture
def services(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="10M", leases=quick()) as made:
        for number in range(3):
            source = write_tree(tmp_path / f"src{number}", {"file": b"%d" % number * 50_000})
            made.run(CommitRequest(path=source, refs=(f"p/e/{number}",)), quiet())
        yield made


def gone(path):
    """Nothing is there."""


def nowhere(path):
    os.symlink("/nowhere", path)


def elsewhere(path):
    os.mkdir(f"{os.path.dirname(path)}.elsewhere")
    os.symlink(f"{os.path.dirname(path)}.elsewhere", path)


def empty(path):
    os.mkdir(path)


def a_fan(services):
    top = services.layout.objects
    return f"cas/objects/{next(fan for fan in sorted(os.listdir(top)) if os.listdir(f'{top}/{fan}'))}"


CASES = [
    *[(name, harm) for name in ("cas/objects", "cas", "FAN") for harm in (gone, nowhere, elsewhere)],
    *[(name, harm) for name in ("cas/refs", "cas/refs/heads") for harm in (gone, nowhere, elsewhere)],
    ("cas/closures", nowhere),
    ("cas/closures", elsewhere),
    ("cas/objects", empty),
    ("cas/refs/heads", empty),
]
REQUESTS = {
    "repair": VerifyRequest(repair=True),
    "sampled": VerifyRequest(repair=True, sample=5.0),
    "cleanup": CleanupRequest(target_bytes=0),
    "recount": ComputeSizeRequest(),
}


@pytest.mark.parametrize(("name", "harm"), CASES, ids=lambda one: getattr(one, "__name__", one))
def test_i9_nothing_goes_and_what_is_brought_back_is_whole(services, tmp_path, name, harm):
    path = f"{services.layout.root}/{a_fan(services) if name == 'FAN' else name}"
    shutil.move(path, tmp_path / "kept")
    harm(path)
    told = []
    for verb, request in REQUESTS.items():
        if verb == "cleanup" and (name, harm) == ("FAN", gone):
            continue  # what is evicted for its age goes
        try:
            result = services.run(request, quiet())
        except CaskeeperError as error:
            told.append((error.where, error.way_out))
        else:
            told += [(one.where, one.way_out) for one in getattr(result, "findings", ())]
            assert not getattr(result, "withdrawn", ())
    for number in range(3):
        try:
            services.run(
                ExtractRequest(ref=f"p/e/{number}", destination=str(tmp_path / f"o{number}")), quiet()
            )
        except ArtifactNotFound:  # nothing says that it was ever there
            assert (name, harm) == ("cas/refs/heads", empty)
        except VolumeFailed as error:  # and no miss
            told.append((error.where, error.way_out))
    assert any(where == path or where.startswith(f"{path}/") for where, _way_out in told)
    assert any("brin" in way_out or "in the place of the link" in way_out for _where, way_out in told)
    if os.path.lexists(path):
        subprocess.run(["rm", "-rf", path], check=True)
    shutil.move(tmp_path / "kept", path)
    assert set(Oracle(services.layout.root).refs()) == REFS
    assert Oracle(services.layout.root).troubles() == []
    assert not services.run(VerifyRequest(repair=True), quiet()).withdrawn


@pytest.mark.parametrize("name", ["cas/objects", "FAN"])
def test_the_way_out_for_what_is_lost_for_good_works(services, name):
    path = f"{services.layout.root}/{a_fan(services) if name == 'FAN' else name}"
    shutil.rmtree(path)
    found = next(one for one in services.run(VerifyRequest(), quiet()).findings if one.kind == kinds.FOLDER)
    assert found.where == path
    command = found.way_out.split("`")[1]
    subprocess.run(["sh", "-c", command], check=True)
    assert services.run(VerifyRequest(repair=True), quiet()).withdrawn
    assert services.run(VerifyRequest(), quiet()).counts == {}
    assert Oracle(services.layout.root).troubles() == []


@pytest.mark.parametrize("name", ["tmp", "extract", "trash", "cas/objects", "cas/executables", "cas/damaged"])
def test_i9_what_is_behind_a_link_does_not_count_and_evicts_nothing(services, tmp_path, name):
    path, outside = f"{services.layout.root}/{name}", tmp_path / "outside"
    os.makedirs(path, exist_ok=True)
    shutil.move(path, outside)
    os.symlink(outside, path)
    (outside / "mine").write_bytes(b"x" * 20_000_000)
    before = services.coordination.usage.snapshot().used_bytes
    for request in (ComputeSizeRequest(), CleanupRequest(), RemoveRequest(refs=("p/e/0",))):
        with pytest.raises(VolumeFailed, match="symbolic link") as refused:
            services.run(request, quiet())
        assert refused.value.where == path
    assert services.coordination.usage.snapshot().used_bytes == before
    os.unlink(path)
    shutil.move(outside, path)
    assert set(Oracle(services.layout.root).refs()) == REFS


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o100])
def test_a_folder_of_an_operation_that_nobody_may_look_into_ends_no_recovery(tmp_path, valkey, mode):
    with plain_user(), fleet(tmp_path, valkey.url, quota="100M", leases=quick()) as services:
        folder = services.layout.operation("commit-dead")
        os.makedirs(f"{folder}/deep")
        os.symlink("5000", f"{folder}/reserved")
        os.chmod(f"{folder}/deep", mode)
        os.chmod(folder, mode)
        valkey.client().flushall()
        services.maintenance.ensure_ready()
        assert services.coordination.state().ready
        assert services.coordination.usage.snapshot().reserved_bytes == 5000, "what it said still counts"
        expire_leases(valkey.client(), services.coordination.volume_id)
        services.run(CleanupRequest(), quiet())
        services.run(ComputeSizeRequest(), quiet())
        assert os.listdir(services.layout.staging) == []
        assert services.coordination.usage.snapshot().reserved_bytes == 0
