"""I6: the loss of the state or of any part of it is seen by every script, which then changes nothing."""

import pytest

from caskeeper.coordination import StateLost
from caskeeper.errors import LeaseLost, Transient

STRUCTURES = ("state", "usage", "operations", "claims", "condemned", "sessions", "cleanup")


@pytest.fixture
def coordination(place):
    """A state with something in every structure."""
    made = place.create(used_bytes=10)
    made.operations.register("op", verb="pull", subject="s", host="h", reserved_bytes=1)
    made.operations.hold("op", "epoch-1", refs=["p/e/k"], roots=["aa"])
    made.maintenance.acquire("me", purpose="test")
    made.maintenance.condemn("me", "epoch-1", roots=["bb"], refs=[], keys=[])
    made.sessions.open("build")
    made.sessions.require("build", ["k1", "k2"])
    assert not made.state().lost
    return made


def guarded_calls(coordination):
    """Every call that relies on the state, by name; ``maintenance.acquire`` is the way out of its loss."""
    operations, maintenance = coordination.operations, coordination.maintenance
    sessions = coordination.sessions
    group = {"roots": ["cc"], "refs": [], "keys": []}
    return {
        "register": lambda: operations.register("new", verb="v", subject="s", host="h"),
        "renew": lambda: operations.renew("op", "epoch-1"),
        "reserve": lambda: operations.reserve("op", "epoch-1", 1, limit_bytes=1000),
        "hold": lambda: operations.hold("op", "epoch-1", refs=["r"], roots=["dd"]),
        "claim": lambda: operations.claim("op", "epoch-1", ["dd"]),
        "settle_part": lambda: operations.settle_part("op", "epoch-1", 1, unreserve_bytes=1, number=1),
        "list": operations.list,
        "snapshot": coordination.usage.snapshot,
        "session open": lambda: sessions.open("new"),
        "session require": lambda: sessions.require("build", ["k3"]),
        "session live": sessions.live,
        "session keys": sessions.required_keys,
        "lease holder": maintenance.holder,
        "lease renew": lambda: maintenance.renew("me", "epoch-1"),
        "ready": lambda: maintenance.ready("me", "epoch-1"),
        "set_provisional": lambda: maintenance.set_provisional("me", "epoch-1", 1),
        "expect": lambda: maintenance.expect("me", "epoch-1", {"commit-1": 1}),
        "mark_dying": lambda: maintenance.mark_dying("me", "epoch-1"),
        "drop_dead": lambda: maintenance.drop_dead("me", "epoch-1", "op"),
        "condemn": lambda: maintenance.condemn("me", "epoch-1", **group),
        "uncondemn": lambda: maintenance.uncondemn("me", "epoch-1", roots=["bb"], refs=[], keys=[]),
        "begin_recount": lambda: maintenance.begin_recount("me", "epoch-1"),
        "finish_recount": lambda: maintenance.finish_recount(
            "me", "epoch-1", scanned_bytes=1, added_total_at_start=0
        ),
        "clean_stop": lambda: coordination.clean_stop("nonce"),
    }


def quiet_calls(coordination):
    """Every call for which a lost state is an answer and no error, with that answer."""
    return [
        (lambda: coordination.operations.settle("op", "epoch-1", 1), False),
        (lambda: coordination.sessions.renew("build"), False),
        (lambda: coordination.sessions.close("build"), None),
        (lambda: coordination.maintenance.release("me"), None),
        (lambda: coordination.maintenance.give_back("me", "epoch-1", 1), None),
        (lambda: coordination.resume(epoch="epoch-1", nonce="nonce"), False),
    ]


def every_call_refuses(coordination, place):
    before = place.contents()
    for name, call in guarded_calls(coordination).items():
        with pytest.raises(StateLost) as caught:
            call()
        assert isinstance(caught.value, Transient), name
    for call, answer in quiet_calls(coordination):
        assert call() is answer
    assert coordination.state().lost
    assert place.contents() == before


