"""The record of jobs and flights (queue.md 2.4 to 2.7): one job for all who ask, one execution at a time."""

import pytest
from harness.holders import beginning

from caskeeper.contract import REQUESTS, PullRequest
from caskeeper.coordination import jobs as jobs_module
from caskeeper.coordination import keys as key_names
from caskeeper.coordination.jobs import RECOVERY_S, Offer, Outcome, Taken

FLIGHT = "artifacts.pull:0"
DONE = Outcome("done", transferred_bytes=7)


@pytest.fixture
def jobs(place):
    return place.create().flights.jobs


def offer(job_id, flight=FLIGHT, *satisfied_by):
    return Offer(job_id, flight, "artifacts.pull", "pull", "p/e/k", "me@here", satisfied_by)


def begin(job_id, token="t", **about):
    return beginning(token, life_s=about.pop("life_s", 60), job_id=job_id, **about)


def sent(jobs, job_id, flight=FLIGHT, waiter="me"):
    joined = jobs.join(offer(job_id, flight), waiter=waiter)
    assert joined.new
    jobs.sent(job_id, flight)
    return joined


def test_whoever_asks_for_what_is_queued_gets_the_same_job(jobs):
    assert jobs.join(offer("1"), waiter="a")[:3] == ("1", True, False)
    assert jobs.join(offer("2"), waiter="b")[:3] == ("1", False, False), "it was only announced"
    jobs.sent("1", FLIGHT)
    assert jobs.join(offer("2"), waiter="b")[:3] == ("1", False, True)
    assert jobs.join(offer("3", "artifacts.pull:other"), waiter="c").new
    assert jobs.read("1").waiters == 2
    assert jobs.read("2") is None, "what was not sent is not listed"


def test_a_job_whose_sender_died_before_sending_it_is_joined_for_a_moment_only(jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, "PENDING_S", 0.0)
    assert jobs.join(offer("1"), waiter="a").new
    assert jobs.join(offer("2"), waiter="b").new


def test_what_runs_is_joined_only_when_it_says_so(jobs):
    sent(jobs, "1")
    assert jobs.take(begin("1")).word == "OK"
    assert jobs.join(offer("2"), waiter="b").job_id == "1"
    sent(jobs, "3", "artifacts.commit:0")
    jobs.take(begin("3", flight="artifacts.commit:0", joinable=False))
    assert jobs.join(offer("4", "artifacts.commit:0"), waiter="b").new
    jobs.sent("4", "artifacts.commit:0")
    assert jobs.join(offer("5", "artifacts.commit:0"), waiter="c").job_id == "4"


def test_a_job_whose_worker_was_killed_is_still_joined_until_it_is_delivered_again(jobs, monkeypatch):
    sent(jobs, "1")
    jobs.take(begin("1", life_s=0.0))
    assert jobs.join(offer("2"), waiter="b").job_id == "1"
    monkeypatch.setattr(jobs_module, "RECOVERY_S", 0.0)
    assert jobs.join(offer("2"), waiter="b").new


def test_a_wider_operation_satisfies_a_narrower_one_and_not_the_other_way_round(jobs):
    whole, part = PullRequest(ref="p/e/k"), PullRequest(ref="p/e/k", subdir="d")
    assert [each.flight() for each in part.covers()] == [whole.flight()]
    assert list(whole.covers()) == []
    sent(jobs, "1", whole.flight())
    joined = jobs.join(offer("2", part.flight(), whole.flight()), waiter="b")
    assert (joined.job_id, joined.flight) == ("1", whole.flight())
    sent(jobs, "3", PullRequest(ref="p/e/other", subdir="d").flight())
    assert jobs.join(offer("4", PullRequest(ref="p/e/other").flight()), waiter="b").new


def test_different_folders_exclusions_and_remotes_are_different_operations_and_versions_are_not():
    ref = {"ref": "p/e/k"}
    different = [
        PullRequest(**ref),
        PullRequest(**ref, subdir="d"),
        PullRequest(**ref, excluded_subdirs=("d",)),
        PullRequest(**ref, remotes=("http://h",)),
        PullRequest(**ref, refresh=True),
    ]
    assert len({request.flight() for request in different}) == len(different)
    assert PullRequest(**ref, version=0).flight() == PullRequest(**ref).flight()
    assert not PullRequest(**ref, refresh=True).joinable()


