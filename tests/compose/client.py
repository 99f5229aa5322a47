"""One client of a fleet, inside one of its containers: sends jobs without a pause, several at a time.

    python -P - NAME < client.py

Each artifact is committed, pushed, removed, pulled back, extracted and compared with what it was made of;
every second one is removed again. From when KEEP is there nothing is removed, and what was is pulled back.
A line of JSON when a job was sent and one when it has ended; the last line says which artifacts must be here
and at the remote. It ends when STOP is there, after the turn in hand.
"""

import itertools
import json
import os
import shutil
import sys
import time

from caskeeper import Client
from caskeeper.errors import ArtifactNotFound, CaskeeperError, CoordinatorUnavailable

STOP, KEEP = "/work/stop", "/work/keep"
AT_ONCE = 4
#: A job that takes longer is one that does not end.
JOB_S = 120.0


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(name):
    folder, kept, gone = f"/work/load/{name}", [], []
    with Client() as client:
        for number in itertools.count():
            if os.path.exists(STOP):
                break
            refs = [f"load/{name}/{number}-{each}" for each in range(AT_ONCE)]
            keep = os.path.exists(KEEP)
            say(turn=number, keep=keep)
            back, gone = (gone[:2], gone[2:]) if keep else ([], gone)
            turn(
                client,
                {ref: plant(f"{folder}/{os.path.basename(ref)}", ref) for ref in refs},
                back,
                keep=keep,
            )
            shutil.rmtree(folder)
            kept += [*back, *refs] if keep else refs[1::2]
            gone += [] if keep else refs[::2]
    say(kept=kept, pushed=kept + gone)


def turn(client, sources, back, *, keep):
    refs = list(sources)
    together("commit", refs, lambda ref, _: client.commit(sources[ref], ref))
    together("push", refs, lambda ref, _: client.push(ref))
    if keep:
        together("pull", back, lambda ref, _: client.pull(ref))
    else:
        together("remove", refs, lambda ref, _: client.remove(ref))
        together("pull", refs, lambda ref, _: client.pull(ref))

    def extract(ref, tried):
        # What was refused may have been sent all the same: the next one needs a place of its own.
        return client.extract(ref, destination=f"{sources[ref]}.copy{tried}")

    for ref, copy in together("extract", refs, extract).items():
        same = contents(sources[ref]) == contents(copy.path)
        say(
            verb="compare", ref=ref, outcome="done" if same else "the copy is another than what was committed"
        )
    if not keep:
        together("remove", refs[::2], lambda ref, _: client.remove(ref))


def plant(folder, ref):
    """A folder with something of its own, something that all have, a program and a symbolic link."""
    os.makedirs(f"{folder}/bin")
    for path, content in (("own", ref * 3000), ("shared", "shared" * 3000), ("bin/run", "#!/bin/sh\n")):
        with open(f"{folder}/{path}", "w", encoding="utf-8") as file:
            file.write(content)
    os.chmod(f"{folder}/bin/run", 0o755)
    os.symlink("bin/run", f"{folder}/link")
    return folder


def together(verb, refs, ask):
    """Send one job for each ref, then wait for all: the results of those that succeeded."""
    jobs = {ref: sent(verb, ref, ask) for ref in refs}
    ended = {ref: result(verb, ref, *job) for ref, job in jobs.items()}
    return {ref: value for ref, value in ended.items() if value is not None}


def sent(verb, ref, ask):
    """(the job, how often it was refused before): Redis may be away for longer than sending is tried."""
    tried = 0
    while True:
        try:
            job = ask(ref, tried)
        except CoordinatorUnavailable as refused:
            say(verb=verb, ref=ref, refused=str(refused))
            tried += 1
            time.sleep(0.5)
        else:
            say(verb=verb, ref=ref, sent=job.id)
            return job, tried


def result(verb, ref, job, tried):
    value, outcome = None, "done"
    try:
        value = job.result(JOB_S)
    except CaskeeperError as error:
        # A removal that was refused and had been sent: this is its success.
        if not (tried and verb == "remove" and isinstance(error, ArtifactNotFound)):
            outcome = f"{type(error).__name__}: {error}"
    say(verb=verb, ref=ref, job=job.id, outcome=outcome)
    return value


def contents(top):
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = f"{folder}/{name}"
            if os.path.islink(path):
                found[os.path.relpath(path, top)] = os.readlink(path)
            elif os.path.isdir(path):
                found[os.path.relpath(path, top)] = None
            else:
                with open(path, "rb") as file:
                    found[os.path.relpath(path, top)] = (os.access(path, os.X_OK), file.read())
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
