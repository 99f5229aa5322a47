"""One database belongs to one volume; its keys are documented; scripts survive a SCRIPT FLUSH."""

import os

import pytest

import caskeeper.coordination.keys as documented
from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination
from caskeeper.coordination.flights import HeldKeys
from caskeeper.coordination.jobs import Offer
from caskeeper.coordination.leader import Leader
from caskeeper.errors import ConfigInvalid, CoordinatorUnavailable, InvalidRequest

FOLDER = os.path.join(os.path.dirname(documented.__file__), "lua")
PRELUDES = {"prelude.lua", "prelude_jobs.lua", "guard.lua"}
SCRIPTS = sorted(name for name in os.listdir(FOLDER) if name not in PRELUDES)


def test_a_database_belongs_to_the_first_volume(place):
    place.create()
    for refused in (
        lambda: Coordination.over(place.connection(), volume_id="volume-2", leases=LeaseSettings()),
        lambda: Coordination.create_over(
            place.connection(), volume_id="volume-2", epoch="e", used_bytes=0, leases=LeaseSettings()
        ),
    ):
        with pytest.raises(ConfigInvalid, match=r"belongs to volume volume-1, not to volume-2"):
            refused()
    assert not [key for key in place.raw.keys("*") if "volume-2" in key]


def test_a_client_without_a_volume_learns_it_from_the_database(place):
    with pytest.raises(CoordinatorUnavailable, match="no worker has used this Redis yet"):
        Coordination.over(place.connection(), volume_id=None, leases=LeaseSettings())
    place.create()
    client = Coordination.over(place.connection(), volume_id=None, leases=LeaseSettings())
    assert client.volume_id == "volume-1"
    assert client.state().ready
    client.close()


def test_creating_a_second_time_leaves_the_state_as_it_is(place):
    coordination = place.create(used_bytes=5)
    coordination.operations.register("op", verb="v", subject="s", host="h", reserved_bytes=1)
    before = place.contents()
    Coordination.create_over(
        place.connection(), volume_id="volume-1", epoch="epoch-2", used_bytes=9, leases=LeaseSettings()
    ).close()
    assert place.contents() == before


def test_a_volume_id_that_cannot_be_a_key_is_refused(place):
    with pytest.raises(InvalidRequest, match="volume id"):
        Coordination.over(place.connection(), volume_id="a{b}", leases=LeaseSettings())


def test_a_database_that_is_emptied_while_it_is_asked_belongs_to_nobody(place):
    place.create()
    connection = place.connection()
    ask = connection.command

    def emptied_after_the_first_question(*words):
        answer = ask(*words)
        place.raw.flushall()
        return answer

    connection.command = emptied_after_the_first_question
    Coordination.over(connection, volume_id="volume-1", leases=LeaseSettings()).close()


def test_scripts_are_sent_again_when_the_server_forgot_them(place):
    coordination = place.create()
    coordination.operations.register("op", verb="v", subject="s", host="h")
    place.raw.script_flush()
    coordination.operations.renew("op", "epoch-1")
    assert coordination.operations.reserve("op", "epoch-1", 1, limit_bytes=1)
    assert coordination.usage.snapshot().reserved_bytes == 1


def test_every_key_is_documented_and_safety_keys_have_no_ttl(place):
    coordination = place.create()
    coordination.operations.register("op", verb="v", subject="s", host="h")
    coordination.operations.hold("op", "epoch-1", refs=["r"], roots=["aa"])
    coordination.maintenance.acquire("me", purpose="test")
    coordination.sessions.open("build")
    coordination.sessions.require("build", ["k"])
    coordination.events.note("published", ["r"])
    coordination.stats.add({"misses": 1})
    Leader(place.connection(), LeaseSettings()).take()
    coordination.flights.take("task", "token", ttl_s=60)
    coordination.limits.take("a", "token", limit=1)
    coordination.breakers.open("http://a", CoordinatorUnavailable("silent"), first_s=10.0)
    jobs = coordination.flights.jobs
    jobs.join(Offer("1", "operation", "artifacts.pull", "pull", "p/e/k", "me@here"), waiter="me")
    coordination.flights.beat("worker", 1, {}, answered=0, transport=HeldKeys("tags", "messages"))
    names = {value for name, value in vars(documented).items() if name.isupper() and isinstance(value, str)}
    of_jobs = {documented.FLIGHT, documented.JOB, documented.JOBS, documented.WAITERS}
    with_ttl = {documented.ONCE, documented.BEAT, documented.TURNS, documented.BREAKERS, *of_jobs}
    whole = {documented.VOLUME, documented.LEADER, documented.JOBS}
    found = set()
    for key in place.raw.keys("*"):
        name = key.removeprefix(place.prefix)
        if ":" in name and name not in whole:
            name = next((each for each in of_jobs if name.startswith(each)), name[: name.index(":") + 1])
        found.add(name)
        assert (place.raw.ttl(key) > 0) == (name in with_ttl), key
    assert found == names


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_takes_and_answers(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        head = file.read().split("\n")
    comments = [line for line in head if line.startswith("-- ")]
    assert comments[0].startswith(f"-- {name.removesuffix('.lua')}: ")
    for word in ("-- KEYS  ", "-- ARGV  ", "-- Answers OK"):
        assert any(line.startswith(word) for line in comments), word