@pytest.mark.parametrize("name", STRUCTURES)
def test_i6_one_structure_missing_is_a_lost_state(coordination, place, name):
    place.raw.delete(place.prefix + name)
    every_call_refuses(coordination, place)


@pytest.mark.parametrize("name", STRUCTURES)
def test_i6_one_structure_without_the_epoch_is_a_lost_state(coordination, place, name):
    place.raw.hdel(place.prefix + name, "epoch")
    every_call_refuses(coordination, place)


@pytest.mark.parametrize("name", STRUCTURES)
def test_i6_one_structure_of_another_epoch_is_a_lost_state(coordination, place, name):
    place.raw.hset(place.prefix + name, "epoch", "epoch-0")
    every_call_refuses(coordination, place)


def test_i6_another_run_of_the_server_is_a_lost_state(coordination, place):
    place.raw.hset(place.prefix + "state", "run_id", "the run before")
    every_call_refuses(coordination, place)


def test_i6_an_emptied_server_is_a_lost_state(coordination, place):
    place.raw.flushall()
    every_call_refuses(coordination, place)
    assert coordination.state().epoch is None


def test_i6_an_old_epoch_is_refused_by_every_call_that_names_it(coordination, place):
    place.raw.flushall()
    grant = coordination.maintenance.acquire("me", purpose="recovery")
    coordination.maintenance.ready("me", grant.epoch)
    without_epoch = {
        *("register", "list", "snapshot", "session open", "session require", "session live"),
        *("session keys", "lease holder", "clean_stop"),
    }
    before = place.contents()
    for name, call in guarded_calls(coordination).items():
        if name not in without_epoch:
            with pytest.raises(StateLost):
                call()
    assert not coordination.operations.settle("op", "epoch-1", 1)
    coordination.maintenance.give_back("me", "epoch-1", 1)
    assert place.contents() == before


def harm_member(raw, key):
    raw.srem(key, "k1")


def harm_sentinel(raw, key):
    raw.srem(key, "epoch:epoch-1")
    raw.sadd(key, "epoch:epoch-0")


def harm_whole(raw, key):
    raw.delete(key)


def harm_extra(raw, key):
    raw.sadd(key, "k3")


@pytest.mark.parametrize("harm", [harm_member, harm_sentinel, harm_whole, harm_extra])
def test_i6_a_session_set_of_the_wrong_size_is_a_lost_state(coordination, place, harm):
    harm(place.raw, place.prefix + "session:build")
    before = place.contents()
    calls = guarded_calls(coordination)
    for name in ("condemn", "session require", "session live", "session keys"):
        with pytest.raises(StateLost):
            calls[name]()
    with pytest.raises(StateLost):
        coordination.sessions.open("build")
    assert coordination.sessions.renew("build") is False
    assert coordination.state().lost
    assert place.contents() == before
    assert coordination.maintenance.acquire("other", purpose="recovery").lost


def test_a_lost_state_is_recovered_in_a_new_epoch_and_operations_come_back(coordination, place):
    place.raw.flushall()
    grant = coordination.maintenance.acquire("me", purpose="recovery")
    assert grant.lost
    assert grant.epoch != "epoch-1"
    coordination.maintenance.ready("me", grant.epoch)
    epoch = coordination.operations.register("op", verb="pull", subject="s", host="h", reserved_bytes=6)
    assert epoch == grant.epoch
    assert coordination.usage.snapshot()[:2] == (0, 6)
    assert place.raw.get("caskeeper:volume") == "volume-1"


def test_a_clean_stop_is_resumed_in_the_next_run_once(coordination, place):
    assert coordination.clean_stop("nonce") == "epoch-1"
    place.raw.hset(place.prefix + "state", "run_id", "the run before")
    assert coordination.state().lost
    assert not coordination.resume(epoch="epoch-1", nonce="another")
    assert not coordination.resume(epoch="epoch-0", nonce="nonce")
    assert coordination.state().lost
    assert coordination.resume(epoch="epoch-1", nonce="nonce")
    assert coordination.state()[:4] == ("epoch-1", False, True, True)
    assert not coordination.resume(epoch="epoch-1", nonce="nonce")