def test_only_what_changes_nothing_here_or_can_be_asked_twice_is_joined_while_it_runs():
    found = {name for name, kind in REQUESTS.items() if kind.JOINABLE}
    assert found == {
        "artifacts.pull",
        "artifacts.pull_tree",
        "artifacts.push_directory",
        "artifacts.push_message",
    }


def test_one_execution_of_an_operation_at_a_time_whichever_its_jobs(jobs):
    sent(jobs, "1")
    assert jobs.take(begin("1", "a"))[:2] == ("OK", 1)
    assert jobs.take(begin("1", "a"))[:2] == ("OK", 1), "the same token may take it again"
    assert jobs.take(begin("1", "b"))[:3] == ("HELD", 0, "1 on worker-1@here")
    assert jobs.take(begin("2", "b")).word == "HELD"
    assert not jobs.release("1", FLIGHT, "b", DONE)
    assert jobs.release("1", FLIGHT, "a", DONE)
    assert jobs.take(begin("1", "b")).word == "ENDED"
    assert jobs.take(begin("2", "b")).word == "OK"


def test_an_execution_that_was_late_goes_on_unless_another_has_begun(jobs):
    jobs.take(begin("1", "a", life_s=0.0))
    assert jobs.renew("1", FLIGHT, "a", life_s=0.0)[:2] == (True, False)
    assert jobs.take(begin("1", "b")).word == "OK"
    assert jobs.renew("1", FLIGHT, "a", life_s=60)[:2] == (False, False)
    assert not jobs.release("1", FLIGHT, "a", DONE)
    assert jobs.renew("1", FLIGHT, "b", life_s=60).held


def test_an_execution_that_lost_its_lease_to_another_job_still_speaks_for_its_own(jobs):
    jobs.take(begin("1", "a", life_s=0.0))
    assert jobs.take(begin("2", "b")).word == "OK"
    assert not jobs.renew("1", FLIGHT, "a", life_s=60).held
    assert jobs.release("1", FLIGHT, "a", Outcome("queued"))
    assert (jobs.read("1").state, jobs.read("1").starts) == ("queued", 0)
    assert jobs.renew("2", FLIGHT, "b", life_s=60).held, "the other one goes on"
    assert jobs.release("2", FLIGHT, "b", DONE)
    assert jobs.take(begin("1", "c"))[:2] == ("OK", 1), "it was no death of its worker"


def test_an_execution_outlives_that_redis_is_emptied(place, jobs):
    jobs.take(begin("1", "a"))
    place.raw.flushall()
    assert jobs.renew("1", FLIGHT, "a", life_s=60) == (True, False, True)
    assert jobs.take(begin("1", "b")).word == "HELD"


def test_what_redis_has_lost_of_a_running_job_its_execution_writes_again(place, jobs):
    jobs.take(begin("1", "a"))
    place.raw.flushall()
    assert jobs.renew("1", FLIGHT, "a", life_s=60).forgotten
    assert jobs.take(begin("1", "a")).word == "OK"
    assert jobs.renew("1", FLIGHT, "a", life_s=60) == (True, False, False)
    assert [(record.id, record.state, record.worker) for record in jobs.newest(5)] == [
        ("1", "running", "worker-1@here")
    ]
    assert jobs.cancel("1", who="you@there").word == "running"
    assert jobs.renew("1", FLIGHT, "a", life_s=60).cancelled
    assert jobs.release("1", FLIGHT, "a", DONE)
    assert jobs.take(begin("1", "b")).word == "ENDED"


def test_starts_that_ended_in_good_order_are_no_deaths(jobs):
    assert [jobs.take(begin("1", token, life_s=0.0)).starts for token in "abc"] == [1, 2, 3]
    jobs.release("1", FLIGHT, "c", Outcome("queued"))
    assert jobs.take(begin("1", "d", life_s=0.0)).starts == 3, "put back by a worker that ended"
    jobs.release("1", FLIGHT, "d", Outcome("retrying", "Busy", 24, "held"))
    assert jobs.take(begin("1", "e")).starts == 1
    assert jobs.read("1").starts == 4, "one was put back"


