"""A client's way to what the fleet agrees on: a dead Redis makes one command wait, not all of a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper import outage
from caskeeper.coordination import Coordination
from caskeeper.coordination.connection import Connection
from caskeeper.errors import CoordinatorUnavailable

if TYPE_CHECKING:
    from caskeeper.config.settings import LeaseSettings

#: How long one answer may take: a client's question is a small one.
_ANSWER_S = 4.0


def knock(url: str) -> None:
    """Returns when there is somebody; else CoordinatorUnavailable, at once where it was silent a moment ago.

    For whoever then waits as a worker does, which has reason to be patient.
    """
    connection = Connection(url, answer_s=_ANSWER_S)
    outage.refuse(url, connection.where)
    try:
        connection.command("TIME")  # a Redis that cannot save refuses writes, and PING
    except CoordinatorUnavailable as gone:
        outage.failed(url, silent=outage.is_silence(gone))
        raise
    finally:
        connection.close()
    outage.over(url)


def reach(url: str, leases: LeaseSettings) -> Coordination:
    """The coordination of whichever volume the database belongs to.

    Raises CoordinatorUnavailable, at once where it was silent a moment ago, and ConfigInvalid.
    """
    connection = Connection(url, answer_s=_ANSWER_S)
    outage.refuse(url, connection.where)
    try:
        coordination = Coordination.over(connection, volume_id=None, leases=leases)
    except CoordinatorUnavailable as gone:
        if gone.__cause__ is not None:  # else it has answered, and knows of no volume
            outage.failed(url, silent=outage.is_silence(gone))
        raise
    outage.over(url)
    return coordination