def harm_structure(raw, prefix):
    raw.delete(prefix + "claims")


def harm_session(raw, prefix):
    raw.srem(prefix + "session:build", "k1")


@pytest.mark.parametrize("harm", [harm_structure, harm_session])
def test_a_damaged_state_is_not_resumed(coordination, place, harm):
    coordination.clean_stop("nonce")
    harm(place.raw, place.prefix)
    assert not coordination.resume(epoch="epoch-1", nonce="nonce")
    assert coordination.state().lost


@pytest.mark.parametrize("name", STRUCTURES)
def test_i6_one_structure_of_another_type_is_a_lost_state(coordination, place, name):
    place.raw.delete(place.prefix + name)
    place.raw.set(place.prefix + name, "text")
    assert coordination.state().lost
    for call in guarded_calls(coordination).values():
        with pytest.raises(StateLost):
            call()
    begun_anew(coordination)


def begun_anew(coordination):
    """The state is lost, and whoever takes the lease makes a whole one of it."""
    assert coordination.state().lost
    grant = coordination.maintenance.acquire("other", purpose="recovery")
    assert grant.lost
    coordination.maintenance.ready("other", grant.epoch)
    state = coordination.state()
    assert state.ready
    assert not state.lost
    assert coordination.operations.list() == []
    assert coordination.sessions.live() == []
    assert coordination.usage.snapshot().used_bytes == 0


#: Also what is no number that Redis goes on counting with, and what Lua cannot count exactly.
UNCOUNTED = [None, "", "many", "1.5", "1e9", "9" * 30, "-1", "-0", "007", "9" * 19, str(2**53 + 1), "1\n"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("used", value) for value in UNCOUNTED]
    + [(field, value) for field in ("reserved", "added_total") for value in (None, "-1")],
)
def test_i6_a_counter_that_is_no_integer_is_a_lost_state(coordination, place, field, value):
    place.raw.hdel(place.prefix + "usage", field)
    if value is not None:
        place.raw.hset(place.prefix + "usage", field, value)
    every_call_refuses(coordination, place)
    begun_anew(coordination)


@pytest.mark.parametrize("value", ["", "many", "-1"])
def test_i6_a_counter_that_is_there_only_at_times_is_an_integer_too(coordination, place, value):
    assert coordination.usage.snapshot().converted_bytes == 0
    place.raw.hset(place.prefix + "usage", "converted", value)
    every_call_refuses(coordination, place)
    begun_anew(coordination)


@pytest.mark.parametrize("name", ["junk", b"\xff\xfe"])
@pytest.mark.parametrize("structure", ["usage", "cleanup"])
def test_i6_a_field_that_is_none_of_ours_is_not_read(coordination, place, structure, name):
    """It does no harm, and goes with the epoch."""
    place.raw.hset(place.prefix + structure, name, "junk")
    assert coordination.usage.snapshot().used_bytes == 10
    assert coordination.maintenance.holder().holder == "me"
    assert not coordination.state().lost


NO_TIME = ["soon", "-1", "1e300", str(2**53 + 1), None]


@pytest.mark.parametrize(
    ("field", "value"),
    [("expires_ms", value) for value in NO_TIME]
    + [
        (field, value) for field in ("holder", "purpose") for value in (None, "\x1b[2J", "\u00e9", "x" * 1000)
    ],
)
def test_i6_a_maintenance_lease_that_nobody_wrote_is_a_lost_state(coordination, place, field, value):
    place.raw.hdel(place.prefix + "cleanup", field)
    if value is not None:
        place.raw.hset(place.prefix + "cleanup", field, value)
    every_call_refuses(coordination, place)
    begun_anew(coordination)


