"""An owner in a process of its own: ``VOLUME SOURCE HOW``. It commits SOURCE with a companion.

``dies``: tells its companion's process id and is gone, in the middle; ``dies forked``: a child of it lives
on, which has its end of the line; ``forks``: a child of it commits as well, with whatever it inherited.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from harness.companions import Meeting, Verbs, companion_of, force, pid_of

from caskeeper.layout import Layout
from worker.store.volume import Volume


def tell(*words):
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def main(root, source, how):
    patch = pytest.MonkeyPatch()
    force(patch)
    volume = Volume(Layout(root))
    companion = companion_of(volume)
    verbs = Verbs(volume, companion)

    def die(pid):
        heir = os.fork() if how == "dies forked" else 1
        if not heir:
            os.closerange(0, 3)
            time.sleep(120)
            os._exit(0)
        tell(pid, heir)
        os.kill(os.getpid(), signal.SIGKILL)

    if how != "forks":
        Meeting(patch, companion, "Done", 1, die)
        verbs.commit(source)
    captured = verbs.commit(source)
    mine = pid_of(companion)
    child = os.fork()
    if not child:
        verbs.started = 10
        again = verbs.commit(source)
        tell(again.root == captured.root, pid_of(companion) not in {0, mine})
        companion.close()
        os._exit(0)
    os.waitpid(child, 0)
    verbs.commit(source)
    tell(pid_of(companion) == mine)
    companion.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
