"""Beat: scheduled work into the queue, by one of however many beats run (safety.md section 5 needs no more).

Whoever holds the leader's lease sends; the others look again and again, and one takes over within a lease
life. A beat that is told to end hands over at once. The schedule goes on where the last leader left it.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from celery import signals
from celery.beat import Scheduler

from caskeeper.coordination.leader import Leader
from caskeeper.errors import CoordinatorUnavailable
from tasks.celery_app import make_app
from worker.telemetry.log import Log, configure

if TYPE_CHECKING:
    from caskeeper.config import Settings
    from caskeeper.coordination.leader import Lead

log = Log("caskeeper.beat")


class LeadingScheduler(Scheduler):
    """A schedule that moves only while this beat leads. ``leader`` is set by ``run_beat``."""

    leader: ClassVar[Leader]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._leads = False
        self._told = ""

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Send what is due, if this is the one to do it; the seconds until the next look."""
        if not self._lead():
            return self.leader.look_s
        return min(float(super().tick(*arguments, **options)), self.leader.look_s)

    def apply_async(self, entry: Any, *arguments: Any, **options: Any) -> Any:
        """Send one entry, and write down for the next leader that it was sent."""
        sent = super().apply_async(entry, *arguments, **options)
        with suppress(CoordinatorUnavailable):
            self.leader.sent(entry.name)
        return sent

    def close(self) -> None:
        """The end: another one may lead at once."""
        super().close()
        with suppress(CoordinatorUnavailable):
            if self._leads:
                self._leads = False
                self.leader.release()

    def _lead(self) -> bool:
        trouble = ""
        try:
            lead = self.leader.take()
        except CoordinatorUnavailable as error:
            lead, trouble = None, str(error)
        if lead is not None and not self._leads:
            self._begin(lead)
        self._leads = lead is not None
        self._tell("leading" if self._leads else "standing by", trouble)
        return self._leads

    def _begin(self, lead: Lead) -> None:
        """Each entry runs next when it would have for the last leader; a new one after its own time."""
        for name, entry in self.schedule.items():
            if name not in lead.ago_s:
                self.leader.sent(name)
            ago_s = lead.ago_s.get(name, 0.0)
            entry.last_run_at = entry.default_now() - timedelta(seconds=ago_s)
        self._heap = None

    def _tell(self, event: str, trouble: str) -> None:
        """Once for each change."""
        told = f"{event} {trouble}"
        if told != self._told:
            self._told = told
            if trouble:
                log.warning(event, error=trouble)
            else:
                log.info(event)


def run_beat(settings: Settings, redis_url: str) -> int:
    """Put scheduled tasks into the queue until SIGTERM or Ctrl-C, or stand by while another beat does."""
    configure(settings.log.level, settings.log.format)
    app = make_app(settings, redis_url)
    signals.setup_logging.connect(lambda **_: None, weak=False)
    leader = Leader.connect(redis_url, settings.leases)
    scheduler: Any = type("BeatScheduler", (LeadingScheduler,), {"leader": leader, "__module__": __name__})
    make: Any = app.Beat
    beat = make(quiet=True, loglevel=settings.log.level.upper(), scheduler_cls=scheduler)
    beat.install_sync_handler = _end_when_told
    try:
        beat.run()
    finally:
        leader.close()
    return 0


def _end_when_told(service: Any) -> None:
    """SIGTERM and Ctrl-C end the loop, at once where they can.

    The library only raises SystemExit, which is lost where Python ignores exceptions: in a finaliser.
    """

    def told(*_: object) -> None:
        service.stop()
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
