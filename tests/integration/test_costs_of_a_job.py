"""What a job costs the Redis that all share, by number: one that finds its work done, from call to result."""

import uuid

from harness.commands import place_in, until
from harness.costs import OTHER, server_monitored

from caskeeper.client import Client
from caskeeper.config import load_settings

WAIT_S = 60
JOBS = 20
#: In turn: the next job of the same artifact would now and then wait for the last to let go of it.
REFS = [f"p/e/{number}" for number in range(4)]
#: Questions for each job, each one round trip, by who asks. The client announces, sends, and says so.
CLIENT = {"job_join": 1, "LPUSH": 1, "job_sent": 1}
#: The message is taken, noted as held, and in the end as done with.
CONSUMER = {"BRPOP": 1, "MULTI": 2}
#: It is taken and told as begun in one step, and ends with its result in another.
DELIVERY = {"job_take": 1, "job_release": 1, "stats_add": 1, "state": 1}
VERB = {"register": 1, "hold": 1, "recency_touch": 1, "settle": 1}
EACH = {**CLIENT, **CONSUMER, **DELIVERY, **VERB}
#: Looks of who waits, bundles of events, connections and renewals: the longer it takes the more.
BY_THE_CLOCK = {
    *("GET", "SET", "PUBLISH", "CLIENT", "PING", "HELLO", "ZCARD", "ZRANGE", "LLEN", "SCRIPT", OTHER),
    *("flight_beat", "job_renew", "renew", "breakers_read", "stats_read", "read", "sessions_live"),
}
#: These are asked by the clock as well, now and then.
ALSO = {"BRPOP", "MULTI", "state"}


def test_questions_of_a_job_that_finds_its_work_done(tmp_path):
    with place_in(tmp_path) as place, place.valkey.client() as redis:
        place.worker()
        with Client(load_settings(place.config)) as client:
            source = place.tree("source", {f"{number}": b"%d" % number for number in range(5)})
            for ref in REFS:
                client.commit(source, ref).result(WAIT_S)
                client.extract(ref).result(WAIT_S)
            until(lambda: len(children_that_work(client)) == 2)
            # What follows a result is asked before its message is done with.
            until(lambda: not client.queue.taken())
            with server_monitored(redis) as seen:
                for ref in REFS * (JOBS // len(REFS)):
                    client.extract(ref).result(WAIT_S)
                until(lambda: not client.queue.taken())
    assert set(seen) <= {*EACH, *BY_THE_CLOCK}
    for name, times in EACH.items():
        least, most = JOBS * times, JOBS * times + (JOBS - 1 if name in ALSO else 0)
        assert least <= seen[name] <= most, (name, seen)
    assert seen["GET"] >= JOBS, "the client's last look"


def children_that_work(client):
    """Asked by several jobs at once: each child makes its connections, and learns what the server can do."""
    jobs = [client.link(REFS[0], uuid.uuid4().hex) for _ in range(4)] + [client.extract(REFS[0])]
    for job in jobs:
        job.result(WAIT_S)
    return {record.pid for record in client.jobs(limit=1000) if record.state == "done"}
