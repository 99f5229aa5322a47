"""Four writers and two cleaners on a quota that is too small for them, and one that kills them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
from collections import Counter

import pytest
from harness.chaos import Watch
from harness.chaos_actors import ELEMENTS, VARIANTS, journal, start_actors
from harness.commands import until
from harness.processes import Fleet
from harness.valkey import ValkeyServer

SECONDS = float(os.environ.get("CASKEEPER_TEST_CHAOS_SECONDS", "20"))
SEED = os.environ.get("CASKEEPER_TEST_CHAOS_SEED", "1")
QUOTA = 2_200_000


@pytest.fixture
def arena(roomy, served):
    """A volume with a quota of a tenth of what the actors would store."""
    folder = tempfile.mkdtemp(prefix="chaos-", dir=roomy)
    with ValkeyServer(appendonly=True) as valkey:
        cache = {"quota": str(QUOTA), "headroom": "0", "low-watermark": "50%"}
        leases = {"operation": "2s", "session": "2s", "clock-margin": "0s"}
        fleet = Fleet(folder, valkey, remote=served.url, cache=cache, leases=leases)
        try:
            yield fleet
        finally:
            fleet.end()
            shutil.rmtree(folder)


def test_writers_and_cleaners_that_are_killed_at_random_leave_a_sound_volume(arena, tell):
    chance = random.Random(SEED)
    common = {f"common-{number}": chance.randbytes(30_000) for number in range(3)}
    for number in range(ELEMENTS):
        for variant in range(VARIANTS):
            own = {f"bin/{n}": chance.randbytes(chance.randrange(1, 45_000)) for n in range(9)}
            source = arena.tree(f"trees/e{number}-{variant}", {**common, **own, "empty": b""})
            os.chmod(f"{source}/bin/0", 0o755)
    os.mkdir(f"{arena.folder}/out")
    worker = arena.worker()  # makes the volume, and waits for what comes afterwards
    for number in range(3):
        ref = f"chaos/e{number}/published"
        arena.client.commit(f"{arena.folder}/trees/e{number}-0", ref).result(60)
        arena.client.push(ref).result(60)
    nemesis = start_actors(arena.config, arena.folder, seconds=SECONDS, seed=SEED)
    try:
        with Watch(arena, every_s=0.05) as watch:
            arena.join(nemesis)
            told = json.loads(nemesis.communicate(timeout=SECONDS + 120)[0])
    finally:
        if nemesis.poll() is None:
            os.killpg(nemesis.pid, signal.SIGKILL)
    lines = journal(arena.folder)
    done = Counter(line["verb"] for line in lines if line["event"] == "done")
    refused = Counter(line["why"] for line in lines if line["event"] == "refused")
    tell(f"{told['killed']} kills, {watch.counted} looks; done {dict(done)}; refused {dict(refused)}")
    assert [line["text"] for line in lines if line["event"] == "bug"] == []
    assert [line for line in lines if line["event"] == "broken promise"] == []
    assert set(told["codes"]) == {0}
    assert len(done) == 7, "every verb was done"
    assert watch.understated == []
    assert watch.peak_bytes <= QUOTA
    assert worker.poll() is None
    arena.assert_sound()
    until(lambda: not arena.coordination.sessions.live())  # those of the killed
    arena.client.cleanup(target_bytes=0).result(60)
    assert list(arena.oracle.refs()) == []
    assert arena.oracle.used_bytes() == arena.coordination.usage.snapshot().used_bytes == 0
