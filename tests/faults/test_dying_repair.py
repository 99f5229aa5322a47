"""`verify --repair` may die before any of its steps: nothing is understated, and the next one finishes."""

from __future__ import annotations

import os

import pytest
from harness.crash_site import OTHER, sites, two_artifacts
from harness.safety_report import record
from harness.volumes import Dead

from caskeeper.artifact import Ref
from caskeeper.contract import VerifyRequest
from caskeeper.digest import Digest

REPAIR = VerifyRequest(repair=True)
OLD_NS = 1_500_000_000 * 10**9


@pytest.fixture
def site(roomy, valkey, monkeypatch):
    with sites(roomy, valkey, monkeypatch) as made:
        yield made


def overwrite(path):
    status = os.lstat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"\xff\xff\xff")
    os.chmod(path, status.st_mode & 0o777)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def object_of(site, content):
    return site.layout.object(Digest.of(content).hash)


def content(site):
    """One blob that the remote has, one that nobody has."""
    overwrite(object_of(site, b"hello\n"))
    os.unlink(object_of(site, b"own"))


def records(site):
    """A ref that cannot be read, a list that is damaged, a mode, and an object that nobody needs."""
    overwrite(site.layout.ref(Ref.parse(OTHER)))
    overwrite(site.layout.closure(site.root.hash, "whole"))
    os.chmod(object_of(site, b"object code"), 0o600)
    path = object_of(site, b"nobody's")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"nobody's")
    os.chmod(path, 0o444)
    os.utime(path, ns=(OLD_NS, 1_000_000_000 * 10**9))


def strange(site):
    """A folder in the place of a ref: what is in it is nobody's to delete."""
    path = site.layout.ref(Ref.parse(OTHER))
    os.unlink(path)
    os.makedirs(f"{path}/precious")


HARMS = {"content": content, "records": records, "strangers": strange}


def prepare(site, harm):
    site.run(*two_artifacts(site))
    site.tick()
    HARMS[harm](site)
    used = site.oracle.used_bytes()
    with site.valkey.client() as client:  # what was written behind the back is counted too: I5 can be asked
        key = "caskeeper:{v}:usage"
        client.hset(key, "used", max(int(client.hget(key, "used")), used))


def assert_counted(site):
    usage = site.usage()
    assert usage.used_bytes + usage.reserved_bytes >= site.oracle.used_bytes()


@pytest.mark.parametrize("harm", HARMS)
def test_a_repair_may_die_before_any_of_its_steps(site, harm):
    prepare(site, harm)
    site.run(REPAIR)
    site.empty()
    site.thin_out()
    prepare(site, harm)
    steps = site.run(REPAIR)
    refs = sorted(site.oracle.refs())
    assert refs != []
    site.assert_exact()
    site.empty()
    for at in range(1, steps + 1):
        prepare(site, harm)
        with pytest.raises(Dead):
            site.run(REPAIR, at=at)
        assert_counted(site)
        site.expire()
        site.run(REPAIR)
        site.assert_exact()
        assert sorted(site.oracle.refs()) == refs, f"dead before step {at} of {steps}"
        site.run(VerifyRequest())
        assert site.results[0].counts == {}
        if harm == "strangers":
            [aside] = os.listdir(f"{site.layout.root}/damaged")
            os.rmdir(f"{site.layout.root}/damaged/{aside}/precious")
            os.rmdir(f"{site.layout.root}/damaged/{aside}")
        site.empty()
    record("crash points", {f"verify --repair of {harm}": steps})
