"""The long-running processes around the queue: a worker, beat, Flower.

A worker forks children for its jobs and holds none of the machinery itself: what it needs to know before it
starts (is the volume ours, does Redis fit) is found out in a process of its own, which then ends. So there
are no threads, channels or locks when it forks.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.concurrency.base import BasePool  # noqa: F401 -- loaded before the forks, shared by them

from caskeeper.contract import LANES, queue_of
from caskeeper.coordination import Coordination
from caskeeper.errors import CaskeeperError, ConfigInvalid, InvalidRequest, from_json
from tasks.app import make_app, make_application
from tasks.delivery import DeliveryHeartbeat
from tasks.process import end_with_parent, tune_memory
from tasks.transport import guard
from worker.telemetry.log import Log, configure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.config import Settings
    from caskeeper.coordination.flights import Flights
    from tasks.app import Application
    from tasks.delivery import DeliverySettings
    from worker.wiring import Services

log = Log("caskeeper.worker")

#: A file whose age says when the worker last heard of its Redis, for a container's health check.
HEARTBEAT_FILE = "CASKEEPER_HEARTBEAT_FILE"
#: Set by a parent that waits for one line: an empty object when jobs are taken, an error otherwise.
REPORT_FD = "_CASKEEPER_REPORT_FD"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
