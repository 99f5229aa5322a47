"""The bearer token of a remote, from the file its spec names (wire-protocols section 1)."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from caskeeper.config.remote_spec import RemoteSpec

log = logging.getLogger(__name__)

#: No token is larger; what is was named by mistake.
_MAX_BYTES = 64 * 1024
#: A call that was refused began within so many seconds.
_CALL_S = 60.0


class BearerToken:
    """Read at the first use, then every so many minutes, and when it is refused. It is shown nowhere.

    When it can no longer be read, the last one is sent on, and a warning says so: a file that is being
    replaced must not end the calls under way.
    """

    def __init__(self, spec: RemoteSpec, *, path: str, place: str) -> None:
        self._path = path
        self._place = place
        minutes = spec.access_token_reload_minutes
        self._life_s = float("inf") if minutes is None else minutes * 60.0
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0
        self._changed = float("-inf")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries. Raises ConfigInvalid naming the file, and why, when there is no token."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._renew()
            return (("authorization", f"Bearer {self._token}"),)

    def renewed(self) -> bool:
        """After a call was refused: whether another token is sent from now on than that call carried.

        Calls that run at the same time are refused one after the other: the first of them reads the file.
        """
        with self._lock:
            before, now = self._token, time.monotonic()
            self._renew()
            if self._token != before:
                self._changed = now
            return now - self._changed < _CALL_S

    def _renew(self) -> None:
        try:
            self._token = self._read()
        except ConfigInvalid as trouble:
            if not self._token:
                raise
            log.warning("the token is not renewed", extra={"path": self._path, "reason": trouble.what})
        self._until = time.monotonic() + self._life_s

    def _read(self) -> str:
        try:
            with open(self._path, "rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._useless(f"cannot be read: {reason}") from None
        token = data.strip()
        if not token:
            raise self._useless("is empty")
        # Anything else could not stand in a header, or would begin another one.
        if len(data) > _MAX_BYTES or not all(0x21 <= byte <= 0x7E for byte in token):
            raise self._useless("holds something else than one token")
        return token.decode("ascii")

    def _useless(self, why: str) -> ConfigInvalid:
        return ConfigInvalid(
            f"the access-token {self._path!r} {why}", self._place, "name a file that holds one bearer token"
        )