def test_what_a_job_has_spent_counts_from_its_first_beginning_that_was_not_put_back(place, jobs):
    jobs.take(begin("1", "a"))
    place.raw.hset("caskeeper:job:1", "first_ms", 1000)
    assert jobs.take(begin("1", "a")).spent_s > 1_000_000
    jobs.release("1", FLIGHT, "a", Outcome("retrying"))
    assert jobs.take(begin("1", "b")).spent_s > 1_000_000
    jobs.take(begin("2", "c", flight="f2"))
    jobs.release("2", "f2", "c", Outcome("queued"))
    assert jobs.take(begin("2", "d", flight="f2")).spent_s == 0


def test_a_job_that_is_put_back_or_tried_again_is_still_the_one_to_join(jobs):
    sent(jobs, "1")
    for token, state in (("a", "queued"), ("b", "retrying")):
        jobs.take(begin("1", token, joinable=False))
        jobs.release("1", FLIGHT, token, Outcome(state))
        assert jobs.join(offer("2"), waiter="b").job_id == "1"
        assert jobs.read("1").state == state


@pytest.mark.parametrize("emptied", [False, True])
def test_whoever_joins_a_job_that_came_back_does_not_wait_for_its_sender(place, jobs, emptied):
    """Another program sends by name and announces nothing; a client may die before it has said `sent`."""
    jobs.take(begin("foreign"))
    if emptied:
        place.raw.flushall()
        jobs.renew("foreign", FLIGHT, "t", life_s=60)
    jobs.release("foreign", FLIGHT, "t", Outcome("retrying"))
    assert jobs.join(offer("2"), waiter="b")[:3] == ("foreign", False, True)


def test_a_queued_job_is_cancelled_for_good_and_nobody_joins_it(jobs):
    sent(jobs, "1")
    assert jobs.cancel("1", who="you@there").word == "ended"
    assert jobs.cancel("1", who="you@there").word == "over"
    assert jobs.join(offer("2"), waiter="b").new
    assert jobs.take(begin("1")).word == "CANCELLED"
    record = jobs.read("1")
    assert (record.state, record.error, record.exit_code) == ("cancelled", "Cancelled", 26)
    assert record.cancelled_by == "you@there"


def test_a_job_whose_sender_dies_before_it_is_sent_is_soon_forgotten(place, jobs):
    jobs.join(offer("1"), waiter="a")
    assert 0 < place.raw.pttl(key_names.job("1")) <= RECOVERY_S * 1000
    jobs.sent("1", FLIGHT)
    assert place.raw.pttl(key_names.job("1")) > RECOVERY_S * 1000
    jobs.join(offer("2", flight="other"), waiter="a")
    jobs.take(begin("2", flight="other"))
    assert place.raw.pttl(key_names.job("2")) > RECOVERY_S * 1000, "a worker has it"


def test_a_running_job_hears_of_its_cancellation_and_nobody_joins_it(jobs):
    sent(jobs, "1")
    jobs.take(begin("1", "a"))
    assert jobs.cancel("1", who="you@there").word == "running"
    assert jobs.renew("1", FLIGHT, "a", life_s=60)[:2] == (True, True)
    assert jobs.join(offer("2"), waiter="b").new
    assert jobs.release("1", FLIGHT, "a", Outcome("cancelled", "Cancelled", 26, "withdrawn"))
    assert jobs.read("1").state == "cancelled"
    assert jobs.take(begin("2", "b")).word == "OK"


def test_a_job_is_cancelled_before_its_second_delivery_and_while_another_of_its_kind_runs(jobs):
    jobs.take(begin("1", "a", life_s=0.0))
    assert jobs.cancel("1", who="x").word == "ended", "its worker has died"
    assert jobs.renew("1", FLIGHT, "a", life_s=60)[:2] == (False, True)
    jobs.take(begin("2", "b", joinable=False))
    sent(jobs, "3")
    assert jobs.cancel("3", who="x").word == "ended"
    assert jobs.take(begin("3", "c")).word == "CANCELLED"
    assert jobs.renew("2", FLIGHT, "b", life_s=60)[:2] == (True, False)