def test_i6_a_lease_that_would_never_end_is_nobody_s(coordination, place):
    """No script writes an end that far away, but a clock that was set right leaves one: it is taken over."""
    far_ms = str(coordination.now_ms() + 100 * 60_000)
    place.raw.hset(place.prefix + "cleanup", "expires_ms", far_ms)
    grant = coordination.maintenance.acquire("other", purpose="recovery")
    assert grant is not None
    assert not grant.lost
    with pytest.raises(LeaseLost):
        coordination.maintenance.renew("me", grant.epoch)


def test_i6_what_is_reserved_is_what_the_operations_have_reserved(coordination, place):
    """A counter that is a number and wrong all the same is right again with the next lease."""
    for wrong in ("0", str(10**15)):
        place.raw.hset(place.prefix + "usage", "reserved", wrong)
        coordination.maintenance.release("me")
        coordination.maintenance.acquire("me", purpose="test")
        assert coordination.usage.snapshot().reserved_bytes == 1


@pytest.mark.parametrize("value", [*NO_TIME, "far"])
def test_i6_a_waiting_period_that_would_never_end_begins_anew(coordination, place, value):
    place.raw.hdel(place.prefix + "state", "evict_from_ms")
    if value is not None:
        end = str(coordination.now_ms() + 365 * 86_400_000) if value == "far" else value
        place.raw.hset(place.prefix + "state", "evict_from_ms", end)
    assert coordination.maintenance.acquire("other", purpose="recovery").lost
    coordination.maintenance.ready("other", coordination.state().epoch)
    state = coordination.state()
    assert state.evict_from_ms <= state.now_ms + 120_000


@pytest.mark.parametrize("field", ["ready", "known"])
@pytest.mark.parametrize("value", [None, "", "yes", "2"])
def test_i6_a_state_that_is_neither_so_nor_so_is_lost(coordination, place, field, value):
    place.raw.hdel(place.prefix + "state", field)
    if value is not None:
        place.raw.hset(place.prefix + "state", field, value)
    every_call_refuses(coordination, place)
    begun_anew(coordination)


GARBAGE = ["", "x", "7", "null", "[]", "{}", '{"size": "x", "label": "l", "expires_ms": "1"}']


@pytest.mark.parametrize("text", GARBAGE)
@pytest.mark.parametrize("name", ["sessions", "operations"])
def test_i6_a_record_that_nobody_wrote_is_a_lost_state(coordination, place, name, text):
    mine = {"sessions": "build", "operations": "op"}[name]
    place.raw.hset(place.prefix + name, mine, text)
    with pytest.raises(StateLost):
        coordination.sessions.open(mine) if name == "sessions" else coordination.operations.register(
            mine, verb="v", subject="s", host="h"
        )
    with pytest.raises(StateLost):
        coordination.sessions.live() if name == "sessions" else coordination.operations.list()
    for refused in (
        lambda: coordination.maintenance.mark_dying("me", "epoch-1"),
        lambda: coordination.maintenance.condemn("me", "epoch-1", roots=["cc"], refs=[], keys=[]),
    ):
        with pytest.raises(StateLost):
            refused()
    begun_anew(coordination)


def test_i6_the_set_of_a_session_that_is_none_is_a_lost_state(coordination, place):
    place.raw.set(place.prefix + "session:build", "text")
    with pytest.raises(StateLost):
        coordination.sessions.require("build", ["k3"])
    begun_anew(coordination)


def test_a_claim_that_no_record_has_protects_until_the_next_cleanup_marks(coordination, place):
    place.raw.hincrby(place.prefix + "claims", "root:ee", 1)
    place.raw.hset(place.prefix + "claims", "root:aa", "7")
    coordination.maintenance.mark_dying("me", "epoch-1")
    assert place.raw.hgetall(place.prefix + "claims") == {
        "epoch": "epoch-1",
        "root:aa": "1",
        "ref:p/e/k": "1",
    }
