"""Required keys of running builds: the Redis side of safety.md section 4 (AC-26 to AC-29)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.coordination.keys import identifier
from caskeeper.coordination.values import SessionRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.settings import LeaseSettings
    from caskeeper.coordination.scripts import Scripts


class Sessions:
    """Which keys nobody may evict. Every method raises CoordinatorUnavailable.

    A build opens a session, marks keys, and renews at a third of its life. When ``renew`` answers
    False, earlier answers are worth nothing: ``open`` it again, then ``require`` every key again.
    """

    def __init__(self, scripts: Scripts, leases: LeaseSettings) -> None:
        self._scripts = scripts
        self._life_ms = round(leases.session_s * 1000)

    def open(self, session_id: str, *, label: str = "") -> None:
        """The session begins; a live one goes on with its keys. StateLost, InvalidRequest."""
        self._run("session_open", session_id, self._life_ms, label)

    def renew(self, session_id: str) -> bool:
        """One more life. False: it ended, or was lost and made anew, so keys may be missing from it."""
        answer = self._run("session_renew", session_id, self._life_ms, accept=("OVER", "LOST"))
        return bool(answer[0] == "OK")

    def require(self, session_id: str, keys: Sequence[str]) -> set[str]:
        """The keys are required from here on, those answered are condemned at this moment.

        Only a look at the volume *afterwards* says whether an artifact is there. A session that is
        not there is made; its next ``renew`` then answers False once ``open`` was not called since,
        because keys marked before are not in it. StateLost, InvalidRequest.
        """
        answer = self._run("session_require", session_id, self._life_ms, *keys)
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
        _, *rows = self._scripts.run("sessions_live", "1", what="sessions")
        return {key: row[0] for row in rows for key in row[4:]}

    def _run(self, name: str, session_id: str, *args: str | int, accept: Sequence[str] = ()) -> list[str]:
        return self._scripts.run(
            name,
            identifier(session_id, what="session id"),
            *args,
            extra_keys=(self._scripts.keys.session(session_id),),
            what=f"session {session_id}",
            accept=accept,
        )
