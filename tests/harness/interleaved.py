"""Searching the interleavings of a scenario: exhaustively where it is small, by samples where it is large.

A schedule is told by its *switches*: at which steps somebody is interrupted, and by whom. The search runs a
scenario with no switch, then with one at every step where it can make a difference, then with two, and so
on up to a bound; a switch before a step that meets nothing the other does in between is the switch after it,
so it is left out (partial-order reduction). What the bound leaves out is sampled by priorities that change
at random (PCT: every bug of depth d is found with a known probability).
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from harness.interleaved_account import Violation
from harness.interleaved_footprint import Window, footprint
from harness.schedule import Dead, Schedule

from caskeeper.errors import CaskeeperError


@dataclass(frozen=True)
class Scenario:
    """``before(site)`` makes the state that runs begin with. ``actors``: name -> function(site, services).

    ``allowed``: name -> the errors with which that actor may end. ``after(site, outcomes)`` looks at the
    end of a run; what it asserts must hold.
    """

    name: str
    actors: dict
    before: object = None
    allowed: dict = field(default_factory=dict)
    after: object = None
    #: whether somebody may lose its claim and then find something missing
    heals: bool = False
    #: the quota during the runs; 0: none
    quota_bytes: int = 0
    #: how many times as long a run takes as others: so many fewer there are
    slow: int = 1
    most_switches: int = 2


class Failure(AssertionError):
    """One interleaving that breaks a promise, and how to see it again. ``what`` is broken, in a line."""

    def __init__(self, text, *, what, is_violation):
        super().__init__(text)
        self.what = what
        #: of a promise, and not an accident of the harness or an error of the program's
        self.is_violation = is_violation


class Search:
    """The interleavings of one scenario on one site. ``runs``: how many there were."""

    def __init__(self, scenario, site, *, focus=(), guide=()):
        """``focus``: switches only before steps that one of these tells: `actor verb part of a path`.

        ``guide``: the n-th switch only before such a step, and to whom: `actor verb part > other`.
        """
        self.scenario = scenario
        self.site = site
        names = list(scenario.actors)
        self._focus = [(*words.split(" "), "")[:3] for words in focus]
        self._guide = []
        for words in guide:
            where, _, other = words.partition(" > ")
            self._guide.append(((*where.split(" "), "")[:3], names.index(other)))
        self.runs = 0
        self.steps = 0
        self.by_switches = {}
        self.complete = False
        #: up to so many switches all were run
        self.whole = -1

    # -- one run ---------------------------------------------------------------------------------------

    def run(self, *, choices=(), deaths=(), pick=None):
        """One interleaving; the schedule as it went. Raises Failure."""
        site, scenario = self.site, self.scenario
        site.reset()
        site.heals, site.quota_bytes = scenario.heals, scenario.quota_bytes
        works = [(name, self._work(act, site.services())) for name, act in scenario.actors.items()]
        schedule = Schedule(
            works,
            choices=choices,
            deaths=deaths,
            pick=pick,
            after=site.after,
            stuck=site.time_passes,
        )
        self.runs += 1
        try:
            schedule.run()
            self._judge(schedule)
        except Failure:
            raise
        except Exception as trouble:
            raise self._failure(schedule, trouble) from trouble
        finally:
            self.steps += len(schedule.trace)
        return schedule

    def _work(self, act, services):
        return lambda: act(self.site, services)

    def _judge(self, schedule):
        outcomes = {}
        for actor in schedule.actors:
            outcome = outcomes[actor.name] = Dead if not actor.over or actor.dead else actor.outcome
            allowed = self.scenario.allowed.get(actor.name, ())
            if isinstance(outcome, BaseException) and not (
                isinstance(outcome, CaskeeperError) and isinstance(outcome, allowed)
            ):
                raise Violation(f"{actor.name} ended with {outcome!r}") from outcome
        self.site.settle()
        if self.scenario.after is not None:
            self.scenario.after(self.site, outcomes)

    def _failure(self, schedule, trouble):
        choices = {
            number: step.actor
            for number, step in enumerate(schedule.trace)
            if number and step.actor != schedule.trace[number - 1].actor
        }
        choices[0] = schedule.trace[0].actor if schedule.trace else 0
        root = self.site.layout.root
        return Failure(
            f"{self.scenario.name}: {trouble}\n"
            f"run {self.runs}; again with: choices={choices} deaths={set(schedule.deaths)}\n"
            f"{schedule.story(lambda path: path.replace(root, ''))}",
            what=str(trouble).partition(";")[0].replace(root, ""),
            is_violation=isinstance(trouble, Violation)
            and (
                not isinstance(trouble.__cause__, BaseException) or isinstance(trouble.__cause__, Violation)
            ),
        )

    # -- all of them -----------------------------------------------------------------------------------

    def explore(self, *, limit, switches=None, seed=0):
        """With ever more switches, up to ``switches`` and ``limit`` runs; then ``complete`` says whether
        that was all. Among schedules with as many switches the order is random.
        """
        most_switches = self.scenario.most_switches if switches is None else switches
        rng = random.Random(seed)
        last = self.runs + limit
        level = [(0, {0: first}, self.run(choices={0: first})) for first in range(len(self.scenario.actors))]
        self.by_switches[0] = len(level)
        self.whole = 0
        for count in range(1, most_switches + 1):
            following = []
            self.by_switches[count] = 0
            searches = [self._children(*node) for node in level]
            while searches:
                number = rng.randrange(len(searches))
                child = next(searches[number], None)
                if child is None:
                    searches[number] = searches[-1]
                    searches.pop()
                    continue
                following.append(child)
                self.by_switches[count] += 1
                if self.runs >= last:
                    return
            level = following
            self.whole = count
        self.complete = True

    def _children(self, last, choices, schedule):
        """One more switch after ``last``, from the end of the run to its beginning."""
        trace = schedule.trace
        prints = [footprint(step.verb, step.paths) for step in trace]
        windows = {}
        told = self._guide[len(choices) - 1 : len(choices)]
        focus = [told[0][0]] if told else self._focus
        for number in range(len(trace) - 1, last, -1):
            step = trace[number]
            if number + 1 < len(trace) and trace[number + 1].actor != step.actor:
                windows.clear()
            if focus and not _is_told(focus, schedule.actors[step.actor].name, step):
                continue
            for other in step.others:
                window = windows.get((step.actor, other))
                if told and other != told[0][1]:
                    continue
                if window is not None and not focus and not window.meets(prints[number]):
                    continue
                chosen = {**choices, number: other}
                child = self.run(choices=chosen)
                yield number, chosen, child
                steps = itertools.takewhile(lambda one, me=step.actor: one.actor != me, child.trace[number:])
                windows[step.actor, other] = Window([footprint(one.verb, one.paths) for one in steps])

    def sample(self, count, *, seed=0, depth=3, deadly=False):
        """Runs whose order is decided by priorities that change at ``depth`` random steps (PCT).

        ``deadly``: in some of them an actor dies at a random step.
        """
        length = max(20, self.steps // max(1, self.runs))
        for number in range(count):
            rng = random.Random(f"{self.scenario.name} {seed} {number}")
            deaths = {rng.randrange(length)} if deadly and rng.random() < 0.3 else ()
            self.run(
                pick=_Priorities(rng, len(self.scenario.actors), depth=depth, length=length), deaths=deaths
            )


def _is_told(focus, name, step):
    return any(
        name == actor and step.verb == verb and any(part in path for path in step.paths or ("",))
        for actor, verb, part in focus
    )


class _Priorities:
    """Whoever has the highest priority goes on; at some steps who runs gets the lowest."""

    def __init__(self, rng, actors, *, depth, length):
        self._order = list(range(actors))
        rng.shuffle(self._order)
        self._changes = {rng.randrange(length) for _ in range(depth)}

    def __call__(self, number, now, able):
        if number in self._changes and now is not None:
            self._changes.discard(number)
            self._order.remove(now)
            self._order.append(now)
        return next(actor for actor in self._order if actor in able)
