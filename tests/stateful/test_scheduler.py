"""The scheduler and the search themselves: what they promise to those who read their figures."""

from __future__ import annotations

import pytest
from harness.interleaved import Failure, Search
from harness.interleaved_footprint import Window, footprint
from harness.interleaved_scenarios import BY_NAME
from harness.schedule import Dead, Livelock, Schedule, current


def counting(name, steps, log):
    def work():
        actor = current()
        for number in range(steps):
            actor.schedule.step(actor, "step", f"/{number}")
            log.append(f"{name}{number}")
        return name

    return name, work


def test_one_actor_goes_on_until_it_is_interrupted_and_comes_back_afterwards():
    log = []
    schedule = Schedule([counting("a", 3, log), counting("b", 2, log)], choices={0: 0, 2: 1})
    schedule.run()
    assert log == ["a0", "b0", "b1", "a1", "a2"]
    assert [actor.outcome for actor in schedule.actors] == ["a", "b"]


def test_a_run_is_repeated_by_its_choices():
    logs = []
    for _ in range(2):
        logs.append([])
        Schedule([counting("a", 4, logs[-1]), counting("b", 4, logs[-1])], choices={3: 1, 5: 0, 6: 1}).run()
    assert logs[0] == logs[1]


def test_who_dies_does_nothing_more_and_the_others_go_on():
    log = []
    schedule = Schedule([counting("a", 3, log), counting("b", 2, log)], choices={0: 0}, deaths={2})
    schedule.run()
    assert log == ["a0", "b0", "b1"]
    assert schedule.actors[0].dead


def test_one_death_is_of_one_actor():
    log = []
    works = [counting("a", 3, log), counting("b", 3, log)]
    schedule = Schedule(works, choices={0: 0, 1: 1, 2: 0}, deaths={2})  # both have begun
    schedule.run()
    assert [actor.dead for actor in schedule.actors] == [False, True]
    assert log == ["a0", "a1", "a2"]


def test_nothing_is_done_by_the_handlers_of_who_died():
    log = []

    def careful():
        actor = current()
        try:
            actor.schedule.step(actor, "step", "/x")
        finally:
            actor.schedule.step(actor, "cleanup", "/x")
            log.append("cleaned up")

    schedule = Schedule([("a", careful)], deaths={1})
    schedule.run()
    assert log == []
    assert schedule.actors[0].outcome is None


def test_time_passes_for_who_waits_when_nobody_else_can_go_on():
    seen = []

    def waits():
        actor = current()
        while actor.schedule.now_s < 30:
            actor.schedule.sleep(actor, 0.02)
        seen.append(actor.schedule.now_s)

    Schedule([("a", waits)]).run()
    assert seen[0] >= 30


def test_who_waits_for_ever_is_told():
    def waits():
        actor = current()
        while True:
            actor.schedule.step(actor, "look", "/x")
            actor.schedule.sleep(actor, 0.01)

    with pytest.raises(Livelock):
        Schedule([("a", waits)]).run()


def test_what_a_step_of_an_actor_breaks_ends_the_run():
    log = []

    def after():
        if "a1" in log:
            raise AssertionError("broken")

    schedule = Schedule([counting("a", 4, log), counting("b", 4, log)], after=after)
    with pytest.raises(AssertionError, match="broken"):
        schedule.run()
    assert log == ["a0", "a1"]


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (("stat", "/a"), ("stat", "/a"), False),
        (("stat", "/a"), ("unlink", "/a"), True),
        (("unlink", "/a"), ("unlink", "/b"), False),
        (("scandir", "/f"), ("create", "/f/x"), True),
        (("scandir", "/f"), ("create", "/g/x"), False),
        (("stage", "/tmp/op/1"), ("take", "/tmp/op", "/trash/c/e-1"), True),
        (("apply", "/a"), ("create", "/tmp/op/start"), True),
        (("script", "reserve", "op1"), ("script", "read", "3"), True),
        (("script", "renew", "op1"), ("script", "renew", "op2"), False),
        (("script", "renew", "op1"), ("script", "mark_dying", "c"), True),
        (("script", "of the future", "x"), ("script", "renew", "op1"), True),
        (("event", "empty"), ("script", "state", ""), True),
    ],
)
def test_steps_that_may_be_exchanged_are_those_that_do_not_meet(one, other, meets):
    one, other = footprint(one[0], one[1:]), footprint(other[0], other[1:])
    assert Window([one]).meets(other) is meets
    assert Window([other]).meets(one) is meets


class Unreduced(Search):
    """Switches at every step."""

    def __init__(self, scenario, site):
        super().__init__(scenario, site)
        self.ends = set()

    def run(self, **how):
        schedule = super().run(**how)
        outcomes = tuple(
            type(actor.outcome).__name__ if not actor.dead else Dead.__name__ for actor in schedule.actors
        )
        self.ends.add((outcomes, frozenset(self.site.refs()), self.site.used))
        return schedule


class Reduced(Unreduced):
    """The same, with what meets nothing left out."""


def test_what_the_reduction_leaves_out_ends_as_something_that_was_run(site, monkeypatch):
    scenario = BY_NAME["reader and cleaner"]
    site.prepare(monkeypatch, scenario.before)
    reduced = Reduced(scenario, site)
    whole = Unreduced(scenario, site)
    with site.surroundings():
        reduced.explore(limit=10**6, switches=1)
        with monkeypatch.context() as patch:
            patch.setattr(Window, "meets", lambda *_: True)
            whole.explore(limit=10**6, switches=1)
    assert reduced.complete
    assert whole.complete
    assert reduced.runs < whole.runs / 2
    assert reduced.ends == whole.ends


def test_a_failure_says_how_to_see_it_again(site, monkeypatch):
    scenario = BY_NAME["session and cleaner"]
    site.prepare(monkeypatch, scenario.before)
    search = Search(scenario, site)
    monkeypatch.setattr(site, "settle", lambda: site.violations.append("broken") or site.after())
    with site.surroundings():
        with pytest.raises(Failure, match=r"broken[^$]*again with: choices=\{") as failure:
            search.run(choices={0: 1, 40: 0})
        assert failure.value.is_violation
        assert "script acquire" in str(failure.value)
