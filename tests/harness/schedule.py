"""A scheduler: actors are threads of which exactly one runs, and every step is a point to switch at.

Deterministic: what a run does is decided by its *choices*, which say at which step somebody else goes on,
and by its *deaths*, the steps that never happen because their actor dies there. Everything else is a rule:
whoever runs goes on; whoever ends or waits gives way to the one who was interrupted last. So a run can be
replayed from its choices, and a search over choices is a search over interleavings.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import NamedTuple

#: A run this long is a livelock of the program or of the harness; two that wait for room in vain take 7,000.
MOST_STEPS = 12_000
#: How long a real run may take: an actor that waits for anything but its turn is a defect of the harness.
WAIT_S = 60.0
#: By how much time goes on more each time that everybody waits, and how often it grows.
_PATIENCE, _MOST_PATIENCE = 2.0, 5

_running: dict[int, Actor] = {}


class Dead(BaseException):
    """The actor is over: no handler of the program gets anything done any more."""


class Step(NamedTuple):
    """One step of a run: whose, what, on which paths; who else could have gone on at this point."""

    actor: int
    verb: str
    paths: tuple[str, ...]
    others: tuple[int, ...]
    #: whether the actor that made the step before could have gone on as well
    interrupts: bool


class Livelock(AssertionError):
    """Too many steps."""


def current() -> Actor | None:
    """The actor whose thread this is."""
    return _running.get(threading.get_ident())


@dataclass(eq=False)
class Actor:
    """One thread of the run. ``outcome``: what its work returned, or the exception that it ended with."""

    number: int
    name: str
    schedule: Schedule
    work: object
    turn: threading.Lock = field(default_factory=threading.Lock)
    begun: bool = False
    over: bool = False
    dead: bool = False
    waits_since: int = -1
    wakes_s: float = 0.0
    outcome: object = None
    serial: int = 0

    @property
    def can_run(self):
        if self.over or self.dead:
            return False
        waits = self.waits_since == self.schedule.changes
        return not waits or self.schedule.now_s >= self.wakes_s


class Schedule:
    """One run of some actors. ``choices``: {number of a step: whose it is}; ``deaths``: numbers of steps."""

    def __init__(self, works, *, choices=(), deaths=(), pick=None, after=None, stuck=None):
        """``works``: [(name, function)]. ``pick`` decides where ``choices`` say nothing: (step, now, others)
        -> whose turn, for random runs. ``after`` is called when a step is done, ``stuck`` when everybody
        waits for something that does not come.
        """
        self.actors = [Actor(number, name, self, work) for number, (name, work) in enumerate(works)]
        self.choices = dict(choices)
        self.deaths = frozenset(deaths)
        self._deaths = set(deaths)
        self.trace: list[Step] = []
        self.changes = 0
        self.now_s = 0.0
        self.failure: BaseException | None = None
        self._pick = pick
        self._after = after or (lambda: None)
        self._stuck = stuck or (lambda _schedule: None)
        self._interrupted: list[int] = []
        self._idle = 0
        self._ended = threading.Lock()

    # -- the run, as its caller sees it ----------------------------------------------------------------

    def run(self):
        """Until every actor is over. Raises what ``after`` raised."""
        self._ended.acquire()
        threads = [threading.Thread(target=self._live, args=(actor,), daemon=True) for actor in self.actors]
        for actor, thread in zip(self.actors, threads, strict=True):
            actor.turn.acquire()
            thread.start()
        self._next(None).turn.release()
        assert self._ended.acquire(timeout=WAIT_S), f"the run hangs after {self.trace[-3:]}"
        for actor, thread in zip(self.actors, threads, strict=True):
            if not actor.over:
                actor.dead = True
                actor.turn.release()
            thread.join(WAIT_S)
            assert not thread.is_alive(), f"{actor.name} does not die"
        if self.failure is not None:
            raise self.failure

    def _live(self, actor):
        actor.turn.acquire()
        _running[threading.get_ident()] = actor
        try:
            if not actor.dead:
                self._note(actor, "begin", ())
                actor.begun = True
                actor.outcome = actor.work()
        except Dead:
            pass
        except BaseException as trouble:  # noqa: BLE001 -- judged by the scenario
            actor.outcome = trouble
        finally:
            del _running[threading.get_ident()]
            actor.over = True
            if not actor.dead:
                self._pass_on(actor)

    def _pass_on(self, actor):
        """The turn goes to another for good."""
        self._idle = 0
        try:
            if self.failure is None:
                self._after()
            following = None if self.failure else self._next(None)
        except BaseException as trouble:  # noqa: BLE001 -- raised by the thread that waits
            self.failure, following = self.failure or trouble, None
        if following is None:
            self._ended.release()
        else:
            following.turn.release()

    # -- the run, as its actors see it -----------------------------------------------------------------

    def step(self, actor, verb, *paths):
        """The actor is about to do this. Returns when it is its turn; raises Dead when that never comes."""
        if actor.dead:
            raise Dead(verb)
        if self.failure is None:
            try:
                self._after()
            except BaseException as trouble:  # noqa: BLE001 -- raised by the thread that waits
                self.failure = trouble
        if self.failure is not None:
            self._die(actor)
        number = len(self.trace)
        if number in self._deaths:
            self._deaths.discard(number)  # whoever comes next has this number too
            self._die(actor)
        if self._pick is not None or number in self.choices:
            following = self._next(actor)
            if following is not actor:
                self._give(actor, following)
        self._note(actor, verb, paths)

    def changed(self):
        """A step changed something that others may wait for."""
        self.changes += 1

    def sleep(self, actor, duration_s):
        """The actor waits: others go on, and time passes when nobody else can."""
        if actor.dead:
            raise Dead("sleep")
        actor.waits_since = self.changes
        actor.wakes_s = self.now_s + duration_s
        following = self._next(None)
        if following is not actor:
            self._give(actor, following)
        actor.waits_since = -1
        self.now_s = max(self.now_s, actor.wakes_s)

    def _note(self, actor, verb, paths):
        trace = self.trace
        number = actor.number
        others = tuple([one.number for one in self.actors if one is not actor and one.can_run])
        before = trace[-1].actor if trace else number
        trace.append(Step(number, verb, paths, others, before != number and before in others))
        if len(trace) > MOST_STEPS:
            self.failure = Livelock(f"more than {MOST_STEPS} steps")
            self._die(actor)

    def _give(self, actor, following):
        following.turn.release()
        actor.turn.acquire()
        if actor.dead:
            raise Dead("turn")

    def _die(self, actor):
        actor.dead = True
        self.changed()
        self._pass_on(actor)
        raise Dead("here")

    def _next(self, actor):
        """Whose turn the next step is. ``actor``: who could go on; None: it ended, died or waits."""
        number = len(self.trace)
        able = [one.number for one in self.actors if one.can_run]
        if not able:
            waiting = [one for one in self.actors if not one.over and not one.dead]
            if not waiting:
                return None
            first = min(waiting, key=lambda one: (one.wakes_s, one.number))
            self.now_s = max(self.now_s, first.wakes_s) + _PATIENCE ** min(self._idle, _MOST_PATIENCE) - 1
            self._idle += 1
            if self._idle % 3 == 0:
                self._stuck(self)
            able = [first.number]
        chosen = self.choices.get(number)
        if chosen is None and self._pick is not None:
            chosen = self._pick(number, None if actor is None else actor.number, able)
        if chosen not in able:
            chosen = actor.number if actor is not None else self._resumed(able)
        if actor is not None and chosen != actor.number:
            self._interrupted.append(actor.number)
        return self.actors[chosen]

    def _resumed(self, able):
        while self._interrupted:
            last = self._interrupted.pop()
            if last in able:
                return last
        return able[0]

    def story(self, shorten=str):
        """The run for people to read."""
        lines = []
        for number, step in enumerate(self.trace):
            name = self.actors[step.actor].name
            lines.append(f"{number:4} {name:10} {step.verb} {' -> '.join(map(shorten, step.paths))}")
        return "\n".join(lines)
