"""Bearer tokens: who calls shows one of those in a file, or is answered UNAUTHENTICATED."""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc

from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.config import NamedFile

log = logging.getLogger(__name__)

#: What was read so long ago is read again for the next call.
RELOAD_S = 1.0
#: No more than one line of the log tells of calls that were refused.
QUIET_S = 1.0
_MAX_BYTES = 1024 * 1024
_WAY_OUT = "name a file with a bearer token on each line"
#: What tells whether the server is well tells nothing else, and who asks has no way to show a token.
_OPEN = frozenset({"/grpc.health.v1.Health/Check"})


class Tokens:
    """The tokens of a file, one a line; empty lines and such that begin with `#` are none.

    Several at once let old and new overlap. A changed file counts within a second. One that cannot be read
    or holds none by then changes nothing, and a warning says so: a file that is being replaced must not
    refuse everybody. What tokens there are is shown nowhere, and not kept: their hashes are.
    """

    def __init__(self, file: NamedFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._hashes = self._read()
        self._read_at = time.monotonic()
        self._warned = ""

    def accepts(self, token: bytes) -> bool:
        """Whether it is one of them; how long this takes says nothing about them."""
        given = hashlib.sha256(token).digest()
        found = False
        for known in self._current():
            found |= hmac.compare_digest(given, known)
        return found

    def _current(self) -> frozenset[bytes]:
        with self._lock:
            if time.monotonic() - self._read_at >= RELOAD_S:
                self._read_at = time.monotonic()
                self._renew()
            return self._hashes

    def _renew(self) -> None:
        try:
            hashes = self._read()
        except ConfigInvalid as trouble:
            if trouble.what != self._warned:
                self._warned = trouble.what
                log.warning("tokens are not renewed", extra={"reason": trouble.what})
            return
        self._warned = ""
        if hashes != self._hashes:
            self._hashes = hashes
            log.info("tokens renewed", extra={"path": self._file.path, "tokens": len(hashes)})

    def _read(self) -> frozenset[bytes]:
        try:
            with open(self._file.path, "rb") as stream:
                data = stream.read(_MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._useless(f"cannot be read: {reason}") from None
        if len(data) > _MAX_BYTES:
            raise self._useless(f"is larger than {_MAX_BYTES} bytes")
        found = set()
        for number, line in enumerate(data.splitlines(), 1):
            token = line.strip()
            if token and not token.startswith(b"#"):
                if not all(0x21 <= byte <= 0x7E for byte in token):
                    raise self._useless(f"holds no token in line {number}")
                found.add(hashlib.sha256(token).digest())
        if not found:
            raise self._useless("holds no token")
        return frozenset(found)

    def _useless(self, why: str) -> ConfigInvalid:
        return ConfigInvalid(f"the token-file {self._file.path!r} {why}", self._file.where, _WAY_OUT)


class TokenGate(grpc.ServerInterceptor):
    """Stands before everything else: who is refused does not even learn which methods there are."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._lock = threading.Lock()
        self._refused = 0
        self._told_at = float("-inf")
        # As a stream: a call that is refused does not wait for its message, and holds no thread.
        self._missing = _refusing("this server wants a bearer token", self._count)
        self._wrong = _refusing("the bearer token is not accepted", self._count)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """The method's own handler for who shows a token, else one that refuses."""
        if details.method in _OPEN:
            return continuation(details)
        token = _bearer(details.invocation_metadata)
        if token is None:
            return self._missing
        return continuation(details) if self._tokens.accepts(token) else self._wrong

    def _count(self, peer: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._refused += 1
            if now - self._told_at < QUIET_S:
                return
            self._told_at, calls, self._refused = now, self._refused, 0
        log.warning("calls without a valid token", extra={"calls": calls, "last": peer})


def _bearer(metadata: Any) -> bytes | None:
    """The token of a call; None when it shows none."""
    for key, value in metadata or ():
        if key == "authorization":
            text = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            scheme, _, token = text.strip().partition(b" ")
            if scheme.lower() == b"bearer" and token.strip():
                return bytes(token.strip())
    return None


def _refusing(sentence: str, count: Callable[[str], None]) -> grpc.RpcMethodHandler[Any, Any]:
    def refuse(_requests: Any, context: grpc.ServicerContext) -> Any:
        count(context.peer())
        context.abort(grpc.StatusCode.UNAUTHENTICATED, sentence)

    return grpc.stream_stream_rpc_method_handler(refuse)