def test_a_job_that_nobody_has_recorded_is_cancelled_only_when_the_caller_insists(jobs):
    assert jobs.cancel("1", who="x").word == "unknown"
    assert jobs.read("1") is None
    assert jobs.cancel("1", who="x", unseen=True).word == "ended"
    assert jobs.take(begin("1")).word == "CANCELLED"
    (record,) = jobs.newest(10)
    assert record == jobs.read("1")
    assert (record.id, record.state, record.exit_code) == ("1", "cancelled", 26)
    assert (record.task, record.sentence) == ("artifacts.pull", "withdrawn by x")


def test_a_job_that_was_to_end_when_its_worker_died_says_why_it_ended(jobs, place):
    jobs.take(begin("1", "a"))
    jobs.cancel("1", who="x")
    place.raw.hset(f"caskeeper:flight:{FLIGHT}", "until_ms", 1)
    assert jobs.take(begin("1", "b")).word == "CANCELLED"
    assert jobs.read("1")[14:17] == ("Cancelled", 26, "withdrawn by x")


def test_who_asks_again_for_a_job_that_has_begun_meanwhile_does_not_make_it_the_next_one(jobs):
    sent(jobs, "1")
    jobs.take(begin("1", joinable=False))
    assert jobs.join(offer("1"), waiter="a").new, "the first answer was lost on its way"
    jobs.sent("1", FLIGHT)
    assert jobs.join(offer("2"), waiter="b").new


def test_a_lease_from_before_the_clock_was_set_back_is_not_waited_for(place, jobs):
    jobs.take(begin("1", "a"))
    place.raw.hset(f"caskeeper:flight:{FLIGHT}", "until_ms", jobs.read("1").begun_ms + 24 * 3_600_000)
    assert not jobs.read("1").alive
    assert jobs.join(offer("2"), waiter="b").new
    assert jobs.take(begin("1", "b")).word == "OK"


def test_a_job_that_began_before_the_clock_was_set_back_begins_to_spend_its_time_now(place, jobs):
    jobs.take(begin("1", "a"))
    place.raw.hset("caskeeper:job:1", "first_ms", jobs.read("1").begun_ms + 24 * 3_600_000)
    assert jobs.take(begin("1", "a")).spent_s == 0
    assert int(place.raw.hget("caskeeper:job:1", "first_ms")) < jobs.read("1").begun_ms + 1_000_000


@pytest.mark.parametrize("junk", ["x", "", "-1", "1e400", "9" * 40])
def test_damaged_counts_of_a_job_begin_anew(place, jobs, junk):
    sent(jobs, "1")
    jobs.take(begin("1", "a", life_s=0.0))
    damage = dict.fromkeys(("starts", "unended", "first_ms", "begun_ms", "retries"), junk)
    place.raw.hset("caskeeper:job:1", mapping=damage)
    assert jobs.take(begin("1", "b")) == Taken("OK", 1)
    place.raw.hset("caskeeper:job:1", mapping=damage)
    assert jobs.release("1", FLIGHT, "b", Outcome("queued"))
    assert jobs.take(begin("1", "c"))[:2] == ("OK", 1)


def test_the_last_who_waits_cancels_and_the_others_do_not(jobs):
    sent(jobs, "1", waiter="a")
    jobs.join(offer("2"), waiter="b")
    jobs.wait("1", "c", for_s=0.0)
    assert jobs.leave("1", "a", who="x") == ("waited", 1)
    assert jobs.read("1").state == "queued"
    assert jobs.leave("1", "b", who="x") == ("ended", 0)
    assert jobs.leave("1", "b", who="x").word == "over"


def test_a_job_that_another_program_sent_is_not_ended_by_who_only_looked_at_it(jobs):
    jobs.take(begin("1"))
    jobs.wait("1", "looks", for_s=60)
    assert jobs.leave("1", "looks", who="x") == ("waited", 1)
    assert jobs.renew("1", FLIGHT, "t", life_s=60)[:2] == (True, False)
    assert jobs.cancel("1", who="x").word == "running", "who insists ends it"


