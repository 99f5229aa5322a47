"""One lazily made connection pool per process, and the one place where redis' errors end.

Importing redis costs 100 ms, so it waits for the first use. A forked child makes a pool of its own:
two processes on one socket would read each other's answers.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from caskeeper.coordination.refusals import way_out_of
from caskeeper.errors import ConfigInvalid, CoordinatorUnavailable, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

    from caskeeper.coordination.scripts import Script

#: Lua: the id of the server's present run. Asked inside each script: a check beside it could be
#: overtaken by a restart.
RUN_ID = "string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')"

_SCHEMES = ("redis", "rediss", "unix", "redis+socket")


def client_url(url: str) -> str:
    """``url`` as the redis library reads it; Celery's spellings are accepted. Raises ConfigInvalid."""
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES or "://" not in url:
        raise ConfigInvalid(
            f"{scheme[:40]!r} is no way to reach Redis",
            "redis",
            "write redis://, rediss://, unix:// or redis+socket://",
        )
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if scheme == "redis+socket":
        scheme = "unix"
        if "virtual_host" in options:
            options["db"] = options.pop("virtual_host")
    if options.get("ssl_cert_reqs", "").startswith("CERT_"):
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix("CERT_").lower()
    return f"{scheme}://{parts.netloc}{quote(parts.path, safe='/%')}" + (
        f"?{urlencode(options)}" if options else ""
    )


def without_credentials(url: str) -> str:
    """``url`` as it may stand in a message."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def address(url: str) -> str:
    """``url`` as it may be written down and used by others: everything but the credentials."""
    parts = urlsplit(client_url(url))
    options = [(name, text) for name, text in parse_qsl(parts.query) if name not in {"username", "password"}]
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f"{where}?{urlencode(sorted(options))}" if options else where


def evaluate(client: Any, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """The answer of a script by a client of whoever's making. Raises what the client does."""
    from redis.exceptions import NoScriptError  # noqa: PLC0415 -- the client has imported it already

    try:
        answer: Any = client.evalsha(script.sha, len(keys), *keys, *args)
    except NoScriptError:
        answer = client.eval(script.text, len(keys), *keys, *args)
    return list(answer)


class Connection:
    """The way to one Redis database, from any thread of any process.

    ``client`` makes the redis client and ``run_id`` is the Lua expression for the server's run: both
    are there for servers that are no real ones. With ``timeout_s`` it is for one quick question: a server
    that answers and refuses is PermissionDenied. ``answer_s``: how long an answer may take.
    """

    def __init__(
        self,
        url: str,
        *,
        client: Callable[[], Redis] | None = None,
        run_id: str = RUN_ID,
        timeout_s: float | None = None,
        answer_s: float = 30.0,
    ) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._answer_s = answer_s
        self.where = without_credentials(url)
        self.run_id = run_id
        self._client_url = client_url(url)
        self._make = client or self._connect
        self._made: tuple[int, Redis] | None = None

    def _connect(self) -> Redis:
        import redis  # noqa: PLC0415 -- 100 ms that light client code must not pay
        from redis.backoff import NoBackoff  # noqa: PLC0415 -- as above
        from redis.retry import Retry  # noqa: PLC0415 -- as above

        tcp = {} if self._client_url.startswith("unix") else {"socket_keepalive": True}
        try:
            client = redis.Redis.from_url(
                self._client_url,
                decode_responses=True,
                encoding_errors="replace",  # what no script of ours wrote is judged, and does not crash
                protocol=2,  # RESP3 changes the types of answers between releases of the library
                socket_connect_timeout=self._timeout_s or min(5.0, self._answer_s),
                socket_timeout=self._timeout_s or self._answer_s,
                health_check_interval=30,
                retry=Retry(NoBackoff(), 0),  # a give-back sent twice would understate (I5)
                **tcp,
            )
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # options it does not know: now, not later
        except (ValueError, TypeError) as error:
            raise ConfigInvalid(f"the URL of Redis is not one: {error}", self.where) from error
        return client

    def _client(self) -> Redis:
        made = self._made
        if made is None or made[0] != os.getpid():
            # No lock: a fork could inherit it held. Two threads may both connect; one pool is dropped.
            made = self._made = (os.getpid(), self._make())
        return made[1]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from redis.exceptions import (  # noqa: PLC0415 -- the client has imported it already
            AuthenticationError,
            RedisError,
            ResponseError,
        )

        try:
            yield
        except (RedisError, OSError) as error:
            text = str(error) or type(error).__name__
            if self._timeout_s is not None and isinstance(error, (AuthenticationError, ResponseError)):
                # only asked whether somebody is there: somebody is
                raise PermissionDenied(f"Redis: {text[:300]}", self.where, way_out_of(error)) from error
            raise CoordinatorUnavailable(f"Redis: {text[:300]}", self.where, way_out_of(error)) from error

    def command(self, *words: str | float) -> Any:
        """The answer to one command. Raises CoordinatorUnavailable."""
        client = self._client()
        with self._errors():
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    def script(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        """The answer of a script, in one round trip unless the server does not have it yet.

        CoordinatorUnavailable leaves open whether it ran. Nothing is sent twice for that reason;
        NOSCRIPT alone says that nothing was done.
        """
        client = self._client()
        with self._errors():
            return evaluate(client, script, keys, [str(each) for each in args])

    def eviction_policy(self) -> str:
        """What the server does when its memory is full."""
        return str(self.command("INFO", "memory").get("maxmemory_policy", "noeviction"))

    def close(self) -> None:
        """This process' connections are closed; the next use makes new ones."""
        made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            made[1].connection_pool.disconnect()
