"""Generates ``docs/errors.md`` from the error classes: ``make docs``, or into another file for comparison."""  # noqa: INP001 -- a script, no package

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from caskeeper.errors import CaskeeperError, Transient, every_error

HERE = Path(__file__).resolve().parent

#: AC-79: what the reference raises in our place; "" = it has no such failure.
REFERENCE = {
    "InvalidRequest": "CASError; an assertion in places",
    "ArtifactNotFound": "CASError; `pull` answers false",
    "BlobMissing": "CASError; in places a raw file-not-found (D-18)",
    "PartialArtifact": "CASError; in places a raw file-not-found (D-18)",
    "DigestMismatch": "an assertion, which an optimised interpreter drops (D-21)",
    "PermissionDenied": "CASError",
    "CacheTooFull": "ArtifactError",
    "TooLarge": "ArtifactError",
    "DestinationExists": "CASError",
    "ConfigInvalid": "LoadError; ArtifactError when no push remote is configured (AC-76)",
    "RemoteUnavailable": "CASError; in places a raw gRPC error (D-23)",
    "DeadlineExceeded": "",
    "NoSpace": "CASError; a full remote is taken for one that has it already (D-18)",
    "LeaseLost": "",
    "Busy": "",
    "VolumeFailed": "CASError",
    "CoordinatorUnavailable": "",
    "Cancelled": "",
}

_HEAD = """\
# Errors

Generated from `caskeeper/errors.py` by `make docs`; do not edit.

Every failure is one sentence: what went wrong, `[where]`, and the way out. The command prints it on stderr,
or with `--json` as one document with `error`, `what`, `where`, `way_out`, `message`, `exit_code` and `retry`;
a job that fails raises the same class from `Job.result()`. The tens digit of the exit code says whether to
try again: 1x is permanent, the same request fails the same way; 2x is transient, it may succeed later.

| Exit | Otherwise |
|---|---|
| 0 | done |
| 1 | a bug of caskeeper: please report it; or standard output cannot be written (22 when it is full) |
| 2 | wrong usage |
| 3 | done with remarks: a part was not done, and is named |
| 130 | interrupted |
| 128+n | ended by signal n |

## All of them

In the last column stands what the reference, BuildStream 1.x, raises in the same place. It flags every
CASError and ArtifactError temporary (D-23); here the class decides.

| Exit | Error | Retry | Reference |
|---|---|---|---|
"""


def render() -> str:
    """The whole page. Raises KeyError for a class that ``REFERENCE`` does not know, and for one too many."""
    errors = every_error()
    unknown = REFERENCE.keys() - errors.keys()
    if unknown:
        raise KeyError(*unknown)
    rows = [
        f"| {kind.exit_code} | [{name}](#{name.lower()}) | {_retry(kind)} | {REFERENCE[name] or '-'} |"
        for name, kind in errors.items()
    ]
    return _HEAD + "\n".join(rows) + "\n\n" + "\n".join(map(_section, errors.values()))


def _retry(kind: type[CaskeeperError]) -> str:
    return "yes" if issubclass(kind, Transient) else "no"


def _section(kind: type[CaskeeperError]) -> str:
    sort = "transient" if issubclass(kind, Transient) else "permanent"
    sentence = kind.template.format(what="…")
    return (
        f"## {kind.__name__}\n\n"
        f"{inspect.cleandoc(kind.__doc__ or '')}\n\n"
        f"- exit {kind.exit_code}, {sort}\n"
        f"- says: `{sentence} […]`\n"
        f"- way out, when the place has no better one: {kind.default_way_out}\n"
    )


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "errors.md"
    target.write_text(render(), encoding="utf-8")
