"""What the two processes say to each other, over a pair of sockets (``line.py``), pickled.

The owner: ``Open``, then any number of ``Do``, then ``STOP``. Its companion: ``Done`` for each ``Do``, in
order, ``Over`` for ``STOP``, which may come at any time and ends all; and in between any number of ``Spend``,
each of which the owner answers with a number of bytes, or with ``STOP``. For ``BACK``, which may come at any
time, too, and also before such a number, it answers ``Spare``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: Leave off, and say what was done.
STOP = "stop"
#: Give back the room that is not spent.
BACK = "back"


class CompanionLost(Exception):
    """It was killed, or could not start. What it was given is to be done again without it."""


class Open(NamedTuple):
    """The operation that is worked for, and the work: a name of ``works``."""

    work: str
    root: str
    block_bytes: int
    has_noreplace: bool
    operation_id: str
    start_ns: int
    #: a folder in the operation's own, for what the companion stages
    place: str
    #: for the files of a private copy; None: as it is
    umask: int | None
    #: the number of the memory that both have
    memory: int
    #: what else the work wants to know
    particulars: dict[str, Any]


class Do(NamedTuple):
    """Pieces of work, of which as many are done as there is time for."""

    units: list[Any]


class Spend(NamedTuple):
    """May so many charged bytes be written? The answer may be more."""

    charged_bytes: int


class Spare(NamedTuple):
    """So many charged bytes were not spent, and are the owner's again."""

    charged_bytes: int


class Done(NamedTuple):
    """The results of the first units, and the charged bytes that were published for them."""

    results: list[Any]
    added_bytes: int
    failure: BaseException | None


class Over(NamedTuple):
    """What was published since the last ``Done``, and the room that is left."""

    added_bytes: int
    spare_bytes: int
