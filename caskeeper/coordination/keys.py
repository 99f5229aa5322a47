"""Every key in Redis that is ours: its type, its fields, who writes it.

All but those of the whole database begin with ``caskeeper:{<volume id>}:``; the braces are literal and keep
one volume's keys together. The first seven of these are the *shared state*: they have no TTL (expiry is a
stored Redis TIME) and each carries the epoch, so that the loss of any one is seen (safety.md section 7). They
are written by the scripts in ``lua/`` and by nothing else.
"""

from __future__ import annotations

import re

from caskeeper.errors import InvalidRequest

#: String: the id of the volume this database belongs to. Written once by create.lua, and again by
#: acquire.lua after a FLUSHALL. No TTL.
VOLUME = "caskeeper:volume"

#: Hash, of the whole database as well: holder ('' = nobody), host, expires_ms of the beat that leads;
#: ``sent:<entry>``: when an entry of the schedule was last sent. A hint. Written by leader_take,
#: leader_sent, leader_release.
LEADER = "caskeeper:leader"

#: Hash with a day's TTL, of the whole database, ``caskeeper:flight:<operation>``: next (id of the job that is
#: queued and not begun), next_until_ms; running (id of the job that is executed), token, until_ms, joinable
#: ('1': others may join it while it runs). Delivery only (queue.md 2.4, 2.5). Written by job_join, job_sent,
#: job_forget, job_take, job_renew, job_release, job_cancel.
FLIGHT = "caskeeper:flight:"

#: Hash with a week's TTL, of the whole database, ``caskeeper:job:<id>``: id, task, subject, lane, who,
#: sent ('1': its message is in the queue), sent_ms, flight, state, worker, pid, begun_ms, first_ms, ended_ms,
#: starts, unended (starts since the last orderly end), retries, error, exit_code, sentence, bytes; cancel
#: ('1'), cancel_who, cancel_ms. Written by job_join, job_sent, job_forget, job_take, job_release, job_cancel.
JOB = "caskeeper:job:"

#: Sorted set with a week's TTL, of the whole database: job id -> Redis TIME in ms at which it was sent; the
#: newest 10,000; the record of one that has ended goes with its place. Written by job_join, job_take,
#: job_cancel.
JOBS = "caskeeper:jobs"

#: Sorted set with TTL, of the whole database, ``caskeeper:waiters:<job id>``: waiter -> Redis TIME in ms
#: until which it waits. Written by job_join, job_wait, job_take, job_cancel; job_release removes it.
WAITERS = "caskeeper:waiters:"

#: Hash: epoch; run_id (of the server that wrote it); ready, known (0 or 1); evict_from_ms;
#: stop_nonce (only between clean_stop.lua and resume.lua). Written by create, acquire, ready,
#: finish_recount, clean_stop, resume.
STATE = "state"

#: Hash: epoch; used, reserved, added_total in bytes; converted (from drop_dead or settle until a
#: finish_recount, which leaves what ended meanwhile).
#: Written by register, reserve, settle, settle_part, drop_dead, give_back, set_provisional,
#: finish_recount.
USAGE = "usage"

#: Hash: epoch; operation id -> JSON {verb, subject, host, started_ms, expires_ms, reserved_bytes,
#: dying, ended (by a settle that asks for a recount), part (the number of the last one), expected, claims},
#: integers as text. Written by register, renew, reserve, hold, settle, settle_part,
#: mark_dying, drop_dead.
OPERATIONS = "operations"

#: Hash: epoch; ``root:<hash>`` or ``ref:<name>`` -> how many operations claim it. Written by hold,
#: settle, drop_dead, and counted anew by mark_dying.
CLAIMS = "claims"

#: Hash: epoch; ``root:<hash>``, ``ref:<name>`` or ``key:<artifact key>`` -> the maintenance holder
#: that is taking it away. Written by condemn, uncondemn, ready, lease_release.
CONDEMNED = "condemned"

#: Hash: epoch; session id -> JSON {label, expires_ms, size, reopened, life_ms}, integers as text;
#: life_ms only in one with a life of its own. Written by session_open, session_renew,
#: session_require, session_close, mark_dying.
SESSIONS = "sessions"

