"""What a Redis that answers with an error needs, so that whoever reads the sentence knows what to do."""

from __future__ import annotations

#: The word that an answer begins with; the library takes some of them off and makes them classes.
_WAYS_OUT = (
    (("MISCONF",), "free space on the disk of Redis, or make its folder writable; its log says what failed"),
    (("OOM", "OutOfMemoryError"), "raise `maxmemory` of Redis"),
    (("READONLY", "ReadOnlyError"), "name the primary server in `redis`: this one takes no writes"),
    (("LOADING", "BusyLoadingError"), "wait until Redis has read its file"),
    (
        # ACL: what a script says that meets a command which its user may not give
        ("NOAUTH", "WRONGPASS", "NOPERM", "ACL", "AuthenticationError", "NoPermissionError"),
        "correct the user and the password in `redis`, or give that user the rights in docs/operations.md",
    ),
)
#: What TLS says in the middle of a sentence.
_CERTIFICATE = "name its authority with `?ssl_ca_certs=FILE` in `redis`, and its host as the certificate does"


def way_out_of(trouble: BaseException) -> str:
    """What to do about an error of Redis; "": nothing more than is always said."""
    while trouble.__cause__ is not None and not _known(trouble):
        trouble = trouble.__cause__  # the queue's library wraps them
    return _known(trouble)


def redis_errors() -> tuple[type[BaseException], ...]:
    """Every error that the library of Redis raises, for whoever meets it behind another library."""
    from redis.exceptions import RedisError  # noqa: PLC0415 -- 100 ms that light client code must not pay

    return (RedisError,)


def _known(trouble: BaseException) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(trouble):
        return _CERTIFICATE
    kind, words = type(trouble).__name__, str(trouble).split(" ", 12)[:12]
    for names, way_out in _WAYS_OUT:
        if kind in names or not set(names).isdisjoint(words):
            return way_out
    return ""
