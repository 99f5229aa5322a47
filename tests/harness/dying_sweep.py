"""A worker that dies in the middle of its sweep for jobs of dead workers, holding the sweep's lock.

Run as ``python -P -m harness.dying_sweep URL`` with ``tests`` on PYTHONPATH; it exits with DIED.
"""

import os
import subprocess
import sys
import time

import redis
from celery import Celery
from harness.delivery_worker import TESTS

from caskeeper.broker import broker_settings

DIED = 9


def die_in_sweep(url):
    """Let such a worker live and die."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "harness.dying_sweep", url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])},
        timeout=60,
        check=False,
    )
    assert done.returncode == DIED


def main(url):
    redis.Redis.zrange = lambda *_arguments, **_options: os._exit(DIED)  # the look that the lock is for
    app = Celery("dying", set_as_current=False)
    app.conf.update(broker_settings(url))
    with app.connection_for_read() as connection:
        channel = connection.channel()
        while True:  # others may be sweeping
            channel.qos.restore_visible(interval=1)
            time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