#: Hash, the one maintenance lease: epoch; holder ('' = free), purpose, expires_ms. Written by
#: acquire, lease_renew, lease_release.
CLEANUP = "cleanup"

#: Set, one per session, ``session:<id>``: the required artifact keys and the sentinel
#: ``epoch:<epoch>``; its size must be the record's size + 1. Part of the shared state. Written by
#: session_open, session_require, session_close, session_renew, mark_dying.
SESSION = "session:"

#: Sorted set: ref -> Redis TIME in ms of its last use. A hint. Written by recency_touch, note,
#: Recency.forget.
RECENCY = "recency"

#: Stream of about 50,000 entries: what became of refs. Fields of an entry: ref, what, more (JSON). A hint,
#: without epoch and without TTL: it outlives the loss of the shared state. Written by note.
EVENTS = "events"

#: String with TTL, ``once:<what>``: whose job it is to see to something that one does for all. Written by
#: flight_take, flight_release.
ONCE = "once:"

#: Hash: since_ms; totals of the fleet for `stats`, whole numbers, about 2,000 fields. A hint, without epoch
#: and without TTL. Written by stats_add, Stats.reset.
STATS = "stats"

#: String with a day's TTL, ``beat:<worker>``: the number of the worker's last heartbeat. One that is missing
#: or too low says that Redis has lost what came after it. Written by flight_beat.
BEAT = "beat:"

#: Sorted set with a TTL, ``turns:<name>``: token -> Redis TIME in ms until which it has a place. Written by
#: turn_take, turn_release.
TURNS = "turns:"

#: Hash with a day's TTL: url of a remote -> JSON {open, error, until_ms, failures, since_ms, probe_ms},
#: integers as text. A hint. Written by breaker_open, breaker_look, breaker_close.
BREAKERS = "breakers"

_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


def is_identifier(text: str) -> bool:
    """Whether it can be a part of a key and a field beside the sentinel."""
    return _IDENTIFIER.match(text) is not None and text != "epoch"


def identifier(text: str, *, what: str) -> str:
    """``text`` when it can be a part of a key and a field beside the sentinel. Raises InvalidRequest."""
    if not is_identifier(text):
        raise InvalidRequest(
            f"{text[:80]!r} is no {what}", what, "use 1 to 128 characters of [A-Za-z0-9._-], not `epoch`"
        )
    return text


def is_job_id(text: str) -> bool:
    """Whether it can be the id of a job: whoever asks may say anything."""
    return text != "" and text.isprintable()


def flight(operation: str) -> str:
    """The flight of an operation."""
    return f"{FLIGHT}{operation}"


def job(job_id: str) -> str:
    """The record of a job."""
    return f"{JOB}{job_id}"


def waiters(job_id: str) -> str:
    """Who waits for a job."""
    return f"{WAITERS}{job_id}"


class Keys:
    """The names of one volume's keys."""

    def __init__(self, volume_id: str) -> None:
        self.prefix = f"caskeeper:{{{identifier(volume_id, what='volume id')}}}:"
        names = (STATE, USAGE, OPERATIONS, CLAIMS, CONDEMNED, SESSIONS, CLEANUP)
        #: KEYS 1 to 7 of every script that touches the shared state.
        self.structures = tuple(self.prefix + name for name in names)
        self.recency = self.prefix + RECENCY
        self.events = self.prefix + EVENTS
        self.stats = self.prefix + STATS
        self.breakers = self.prefix + BREAKERS

    def session(self, session_id: str) -> str:
        """The set of a session's keys."""
        return f"{self.prefix}{SESSION}{session_id}"

    def once(self, what: str) -> str:
        """Who sees to something that one does for all."""
        return f"{self.prefix}{ONCE}{what}"

    def beat(self, holder: str) -> str:
        """The last heartbeat of a worker."""
        return f"{self.prefix}{BEAT}{holder}"

    def turns(self, name: str) -> str:
        """Who has a place at something that is limited."""
        return f"{self.prefix}{TURNS}{name}"
