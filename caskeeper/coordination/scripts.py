"""The Lua scripts as text and SHA, and what their refusals mean.

Each logical step of the protocol is one script, so that nothing can come between its check and its
change. The text is put together here: prelude, guard, script.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from caskeeper.coordination import keys as key_names
from caskeeper.coordination.values import StateLost
from caskeeper.errors import LeaseLost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.connection import Connection
    from caskeeper.coordination.keys import Keys
    from caskeeper.errors import CaskeeperError

_FOLDER = os.path.join(os.path.dirname(__file__), "lua")

#: Scripts that must also run on a lost state.
_WITHOUT_GUARD = frozenset({"state", "create", "acquire", "resume"})

#: Scripts that touch no shared state.
_WITHOUT_PRELUDE = frozenset(
    {"recency_touch", "recency_scores", "note", "events_of", "stats_add", "stats_read"}
    | {"turn_take", "turn_release"}
    | {"breaker_look", "breaker_open", "breaker_close", "breakers_read"}
    | {"leader_take", "leader_sent", "leader_release", "leader_read"}
    | {"flight_take", "flight_release", "flight_beat"}
)

#: Scripts on the records of jobs: another prelude is put before them.
_JOBS = frozenset(
    {"job_join", "job_sent", "job_forget", "job_take", "job_renew", "job_release", "job_cancel"}
    | {"job_wait", "job_read", "jobs_list", "state_store"}
)

#: Scripts that also read or write which volume the database belongs to.
_WITH_VOLUME = frozenset({"create", "acquire"})

_REFUSALS: dict[str, tuple[type[CaskeeperError], str]] = {
    "LOST": (StateLost, "{what}: Redis was emptied, restarted, or began a new epoch"),
    "UNREADY": (StateLost, "{what}: the state is being recovered"),
    "GONE": (LeaseLost, "{what} is not registered any more"),
    "DYING": (LeaseLost, "{what} was not renewed in time and is being ended"),
    "OVER": (LeaseLost, "{what} has lasted longer than `leases: operation-life` allows"),
    "CONDEMNED": (LeaseLost, "{what} had claimed what is being removed"),
    "TAKEN": (LeaseLost, "{what} does not hold the maintenance lease any more"),
}


class Script(NamedTuple):
    """A script as the server gets it."""

    text: str
    sha: str


@cache
def load(name: str, run_id: str) -> Script:
    """The script ``lua/<name>.lua`` with what has to stand before it."""
    parts = [name] if name in _WITHOUT_PRELUDE | _WITHOUT_GUARD | _JOBS else ["guard", name]
    if name in _JOBS:
        parts.insert(0, "prelude_jobs")
    elif name not in _WITHOUT_PRELUDE:
        parts.insert(0, "prelude")
    text = ""
    for part in parts:
        with open(os.path.join(_FOLDER, f"{part}.lua"), encoding="utf-8") as file:
            text += file.read()
    text = text.replace("@RUN_ID@", run_id)
    return Script(text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324 -- EVALSHA asks for SHA-1


class Scripts:
    """The scripts over one volume's keys."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self.connection = connection
        self.keys = keys

    def run(
        self,
        name: str,
        *args: str | int,
        epoch: str = "",
        extra_keys: Sequence[str] = (),
        what: str = "",
        accept: Sequence[str] = (),
    ) -> list[Any]:
        """The answer of a script on the shared state; its first item is OK or one of ``accept``.

        ``epoch`` is the one the caller relies on, '' any. Every other refusal is raised: StateLost or
        LeaseLost, speaking of ``what``.
        """
        keys = [*self.keys.structures, *([key_names.VOLUME] if name in _WITH_VOLUME else []), *extra_keys]
        answer = self.connection.script(load(name, self.connection.run_id), keys, (epoch, *args))
        word = str(answer[0])
        if word == "OK" or word in accept:
            return answer
        kind, sentence = _REFUSALS[word]
        raise kind(sentence.format(what=what or name), self.connection.where)

    def run_plain(self, name: str, key: str | Sequence[str], *args: str | int) -> list[Any]:
        """The answer of a script that touches one key, or some, beside the shared state."""
        keys = (key,) if isinstance(key, str) else key
        return self.connection.script(load(name, self.connection.run_id), keys, args)
