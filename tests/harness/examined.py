"""What a doctor finds: facts where all is well, and the checks that are not."""

from harness.services import SMALL_CACHE

from caskeeper.config import Settings
from caskeeper.coordination import State
from caskeeper.coordination.examination import RedisFacts
from worker.store.format import find_format

READY = State(epoch="e", lost=False, ready=True, known=True, evict_from_ms=0, now_ms=1)
GOOD = RedisFacts(
    version="valkey 9",
    role="master",
    policy="noeviction",
    memory_limit=0,
    memory_used=1000,
    appends=True,
    saves=False,
    save_failed="",
    clock_ahead_s=0.0,
    owner="v",
    state=READY,
)


def bad(checks):
    """The names of what is not well; each comes with what to do."""
    found = {check.name: check.verdict for check in checks if check.verdict != "ok"}
    assert all(check.remedy for check in checks if check.verdict != "ok")
    assert not any(check.remedy for check in checks if check.verdict == "ok")
    return found


def said(checks, name):
    return next(f"{check.found} -> {check.remedy}" for check in checks if check.name == name)


def settings_of(volume, **more):
    return Settings(cachedir=volume.layout.root, cache=SMALL_CACHE, **more)


def facts_of(volume, **more):
    return GOOD._replace(owner=find_format(volume.layout).volume_id, **more)
