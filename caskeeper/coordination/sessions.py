"""Required keys of running builds: the Redis side of safety.md section 4 (AC-26 to AC-29)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.coordination.keys import identifier
from caskeeper.coordination.values import SessionRecord
from caskeeper.errors import InvalidRequest, LeaseLost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.settings import LeaseSettings
    from caskeeper.coordination.scripts import Scripts

#: The longest life of its own: a session that somebody forgot keeps the cache from being cleaned.
MAX_LIFE_S = 7 * 86400.0


class Sessions:
    """Which keys nobody may evict. Every method raises CoordinatorUnavailable.

    A build opens a session, marks keys, and renews at a third of its life. When ``renew`` answers
    False, earlier answers are worth nothing: ``open`` it again, then ``require`` every key again.
    """

    def __init__(self, scripts: Scripts, leases: LeaseSettings) -> None:
        self._scripts = scripts
        self._life_ms = round(leases.session_s * 1000)

    def open(self, session_id: str, *, label: str = "", life_s: float | None = None) -> None:
        """The session begins; a live one goes on with its keys. StateLost, InvalidRequest.

        Its life, from now and from every later ``require`` and ``renew``, is ``life_s``; None: what it
        was opened with before, else `leases: session`.
        """
        if life_s is not None and not 0 < life_s <= MAX_LIFE_S:
            raise InvalidRequest(
                f"a session cannot live {life_s:g} s",
                f"session {session_id}",
                f"use more than 0 and at most {MAX_LIFE_S / 86400:.0f} days; a pin is for ever",
            )
        own_ms = "" if life_s is None else max(1, round(life_s * 1000))
        # A label may come from a command line, whose bytes need not be UTF-8.
        readable = label.encode("utf-8", "backslashreplace").decode()
        self._run("session_open", session_id, self._life_ms, readable, own_ms)

    def renew(self, session_id: str) -> bool:
        """One more life. False: it ended, or was lost and made anew, so keys may be missing from it."""
        answer = self._run("session_renew", session_id, self._life_ms, accept=("OVER", "LOST"))
        return bool(answer[0] == "OK")

    def require(self, session_id: str, keys: Sequence[str], *, anew: bool = True) -> set[str]:
        """The keys are required from here on, those answered are condemned at this moment.

        Only a look at the volume *afterwards* says whether an artifact is there. A session that is
        not there is made; its next ``renew`` then answers False once ``open`` was not called since,
        because keys marked before are not in it. With ``anew=False`` it is LeaseLost instead: for an
        owner that does not know every key marked before. StateLost, InvalidRequest.
        """
        again = "1" if anew else "0"
        answer = self._run("session_require", session_id, self._life_ms, again, *keys, accept=("OVER",))
        if answer[0] == "OVER":
            raise over(session_id)
        return set(answer[1:])

    def close(self, session_id: str) -> None:
        """The session is over; one that is gone already is no error."""
        self._run("session_close", session_id, accept=("LOST",))

    def live(self) -> list[SessionRecord]:
        """The sessions that have not expired, by id. StateLost."""
        _, *rows = self._scripts.run("sessions_live", "0", what="sessions")
        return sorted(SessionRecord(row[0], row[1], int(row[2]), int(row[3])) for row in rows)

    def required_keys(self) -> dict[str, str]:
        """Every required key, and a live session that requires it. StateLost."""
        return {key: sessions[0].id for key, sessions in self.requirers().items()}

    def requirers(self) -> dict[str, tuple[SessionRecord, ...]]:
        """Every required key with all live sessions that require it, by id. StateLost."""
        _, *rows = self._scripts.run("sessions_live", "1", what="sessions")
        found: dict[str, tuple[SessionRecord, ...]] = {}
        for row in sorted(rows):
            session = SessionRecord(row[0], row[1], int(row[2]), int(row[3]))
            for key in row[4:]:
                found[key] = (*found.get(key, ()), session)
        return found

    def _run(self, name: str, session_id: str, *args: str | int, accept: Sequence[str] = ()) -> list[str]:
        return self._scripts.run(
            name,
            identifier(session_id, what="session id"),
            *args,
            extra_keys=(self._scripts.keys.session(session_id),),
            what=f"session {session_id}",
            accept=accept,
        )


def over(session_id: str) -> LeaseLost:
    """What to raise for a session that ended: nothing it required is protected by it."""
    return LeaseLost(
        "the session is over: it was closed, it expired, or Redis lost it",
        f"session {session_id}",
        "open a new one and require again everything that is needed",
    )
