"""What the fleet agrees on in Redis: operations, claims, sessions, sizes, the maintenance lease.

Everything here is a hint or a lease (I6): losing it costs a scan and a waiting period, never data.
The only package that imports redis, and only when a connection is made.
"""

from caskeeper.coordination.facade import Coordination
from caskeeper.coordination.values import (
    Grant,
    LeaseHolder,
    OperationRecord,
    SessionRecord,
    State,
    StateLost,
    Usage,
)

__all__ = [
    "Coordination",
    "Grant",
    "LeaseHolder",
    "OperationRecord",
    "SessionRecord",
    "State",
    "StateLost",
    "Usage",
]
