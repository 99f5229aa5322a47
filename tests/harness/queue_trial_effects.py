"""What a load has left, compared with what it asked for: on the volume, and at the remote."""

from __future__ import annotations

import os
from typing import NamedTuple

from harness.fleet import EMPTY_HASH
from harness.histories_reader import Reader
from harness.queue_trial_trees import ref_of, trial_tree


class Wanted(NamedTuple):
    """Trees by ref; ``perhaps`` are those of jobs that were not sent for certain: there or not, whole."""

    here: dict
    perhaps: dict
    there: dict
    perhaps_there: dict


def wanted(load, seed):
    """What the jobs of a load were to bring about."""
    here, perhaps = _trees(load, seed, "commit", "pull")
    there, perhaps_there = _trees(load, seed, "push")
    return Wanted(here, perhaps, there, perhaps_there)


def _trees(load, seed, *verbs):
    certain, perhaps = set(), set()
    for verb in verbs:
        done, others = load.of(verb)
        certain |= done
        perhaps |= others
    return _by_ref(seed, certain), _by_ref(seed, perhaps)


def _by_ref(seed, numbers):
    return {ref_of(*number): trial_tree(seed, *number) for number in numbers}


def on_the_volume(cachedir, want):
    """Sentences: refs and objects that are missing or too many, and refs that are not whole."""
    reader = Reader(cachedir)
    refs = set(reader.refs())
    known = want.here | want.perhaps
    found = [f"missing: {ref}" for ref in sorted(want.here.keys() - refs)]
    found += [f"nobody made {ref}" for ref in sorted(refs - known.keys())]
    for ref in sorted(refs & known.keys()):
        trouble = reader.trouble(ref, known[ref].root)
        found += [f"{ref}: {trouble}"] if trouble else []
    objects = _objects(cachedir)
    found += [f"{len(objects - _blobs(known))} objects of nobody"] if objects - _blobs(known) else []
    missing = _blobs(want.here) - objects
    return found + ([f"{len(missing)} objects are missing"] if missing else [])


def at_the_remote(seen, want):
    """Sentences, as for the volume; ``seen`` is what the remote counted."""
    known = want.there | want.perhaps_there
    found = [f"not pushed: {ref}" for ref in sorted(want.there.keys() - seen["refs"].keys())]
    for ref, root in sorted(seen["refs"].items()):
        if ref not in known:
            found.append(f"nobody pushed {ref}")
        elif root != known[ref].root:
            found.append(f"{ref} names {root}")
    missing = _blobs(want.there) - set(seen["blobs"])
    return found + ([f"{len(missing)} blobs are missing at the remote"] if missing else [])


def moved_again(counts, trees, begun_again):
    """(blobs that were moved more than once, those of them for which there was no cause).

    A cause is an execution that broke off and began again: what it had on its way may come twice.
    """
    again = {name for name, times in counts.items() if times > 1}
    excused = _blobs({ref: tree for ref, tree in trees.items() if ref in begun_again})
    return again, again - excused


def _objects(cachedir):
    top = f"{cachedir}/cas/objects"
    return {part + name for part in os.listdir(top) for name in os.listdir(f"{top}/{part}")}


def _blobs(trees):
    return {name for tree in trees.values() for name in tree.blobs} - {EMPTY_HASH}
