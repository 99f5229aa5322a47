"""A process that does nothing but clean, beside others and the workers: ``… CONFIG JOURNAL NAME SEED``."""

from __future__ import annotations

import random
import signal
import sys
import time
import traceback

from harness.histories_journal import Journal

from caskeeper.config import load_settings
from caskeeper.contract import CleanupRequest, ComputeSizeRequest
from caskeeper.errors import CaskeeperError
from worker.protocols import quiet
from worker.wiring import build


def main(config, path, name, seed):
    chance, journal = random.Random(seed), Journal(path, name)
    settings = load_settings(config)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    services = None
    try:
        while True:
            time.sleep(chance.uniform(0, 0.3))
            kind = CleanupRequest(target_bytes=chance.choice([None, None, None, 0, 1_000_000]))
            request = ComputeSizeRequest() if chance.random() < 0.1 else kind
            try:
                services = services or build(settings, redis_url=settings.redis)
                services.run(request, quiet())
                journal.note("cleaned", verb=request.TASK, outcome="done")
            except CaskeeperError as refused:
                told = {"outcome": type(refused).__name__, "error": str(refused)}
                journal.note("cleaned", verb=request.TASK, **told)
    except Exception:  # noqa: BLE001 -- whatever it is, the checker has to hear of it
        journal.note("bug", text=traceback.format_exc())


if __name__ == "__main__":
    main(*sys.argv[1:])
