"""Required-element locks from the client's side (safety.md section 4)."""

import os
import threading
import time

import fakeredis
import pytest
from harness.coordination import fake_coordination

from caskeeper.artifact import Element, Ref
from caskeeper.config import LeaseSettings
from caskeeper.coordination import StateLost
from caskeeper.errors import ConfigInvalid, InvalidRequest, LeaseLost
from caskeeper.layout import Layout
from caskeeper.session import DetachedSession, Session

STRONG, WEAK = Ref("p", "e", "strong"), Ref("p", "e", "weak")


@pytest.fixture
def server():
    return fakeredis.FakeServer()


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def put(layout, ref):
    os.makedirs(os.path.dirname(layout.ref(ref)), exist_ok=True)
    with open(layout.ref(ref), "wb") as file:
        file.write(b"\x0a\x40" + b"a" * 64 + b"\x10\x01")


def session(server, layout, *, session_s=120.0, **options):
    coordination = fake_coordination(server, leases=LeaseSettings(session_s=session_s))
    return Session(coordination, layout, **options)


def until(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_it_answers_what_is_here_and_protects_what_is_not_yet(server, layout):
    put(layout, STRONG)
    with session(server, layout, label="a build") as opened:
        assert opened.require(Element("p", "e.bst", strong_key="strong", weak_key="weak")) == (STRONG,)
        coordination = fake_coordination(server)
        assert set(coordination.sessions.required_keys()) == {"strong", "weak"}
        assert coordination.sessions.live()[0].label == "a build"
        assert coordination.recency.scores([str(STRONG), str(WEAK)])[0] is not None
        put(layout, WEAK)
        assert opened.require(str(WEAK), STRONG) == (WEAK, STRONG)
    assert coordination.sessions.live() == []


def test_what_is_condemned_is_absent_though_it_is_still_there(server, layout):
    put(layout, STRONG)
    coordination = fake_coordination(server)
    grant = coordination.maintenance.acquire("me", purpose="evict")
    assert coordination.maintenance.condemn("me", grant.epoch, roots=[], refs=[], keys=["strong"]) == ""
    with session(server, layout) as opened:
        assert opened.require(STRONG) == ()


def test_an_element_without_keys_marks_nothing(server, layout):
    with session(server, layout) as opened:
        assert opened.require(Element("p", "e")) == ()


def test_a_closed_session_is_not_used(server, layout):
    with session(server, layout) as opened:
        pass
    with pytest.raises(InvalidRequest, match="closed"):
        opened.require(STRONG)


def test_it_is_renewed_while_the_block_lasts(server, layout):
    with session(server, layout, session_s=0.3) as opened:
        opened.require(STRONG)
        first = fake_coordination(server).sessions.live()[0].expires_ms
        until(lambda: fake_coordination(server).sessions.live()[0].expires_ms > first + 300)


def test_after_a_loss_everything_is_marked_again_and_what_is_gone_is_told(server, layout):
    put(layout, STRONG)
    put(layout, WEAK)
    told = []
    with session(server, layout, session_s=0.3, on_lost=told.append) as opened:
        assert opened.require(STRONG, WEAK) == (STRONG, WEAK)
        assert opened.lost == frozenset()
        coordination = fake_coordination(server)
        coordination.sessions.close(opened.id)
        os.unlink(layout.ref(WEAK))
        until(lambda: opened.lost)
        assert opened.lost == {WEAK}
        assert told == [frozenset({WEAK})]
        assert set(coordination.sessions.required_keys()) == {"strong", "weak"}


def test_marking_waits_while_workers_recover_the_state(server, layout):
    put(layout, STRONG)
    with session(server, layout, wait_s=30) as opened:
        client = fakeredis.FakeRedis(server=server)
        client.flushall()
        answers = []
        asking = threading.Thread(target=lambda: answers.append(opened.require(STRONG)))
        asking.start()
        coordination = fake_coordination(server, epoch="epoch-2")
        asking.join(30)
        assert answers == [(STRONG,)]
        assert "strong" in coordination.sessions.required_keys()


def test_a_state_that_stays_lost_is_an_error(server, layout):
    with session(server, layout, wait_s=0.05) as opened:
        fakeredis.FakeRedis(server=server).flushall()
        with pytest.raises(StateLost):
            opened.require(STRONG)


def test_ac28_keys_that_become_known_later_are_required_with_the_same_element(server, layout):
    put(layout, STRONG)
    put(layout, WEAK)
    with session(server, layout) as opened:
        required = fake_coordination(server).sessions.required_keys
        element = Element("p", "e.bst")
        assert opened.require(element) == ()
        assert opened.require(element._replace(weak_key="weak")) == (WEAK,)
        assert set(required()) == {"weak"}
        assert opened.require(element._replace(weak_key="weak", strong_key="strong")) == (STRONG, WEAK)
        assert set(required()) == {"strong", "weak"}
        assert opened.require(element._replace(strong_key="rebuilt")) == ()
        assert set(required()) == {"strong", "weak", "rebuilt"}, "AC-26: never removed during the session"


def test_ac26_an_iterable_is_consumed_once_and_what_is_required_twice_counts_once(server, layout):
    put(layout, STRONG)
    with session(server, layout) as opened:
        assert opened.require(*(ref for ref in (STRONG, STRONG, str(STRONG)))) == (STRONG,)
        assert opened.require(STRONG) == (STRONG,)
        assert fake_coordination(server).sessions.live()[0].keys == 1


def test_d29_marking_counts_as_use_each_time_and_what_is_absent_is_passed_over(server, layout):
    """AC-27."""
    put(layout, STRONG)
    coordination = fake_coordination(server)
    with session(server, layout) as opened:
        opened.require(STRONG, WEAK)
        first = coordination.recency.scores([str(STRONG), str(WEAK)])
        assert first[0] is not None
        assert first[1] is None
        coordination.recency.forget([str(STRONG)])
        opened.require(STRONG)
        assert coordination.recency.scores([str(STRONG)]) != [None]


def test_a_session_with_a_life_of_its_own_is_made_again_with_it(server, layout):
    with session(server, layout, life_s=600.0) as opened:
        opened.require(STRONG)
        coordination = fake_coordination(server)
        coordination.sessions.close(opened.id)
        opened._mark_again()
        (live,) = coordination.sessions.live()
        assert (live.id, live.keys) == (opened.id, 1)
        assert live.expires_ms > coordination.now_ms() + 590_000


def test_i6_a_long_life_does_not_keep_a_session_from_coming_back_in_time_after_a_loss(server, layout):
    put(layout, STRONG)
    with session(server, layout, life_s=3600.0, session_s=0.3) as opened:
        opened.require(STRONG)
        coordination = fake_coordination(server)
        coordination.sessions.close(opened.id)
        until(lambda: "strong" in coordination.sessions.required_keys())


# -- sessions of several steps ---------------------------------------------------------------------


def step(server, layout, session_id=None, **leases):
    """What one step of a CI job has: the id, and nothing of the steps before."""
    return DetachedSession(fake_coordination(server, leases=LeaseSettings(**leases)), layout, session_id)


@pytest.fixture
def mounted(layout):
    with open(layout.format, "wb") as file:
        file.write(b"format")
    return layout


def test_steps_of_a_job_share_one_session_by_its_id(server, mounted):
    put(mounted, STRONG)
    session_id = step(server, mounted).open(label="job 7", life_s=3600).id
    assert step(server, mounted, session_id).require(STRONG) == (STRONG,)
    assert step(server, mounted, session_id).require(Element("p", "e", weak_key="weak")) == ()
    put(mounted, WEAK)
    assert step(server, mounted, session_id).require(WEAK) == (WEAK,)
    step(server, mounted, session_id).renew()
    coordination = fake_coordination(server)
    assert set(coordination.sessions.required_keys()) == {"strong", "weak"}
    (live,) = coordination.sessions.live()
    assert (live.id, live.label) == (session_id, "job 7")
    step(server, mounted, session_id).close()
    step(server, mounted, session_id).close()
    assert coordination.sessions.live() == []


def test_a_step_after_the_end_is_told_and_protects_nothing_by_itself(server, mounted):
    put(mounted, STRONG)
    one = step(server, mounted, session_s=0.0).open()
    for call in (one.renew, lambda: one.require(STRONG)):
        with pytest.raises(LeaseLost, match=f"session {one.id}.*open a new one"):
            call()
    assert fake_coordination(server).sessions.required_keys() == {}


def test_a_step_without_the_volume_is_refused_before_anything_is_marked(server, layout):
    one = step(server, layout).open()
    with pytest.raises(ConfigInvalid, match="not mounted"):
        one.require(STRONG)
    assert fake_coordination(server).sessions.required_keys() == {}


def test_a_step_for_an_element_without_keys_only_renews(server, mounted):
    one = step(server, mounted).open()
    assert one.require(Element("p", "e")) == ()
    assert fake_coordination(server).sessions.live()[0].keys == 0
