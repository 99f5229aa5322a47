"""A real worker and the process that watches it, which looks twice a second and gives it up after LOOKS.

Run as ``python -P -m harness.watched_worker URL JOURNAL HOST:PORT LOOKS`` with ``tests`` on PYTHONPATH.
What its jobs do: harness/delivery_worker.py.
"""

import sys

from harness.delivery_worker import DELIVERY, Services

from caskeeper.config import LeaseSettings, Settings
from caskeeper.coordination import Coordination
from caskeeper.errors import VolumeFailed
from tasks.app import serve
from tasks.celery_app import make_application
from tasks.metering import meter_jobs
from tasks.process import Report
from tasks.watch import Watch
from worker.telemetry.endpoint import bind
from worker.telemetry.log import configure


def no_volume():
    raise VolumeFailed("the test has none", "/nonexistent")


def main(url, journal, listen, looks):
    configure()
    settings = Settings(cachedir="/nonexistent", leases=LeaseSettings())
    coordination = Coordination.create(
        url, volume_id="watch-test", epoch="e", used_bytes=0, leases=settings.leases
    )
    made = make_application(
        settings,
        url,
        flights=lambda: coordination.flights,
        build=lambda: Services(journal),
        delivery=DELIVERY,
    )
    meter_jobs(lambda: coordination.stats)
    lanes = ("pull",)
    watch = Watch(
        redis_url=url,
        build=no_volume,
        lanes=lanes,
        children=2,
        stopping=made.delivery.stopping,
        bound=bind(listen),
        looks=int(looks),
        every_s=0.5,
    )
    return serve(made, settings, lanes=lanes, concurrency=2, report=Report.inherited(), watch=watch)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
