"""`verify --repair` may die before any of its steps: nothing is understated, and the next one finishes."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from harness.crash_site import K2, OTHER, sites, two_artifacts
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
    """A ref that cannot be read, a folder in the place of another, a damaged list, a mode, an orphan."""
    overwrite(site.layout.ref(Ref.parse(K2)))
    path = site.layout.ref(Ref.parse(OTHER))
    os.unlink(path)
    os.makedirs(f"{path}/precious")
    overwrite(site.layout.closure(site.root.hash, "whole"))
    os.chmod(object_of(site, b"object code"), 0o600)
    path = object_of(site, b"nobody's")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"nobody's")
    os.chmod(path, 0o444)
    os.utime(path, ns=(OLD_NS, 1_000_000_000 * 10**9))


HARMS = {"content": content, "records": records}


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


def thin_out(site):
    """Without the empty folders of the fan-out, which every look would look at."""
    for kind in ("objects", "executables", "closures"):
        for name in os.listdir(f"{site.layout.root}/cas/{kind}"):
            with suppress(OSError):
                os.rmdir(f"{site.layout.root}/cas/{kind}/{name}")


def precious(site):
    """How often somebody's folder was put aside; it is given back to them."""
    top = f"{site.layout.root}/damaged"
    found = os.listdir(top) if os.path.isdir(top) else []
    for name in found:
        os.rmdir(f"{top}/{name}/precious")
        os.rmdir(f"{top}/{name}")
    return len(found)


@pytest.mark.parametrize("harm", HARMS)
def test_a_repair_may_die_before_any_of_its_steps(site, harm):
    prepare(site, harm)
    site.run(REPAIR)
    refs, aside = sorted(site.oracle.refs()), precious(site)
    assert refs != []
    assert aside == (harm == "records")
    site.assert_exact()
    thin_out(site)
    prepare(site, harm)
    steps = site.run(REPAIR)  # from here on each finds what the one before has left
    precious(site)
    for at in range(1, steps + 1):
        prepare(site, harm)
        with pytest.raises(Dead):
            site.run(REPAIR, at=at)
        assert_counted(site)
        site.expire()
        site.run(REPAIR)
        site.assert_exact()
        assert sorted(site.oracle.refs()) == refs, f"dead before step {at} of {steps}"
        assert precious(site) == aside, f"dead before step {at} of {steps}"
    record("crash points", {f"verify --repair of {harm}": steps})
