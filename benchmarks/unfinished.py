"""A run that was ended in the middle: what it has measured is kept, and `make bench-continue` goes on.

Only on the code, the machine and beside the peers that it began with: for other ones nothing would say which
of the figures are whose.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import sys
from typing import TYPE_CHECKING

import kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept import Kept
    from workloads import Workload

_HERE = os.path.dirname(os.path.abspath(__file__))
_HOUSE = os.path.dirname(_HERE)
#: Names git does not take up.
_PATH = f"{_HERE}/unfinished.json"
_MEASURED_CODE = (
    *("caskeeper/**/*", "tasks/**/*", "worker/**/*"),  # with the scripts that Redis runs
    *("benchmarks/*.py", "requirements/*.txt", "tests/interop/requirements.txt"),
)


def code() -> str:
    """What all that is measured, or measures, comes to: SHA-256 over names and contents."""
    digest = hashlib.sha256()
    for pattern in _MEASURED_CODE:
        for path in sorted(glob.glob(pattern, root_dir=_HOUSE, recursive=True)):
            whole = os.path.join(_HOUSE, path)
            if os.path.isfile(whole) and "__pycache__" not in path:
                with open(whole, "rb") as file:
                    digest.update(f"{path}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def keep(run: Kept) -> None:
    kept.write(_PATH, run)


def forget() -> None:
    """Once its results are written, or another run begins."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_PATH)


def find(workloads: Sequence[Workload]) -> Kept:
    """The run that was ended, or an end with the reason why there is none to go on with."""
    try:
        found = kept.read(_PATH, workloads)
    except FileNotFoundError:
        sys.exit("no run was ended in the middle: `make bench` or `make bench-full` begins one")
    except (KeyError, TypeError, ValueError) as error:
        sys.exit(f"{_PATH} holds no run to continue ({error!r}): remove it and begin anew")
    return found


def check(found: Kept, here: Kept) -> None:
    """Ends with what is not as it was when the run began."""
    for what, before, now in (
        ("the code", found.code, here.code),
        ("the machine", _same(found), _same(here)),
        ("what peers are installed", found.left_out, here.left_out),
    ):
        if before != now:
            sys.exit(f"{what} is not what the run began with, so begin anew: {before} then, {now} now")


def _same(run: Kept) -> dict[str, object]:
    return {name: value for name, value in run.machine.items() if name != "load_before"}