def test_a_job_that_ended_without_a_word_is_forgotten_and_its_outcome_kept(jobs):
    sent(jobs, "1")
    jobs.take(begin("1", "a"))
    jobs.forget("1", FLIGHT, Outcome("failed", "DeadlineExceeded", 21, "too long"))
    assert jobs.join(offer("2"), waiter="b").new
    assert jobs.read("1").sentence == "too long"
    assert not jobs.release("1", FLIGHT, "a", DONE)


def test_a_record_says_who_what_when_where_and_how_it_ended(jobs):
    sent(jobs, "1")
    assert not jobs.read("1").alive
    jobs.take(begin("1", "a", pid=42))
    running = jobs.read("1")
    assert running.alive
    jobs.release("1", FLIGHT, "a", DONE)
    record = jobs.read("1")
    assert record[:5] == ("1", "artifacts.pull", "p/e/k", "pull", "me@here")
    assert (record.state, record.worker, record.pid, record.bytes) == ("done", "worker-1@here", 42, 7)
    assert 0 < record.sent_ms <= record.begun_ms <= record.ended_ms
    assert (record.ended, record.alive, record.waiters) == (True, False, 0)
    assert "flight" not in record.to_json()


def test_the_newest_jobs_are_listed_first_by_state_and_lane(jobs):
    for n in range(3):
        sent(jobs, str(n), f"f{n}")
    jobs.take(begin("1", flight="f1"))
    jobs.take(begin("foreign", flight="f9", lane="push"))
    assert {record.id for record in jobs.newest(10)} == {"0", "1", "2", "foreign"}
    assert [record.id for record in jobs.newest(10, state="running", lane="pull")] == ["1"]
    assert [record.id for record in jobs.newest(10, lane="push")] == ["foreign"]
    assert len(jobs.newest(2)) == 2
    assert jobs.newest(0) == []


def test_the_log_is_capped_and_a_record_goes_with_its_entry(jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, "MOST_JOBS", 2)
    for n in range(4):
        sent(jobs, str(n), f"f{n}")
        jobs.take(begin(str(n), flight=f"f{n}"))
        jobs.release(str(n), f"f{n}", "t", DONE)
    sent(jobs, "4", "f4")
    kept = {record.id for record in jobs.newest(10)}
    assert len(kept) == 2
    assert {str(n) for n in range(5) if jobs.read(str(n)) is not None} == kept


def test_a_job_still_to_be_done_outlives_its_place_in_the_log(place, jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, "MOST_JOBS", 1)
    for n in range(3):
        sent(jobs, str(n), f"f{n}")
    (listed,) = jobs.newest(10)
    first, other = sorted({"0", "1", "2"} - {listed.id})
    assert jobs.join(offer("9", f"f{first}"), waiter="b").job_id == first
    assert jobs.cancel(other, who="x").word == "ended"
    place.raw.zadd("caskeeper:jobs", {listed.id: 1})
    assert jobs.take(begin(first, flight=f"f{first}")).word == "OK"
    assert [record.id for record in jobs.newest(10)] == [first], "it is news again"


@pytest.mark.parametrize("junk", ["another type", "no numbers", "nothing"])
def test_damaged_places_are_as_good_as_none(place, jobs, junk):
    sent(jobs, "1")
    jobs.take(begin("1", "a"))
    for key in place.raw.keys("caskeeper:*"):
        kind = place.raw.type(key)
        if junk == "no numbers" and kind == "hash":
            place.raw.hset(key, mapping=dict.fromkeys(place.raw.hkeys(key), "x"))
        elif junk != "no numbers":
            place.raw.delete(key)
        if junk == "another type" and not place.raw.exists(key):
            place.raw.lpush(key, "x")
    assert jobs.newest(5) is not None
    assert jobs.join(offer("2"), waiter="b").new
    jobs.sent("2", FLIGHT)
    assert jobs.take(begin("2", "b")).word == "OK"
    assert jobs.renew("2", FLIGHT, "b", life_s=60).held
    assert jobs.cancel("2", who="x").word == "running"
    assert jobs.release("2", FLIGHT, "b", DONE)
