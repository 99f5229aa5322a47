"""Services with an artifact and two remotes in memory, and what a healing does to them step by step."""

import os

from harness.fleet import Oracle

from caskeeper.digest import Digest

REF, OTHER = "demo/hello/k1", "demo/other/k1"
A, B = "http://a", "http://b"
FILE = Digest.of(b"deep code")


def place(services, digest=FILE):
    return services.layout.object(digest.hash)


def quarantined(services):
    folder = services.layout.damaged
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def quarantine_now(services, digest=FILE):
    with services.maintenance.run("heal", check=lambda: None) as run:
        return services.healing.quarantine(run, digest)


def withdraw_now(services, *digests):
    with services.maintenance.run("heal", check=lambda: None) as run:
        return services.healing.withdraw(run, {digest.hash for digest in digests})


def is_sound(services):
    assert Oracle(services.layout.root).troubles() == []
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert usage.used_bytes >= Oracle(services.layout.root).used_bytes()
    assert os.listdir(services.layout.staging) == os.listdir(services.layout.trashes) == []
