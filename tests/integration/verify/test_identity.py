"""Verify looks at what makes a folder this volume, and tells what it cannot look into."""

import json
import os
import stat

import pytest
from harness.fleet import Oracle, fleet, settings_for, write_tree

from caskeeper.contract import CommitRequest, ExtractRequest, VerifyRequest
from caskeeper.errors import CaskeeperError, VolumeFailed
from worker.protocols import quiet
from worker.services import findings as kinds
from worker.wiring import build

REF = "demo/hello/k1"


@pytest.fixture
def services(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as made:
        source = write_tree(tmp_path / "src", {"file": b"content", "x:tool": b"#!/bin/sh\n"})
        made.run(CommitRequest(path=source, refs=(REF,)), quiet())
        made.run(ExtractRequest(ref=REF), quiet())
        yield made


def verify(services, **options):
    return services.run(VerifyRequest(**options), quiet())


def junk(path):
    os.unlink(path)
    with open(path, "w") as file:
        file.write("\0junk")


def folder(path):
    os.unlink(path)
    os.mkdir(path)


def link(path):
    os.rename(path, f"{path}.real")
    os.symlink(f"{path}.real", path)


def pipe(path):
    os.unlink(path)
    os.mkfifo(path)


def itself(path):
    os.unlink(path)
    os.symlink(path, path)


def nowhere(path):
    os.unlink(path)
    os.symlink(f"{path}.nowhere", path)


HARMS = [os.unlink, junk, folder, link, pipe, itself, nowhere]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["FORMAT", "COORDINATOR"])
def test_a_file_that_names_the_volume_is_looked_at_and_written_anew(services, tmp_path, valkey, name, harm):
    path = f"{services.layout.root}/{name}"
    harm(path)
    found = verify(services)
    if (name, harm) == ("FORMAT", os.unlink):  # every request writes that one anew before it begins
        assert found.counts == {}
    else:
        assert [(one.kind, one.where) for one in found.findings] == [(kinds.IDENTITY, path)]
        assert "caskeeper verify --repair" in found.findings[0].way_out
        repaired = verify(services, repair=True)
        assert [(one.kind, one.repaired) for one in repaired.findings] == [(kinds.IDENTITY, True)]
    assert stat.S_ISREG(os.lstat(path).st_mode)
    assert verify(services).counts == {}
    again = build(settings_for(tmp_path), redis_url=valkey.url)
    try:
        again.run(ExtractRequest(ref=REF), quiet())
    finally:
        again.close()


def test_i9_both_gone_is_told_and_nothing_is_guessed(services):
    os.unlink(services.layout.coordinator)
    os.unlink(services.layout.format)
    for repair in (False, True):
        with pytest.raises(VolumeFailed) as refused:
            verify(services, repair=repair)
        assert "restore" in refused.value.way_out
        assert "backup" in refused.value.way_out
    assert list(Oracle(services.layout.root).refs()) == [REF]


@pytest.mark.parametrize("harm", [junk, itself, nowhere])
def test_one_repair_by_a_worker_that_knows_its_volume_mends_both(services, tmp_path, valkey, harm):
    """It writes COORDINATOR as it begins, and that says which volume this is."""
    harm(services.layout.coordinator)
    harm(services.layout.format)
    told = {one.where: one.way_out for one in verify(services).findings}
    assert "restore" in told[services.layout.format]
    repaired = verify(services, repair=True)
    assert [(one.kind, one.repaired) for one in repaired.findings] == [(kinds.IDENTITY, True)] * 2
    assert verify(services).counts == {}
    build(settings_for(tmp_path), redis_url=valkey.url).close()
    assert list(Oracle(services.layout.root).refs()) == [REF]


@pytest.mark.parametrize("harm", [itself, nowhere])
def test_a_coordinator_that_leads_to_nothing_keeps_no_worker_from_starting(services, tmp_path, valkey, harm):
    harm(services.layout.coordinator)
    again = build(settings_for(tmp_path), redis_url=valkey.url)
    try:
        again.run(ExtractRequest(ref=REF), quiet())
    finally:
        again.close()


def test_a_format_of_another_volume_is_told(services):
    path = services.layout.format
    with open(path) as file:
        document = json.load(file)
    os.unlink(path)
    with open(path, "w") as file:
        json.dump({**document, "volume_id": "another"}, file)
    for repair in (False, True):
        (found,) = verify(services, repair=repair).findings
        assert (found.kind, found.where, found.repaired) == (kinds.IDENTITY, path, False)
        assert "another" in found.what
        assert "backup" in found.way_out


def refuse(monkeypatch, folder):
    """As the system does to a user other than root, for everything in a folder."""
    real = {name: getattr(os, name) for name in ("scandir", "listdir", "lstat", "stat", "open")}

    def refusing(name):
        def call(path, *arguments, **options):
            text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
            inside = text == folder if name in {"scandir", "listdir"} else text.startswith(f"{folder}/")
            if inside or (name in {"scandir", "listdir"} and text.startswith(f"{folder}/")):
                raise PermissionError(13, "Permission denied", text)
            return real[name](path, *arguments, **options)

        return call

    for name in real:
        monkeypatch.setattr(os, name, refusing(name))


FOLDERS = (
    "cas/refs/heads",
    "cas/refs/heads/demo/hello",
    "cas/objects",
    "cas/objects/ab",
    "cas/executables/ab",
    "cas/closures/ab",
    "cas/damaged",
    "extract",
    "extract/demo",
)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_read_is_a_finding_and_no_end(services, monkeypatch, name):
    root = services.layout.root
    if name.endswith("/ab"):  # one that holds something of ours
        top = f"{root}/{name[:-3]}"
        name = f"{name[:-2]}{next(fan for fan in sorted(os.listdir(top)) if os.listdir(f'{top}/{fan}'))}"
    os.makedirs(f"{root}/{name}", exist_ok=True)
    before = sorted(Oracle(root).refs())
    with monkeypatch.context() as patch:
        refuse(patch, f"{root}/{name}")
        for repair in (False, True):
            try:
                found = verify(services, repair=repair)
            except CaskeeperError as error:
                pytest.fail(f"the run ended: {error}")
            told = [one for one in found.findings if one.kind == kinds.FOLDER]
            assert f"{root}/{name}" in {one.where for one in told}
            assert all("chmod u+rwx" in one.way_out for one in told)
            assert not {kinds.DANGLING, kinds.ORPHAN} & found.counts.keys()
    assert sorted(Oracle(root).refs()) == before
    assert verify(services, repair=True).counts == {}
    assert Oracle(root).troubles() == []
