"""Harm to a queue under load: a shuffled deck, one card after the other. For the main thread."""

from __future__ import annotations

import random
import time
from collections import Counter

REDIS, SIGKILL, SIGTERM, CUT = "kill -9 of Redis", "SIGKILL of a worker", "SIGTERM of a worker", "CLIENT KILL"
#: Between two faults, in seconds: some work gets done.
PAUSE_S = (0.5, 3.0)
REDIS_AWAY_S = (0.1, 3.0)


class QueueNemesis:
    """``strike({kind: times})``.

    Then ``faults`` by kind, ``ended`` by exit code after SIGTERM, ``slowest_end_s``, and ``lost`` by exit
    code: workers that ended though nobody told them to.
    """

    def __init__(self, fleet, *, seed, concurrency=2):
        self._fleet, self._concurrency = fleet, concurrency
        self._chance = random.Random(f"queue {seed}")
        self.faults, self.ended, self.lost = Counter(), Counter(), Counter()
        self.slowest_end_s = 0.0

    @property
    def ended_badly(self):
        """Workers told to end that did not do so in good order, by what they did."""
        return {code: times for code, times in self.ended.items() if code != 0}

    def strike(self, deck, *, pause_s=PAUSE_S):
        """All of it, in an order of the seed's."""
        cards = [kind for kind, times in deck.items() for _ in range(times)]
        self._chance.shuffle(cards)
        for kind in cards:
            time.sleep(self._chance.uniform(*pause_s))
            self._revive()
            self._do(kind)
            self.faults[kind] += 1
        time.sleep(pause_s[1])
        self._revive()

    def _do(self, kind):
        if kind == REDIS:
            self._fleet.valkey.kill()
            time.sleep(self._chance.uniform(*REDIS_AWAY_S))
            self._fleet.valkey.start()
        elif kind == CUT:
            with self._fleet.valkey.client() as client:
                for group in ("normal", "pubsub"):
                    client.client_kill_filter(_type=group, skipme=True)
        else:
            self._end(kind)

    def _end(self, kind):
        worker = self._chance.choice(self._fleet.workers)
        if kind == SIGKILL:
            self._fleet.kill_worker(worker, whole=self._chance.random() < 0.5)
        else:
            code, seconds = self._fleet.end_worker(worker)
            self.ended[code] += 1
            self.slowest_end_s = max(self.slowest_end_s, seconds)
        self._fleet.begin_worker(concurrency=self._concurrency)

    def _revive(self):
        for code in self._fleet.lost_workers():
            self.lost[code] += 1
            self._fleet.begin_worker(concurrency=self._concurrency)
