"""The real `caskeeper` command, as a plain user and with less patience.

Run as ``python -P -m harness.impatient WORDS...`` with ``tests`` on PYTHONPATH. Everything is the real thing
except for how long it bears with trouble before it reports it: it never tries again, and waits a second
where it would wait half a minute ($IMPATIENT_SILENCE_S for a stream that does not move). Root loses the
right to pass over permissions, so that what a plain user cannot read cannot be read here either.
"""

import ctypes
import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMAND = [sys.executable, "-P", "-m", "harness.impatient"]

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def as_plain_user():
    """Start this program anew without the two capabilities that pass over permissions."""
    if not _overrides_permissions():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        assert libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    os.execv(sys.executable, [*COMMAND, *sys.argv[1:]])  # the bounding set counts from the next program on


def _overrides_permissions():
    with open("/proc/self/status", encoding="ascii") as file:
        effective = next(line.split()[1] for line in file if line.startswith("CapEff:"))
    return bool(int(effective, 16) & (1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH))


def shorten_patience(words):
    from caskeeper import job

    job.PATIENCE_S = 1.0
    if not {"worker", "server"} & set(words):
        return  # the others start in the time of what they use
    from tasks import runner
    from worker.remote import pool
    from worker.remote.patience import Patience
    from worker.services import (
        desk,  # noqa: F401 -- first: a write keeps its patience, tests withdraw it while it waits
        operations,
        room,
    )

    silence_s = float(os.environ.get("IMPATIENT_SILENCE_S", "1"))
    runner.RETRIES = runner.PATIENT_RETRIES = 0
    room.WAIT_S = operations.HOLD_WAIT_S = 1.0
    pool.Patience = lambda: Patience(probe_s=1.0, call_s=3.0, silence_s=silence_s, attempts=2, memory_s=0.0)


if __name__ == "__main__":
    as_plain_user()
    shorten_patience(sys.argv)
    from tasks.cli.main import main

    main()
