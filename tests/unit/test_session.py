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
from caskeeper.errors import InvalidRequest
from caskeeper.layout import Layout
from caskeeper.session import Session

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
        file.write(b"record")


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
