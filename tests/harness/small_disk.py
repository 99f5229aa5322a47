"""Every verb on a real small disk that somebody else fills, to the last byte or inode, in the middle of it.

Run as ``python -P -m harness.small_disk FOLDER KIND POINTS [VERB...]`` with ``tests`` on PYTHONPATH, in a
mount namespace of its own: it mounts a tmpfs at FOLDER that is small by KIND, ``size`` or ``inodes``. Or
FOLDER is on a small disk already: ``there``, ``inodes on disk``. Before so many of the changes of each verb
the disk becomes full, before every one in turn if POINTS is 0. Writes one JSON object: verb -> points and
how many were refused.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from harness.crash_site import VERBS, prepare, sites
from harness.full_disk import NEVER
from harness.valkey import ValkeyServer

from caskeeper.errors import NoSpace
from worker.services import room
from worker.store.format import make_ballast

MOUNT = {"size": "size=12m", "inodes": "size=64m,nr_inodes=2500"}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Filled:
    """A disk that somebody else fills at change number ``at``."""

    def __init__(self, site, kind, at=NEVER):
        self.site = site
        self.kind = kind
        self.at = at
        self.changes = 0
        self.folder = f"{site.folder}/somebody-elses"

    def change(self, *_):
        self.changes += 1
        if self.changes == self.at:
            os.mkdir(self.folder)
            (use_up_inodes if self.kind.startswith("inodes") else fill_up)(self.folder)

    def empty(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def fill_up(folder):
    """To the last byte."""
    with open(f"{folder}/large", "wb", buffering=0) as file:
        for piece in (bytes(1 << 20), bytes(4096)):
            try:
                while file.write(piece) == len(piece):
                    continue
            except OSError as error:
                if error.errno not in _FULL:
                    raise


def use_up_inodes(folder):
    """To the last inode."""
    for number in range(10**6):
        try:
            os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
        except OSError as error:
            if error.errno in _FULL:
                return
            raise


def points_of(changes, most):
    """So many numbers of changes, evenly spread; the first ones and the last one are of every operation."""
    if not most or most >= changes:
        return range(1, changes + 1)
    return sorted({2 + (2 * number + 1) * (changes - 3) // (2 * most) for number in range(most)})


def run_verb(site, kind, verb, most):
    """How many points, and at how many the verb was refused."""
    free = Filled(site, kind)
    site.run(prepare(site, verb), disk=free)
    outcome = site.state()
    site.empty()
    points = points_of(free.changes, most)
    refused = 0
    for at in points:
        request = prepare(site, verb)
        full = Filled(site, kind, at)
        try:
            site.run(request, disk=full)
        except NoSpace:
            refused += 1
        except BaseException:
            sys.stderr.write(f"{verb}, full at change {at}\n")
            raise
        site.assert_sound()
        full.empty()
        site.expire()
        site.empty()  # what was here before may have been evicted for the room it took
        request = prepare(site, verb)
        site.run(request)
        site.assert_sound()
        assert site.state() == outcome, f"{verb}, full at change {at}"
        site.empty()
    return {"points": len(points), "refused": refused}


def main(folder, kind, most, *verbs):
    if kind in MOUNT:
        subprocess.run(["mount", "-t", "tmpfs", "-o", MOUNT[kind], "none", folder], check=True)
    room.WAIT_S = 0.1
    told = {}
    with (
        ValkeyServer() as valkey,
        pytest.MonkeyPatch.context() as patch,
        sites(folder, valkey, patch) as site,
    ):
        make_ballast(site.volume)
        for verb in verbs or VERBS:
            site.run(prepare(site, verb))
            site.empty()
        site.thin_out()
        for verb in verbs or VERBS:
            told[verb] = run_verb(site, kind, verb, most)
    sys.stdout.write(json.dumps(told))


def every_verb_on(folder, kind, *, points, verbs=()):
    """What such a process says of these verbs, or of all; it must come to its end."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    alone = ["unshare", "-rm"] if kind in MOUNT else []
    with tempfile.TemporaryDirectory(dir=folder) as mount:
        done = subprocess.run(
            [*alone, sys.executable, "-P", "-m", "harness.small_disk", mount, kind, str(points), *verbs],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
