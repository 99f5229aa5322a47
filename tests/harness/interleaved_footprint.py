"""What a step looks at and changes: of two orders of steps that do not meet, one is enough.

Resources are paths: those of the volume, ``/redis/…`` for what a script reads and writes, and ``/clock``, the
volume's clock, which moves when an operation or a cleanup starts and which every age is taken from. In doubt
a step meets another: that costs time only.
"""

from __future__ import annotations

from typing import NamedTuple

_STATE, _USAGE, _OPS = "/redis/state", "/redis/usage", "/redis/operations"
_CLAIMS, _CONDEMNED, _SESSIONS = "/redis/claims", "/redis/condemned", "/redis/sessions"
_LEASE, _HINTS = "/redis/lease", "/redis/hints"

#: script -> (reads, writes); ``{}`` is its operation. One that is not here meets everything in Redis.
_SCRIPTS = {
    "state": ((_STATE,), ()),
    "acquire": ((), (_LEASE, _STATE, _USAGE)),
    "lease_renew": ((_STATE,), (_LEASE,)),
    "lease_release": ((_STATE,), (_LEASE, _CONDEMNED)),
    "ready": ((_LEASE,), (_STATE, _CONDEMNED)),
    "expect": ((_LEASE, _STATE), (_OPS, _USAGE)),
    "set_provisional": ((_LEASE, _STATE), (_USAGE,)),
    "mark_dying": ((_LEASE, _STATE), (_OPS, _CLAIMS, _SESSIONS)),
    "drop_dead": ((_LEASE, _STATE), (f"{_OPS}/x", _USAGE, _CLAIMS)),
    "condemn": ((_LEASE, _STATE, _SESSIONS, _CLAIMS), (_CONDEMNED,)),
    "uncondemn": ((_LEASE, _STATE), (_CONDEMNED,)),
    "give_back": ((_LEASE, _STATE), (_USAGE,)),
    "begin_recount": ((_LEASE, _STATE, _USAGE), ()),
    "finish_recount": ((_LEASE, _OPS), (_USAGE, _STATE)),
    "register": ((_STATE, _CONDEMNED), (f"{_OPS}/{{}}", _USAGE, _CLAIMS)),
    "renew": ((_STATE,), (f"{_OPS}/{{}}",)),
    "reserve": ((_STATE,), (f"{_OPS}/{{}}", _USAGE)),
    "hold": ((_STATE, _CONDEMNED), (f"{_OPS}/{{}}", _CLAIMS)),
    "settle": ((_STATE,), (f"{_OPS}/{{}}", _USAGE, _CLAIMS)),
    "settle_part": ((_STATE,), (f"{_OPS}/{{}}", _USAGE)),
    "session_open": ((_STATE,), (_SESSIONS,)),
    "session_require": ((_STATE, _CONDEMNED), (_SESSIONS,)),
    "session_renew": ((_STATE,), (_SESSIONS,)),
    "session_close": ((_STATE,), (_SESSIONS,)),
    "sessions_live": ((_STATE, _SESSIONS), ()),
    "recency_touch": ((), (_HINTS,)),
    "recency_scores": ((), (_HINTS,)),
    "recency_forget": ((), (_HINTS,)),
    "note": ((), (_HINTS,)),
}
_READ = {"2": _USAGE, "3": _OPS, "7": _LEASE}
_COMMANDS = {"ZMSCORE": (), "ZREM": (), "TIME": (), "PING": ()}
_LISTS = frozenset({"scandir", "listdir"})
_LOOKS = frozenset({"touch", "stat", "lstat", "open", "access", "readlink"})
_AGES = frozenset({"apply", "stage", "create", "write", "make_folder"})
_NAMES = frozenset({"publish", "take", "replace", "move_folder"})


class Footprint(NamedTuple):
    """Paths looked at, paths whose entries were listed, paths changed."""

    reads: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


def footprint(verb, paths):
    """Of one step."""
    if verb in _LOOKS:
        return Footprint(reads=paths)
    if verb in _LISTS:
        return Footprint(lists=paths)
    if verb == "script":
        return _of_script(*paths)
    if verb == "command":
        hints = paths[0] in _COMMANDS
        return Footprint(writes=(_HINTS if hints else "/redis",))
    if verb in {"begin", "sync", "overwrite"}:
        return Footprint()
    if verb == "event":
        return Footprint(writes=("/redis", "/clock"))
    if verb == "link":
        return Footprint(reads=paths[:1], writes=paths[1:])
    if verb in _NAMES:
        return Footprint(writes=paths)
    starts = verb in {"create", "make_folder"} and _starts(paths[0])
    return Footprint(
        reads=("/clock",) if verb in _AGES and not starts else (),
        writes=(*paths, "/clock") if starts else paths,
    )


def _starts(path):
    return path.endswith("/start") or "/trash/" in path


def _of_script(name, subject):
    if name == "read":
        return Footprint(reads=(_STATE,), lists=(_READ.get(subject, "/redis"),))
    if name not in _SCRIPTS:
        return Footprint(writes=("/redis",))
    reads, writes = _SCRIPTS[name]
    return Footprint(reads=reads, writes=tuple([path.replace("{}", subject) for path in writes]))


def _above(path):
    found = []
    while (at := path.rfind("/")) > 0:
        path = path[:at]
        found.append(path)
    return found


class Window:
    """What some steps together look at and change."""

    def __init__(self, steps):
        self._touched, self._under, self._changed, self._listed = set(), set(), set(), set()
        self._parents = set()
        for reads, lists, writes in steps:
            self._touched.update(reads, lists, writes)
            self._changed.update(writes)
            self._listed.update(lists)
            self._parents.update([path.rpartition("/")[0] for path in writes])
        for path in self._touched:
            self._under.update(_above(path))

    def meets(self, step):
        """Whether exchanging ``step`` with them could make a difference."""
        for path in step.writes:
            if path in self._touched or path in self._under:
                return True
            above = _above(path)
            if (above and above[0] in self._listed) or not self._changed.isdisjoint(above):
                return True
        for path in (*step.reads, *step.lists):
            if path in self._changed or not self._changed.isdisjoint(_above(path)):
                return True
        return any(path in self._parents for path in step.lists)
