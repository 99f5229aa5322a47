"""Who uses the cache in a history: builds, with sessions. They tell what they were promised.

A promise is what ``require`` answered as present, or a job of the session acknowledged, until the session
ends or says that it is no longer sure. It is broken when the artifact can still not be read after whoever
would have to tell of a loss had the time for it.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
import traceback

from harness.histories_fleet import LEASE_S
from harness.histories_remote import ref_of
from harness.trees import listing

from caskeeper.artifact import Ref
from caskeeper.client import Client
from caskeeper.errors import CaskeeperError

BUILDERS = 4
#: How long a job may take before it counts as one that does not end.
JOB_S = 150.0
#: A session that was lost is told within a life and a renewal; some more for a slow machine.
TOLD_S = 2 * LEASE_S + 2.0
#: What nobody may hear of an artifact that a session protects.
_MISSES = {"ArtifactNotFound", "BlobMissing", "PartialArtifact"}


class Actor:
    """A thread with a client of its own; ``turn`` is one piece of its work."""

    def __init__(self, name, fleet, journal, *, seed):
        self.name, self.fleet, self.journal = name, fleet, journal.by(name)
        self.chance = random.Random(f"{name} {seed}")
        self.over = threading.Event()
        self.why = ""  # the last job was refused
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self):
        while not self.over.is_set():
            try:
                self.turn()
            except Exception:  # noqa: BLE001 -- whatever it is, the checker has to hear of it
                self.journal.note("bug", text=traceback.format_exc())
                return
            self.over.wait(self.chance.uniform(0, 0.2))

    def job(self, verb, ask, **about):
        """Its result; None when it was refused. Either is noted."""
        pair = self.sent(verb, ask, **about)
        return None if pair is None else self.wait(*pair)

    def sent(self, verb, ask, **about):
        """(verb, the job); None when it could not be sent."""
        try:
            sent = ask()
        except CaskeeperError as refused:
            self.journal.note("not sent", verb=verb, why=type(refused).__name__, error=str(refused))
            return None
        self.journal.note("sent", verb=verb, job=sent.id, **about)
        return verb, sent

    def wait(self, verb, job):
        try:
            result = job.result(JOB_S)
        except CaskeeperError as refused:
            why, error = type(refused).__name__, str(refused)
            self.why = why
            self.journal.note("ended", verb=verb, job=job.id, outcome=why, error=error)
            return None
        self.journal.note("ended", verb=verb, job=job.id, outcome="done")
        self.why = ""
        return result


class Builder(Actor):
    """One build after the other: requires, makes, looks, and relies on it until its session ends."""

    def __init__(self, name, fleet, journal, *, seed, trees, sources):
        super().__init__(name, fleet, journal, seed=seed)
        self.client = Client(fleet.settings)
        self.trees, self.sources = trees, sources
        self.made = {}  # ref -> tree, of earlier builds
        self.count = 0

    def turn(self):
        try:
            with self.client.session(label=self.name) as session:
                self.build(session, {})
        except CaskeeperError as refused:
            self.journal.note("session refused", why=type(refused).__name__, error=str(refused))
            self.over.wait(0.3)

    def build(self, session, promised):
        for _ in range(self.chance.randrange(1, 3)):
            self.count += 1
            ref = Ref.parse(f"hist/e{self.count % 7}/{self.name}-{self.count}")
            older = self.chance.sample(sorted(self.made), min(2, len(self.made)))
            present = session.require(ref, *older)
            promised |= {one: self.made[one] for one in present if one in self.made}
            made = self.make(ref)
            self.made |= made
            promised |= made
            self.look_around(session, promised)
        self.check(session, promised)
        self.made = dict(list(self.made.items())[-12:])

    def make(self, ref):
        """What its key names now, by commit or by pull and link: ref -> tree; nothing when refused."""
        if self.chance.random() < 0.6:
            tree = self.chance.choice(self.trees.committed)
            source = f"{self.sources}/{tree.name}"
            made = self.job("commit", lambda: self.client.commit(source, ref), ref=str(ref))
            if made is None:
                return {}
            if made.root != str(tree.root):
                self.violation("another root", ref, f"{made.root}, not {tree.root}")
            return {ref: tree}
        tree = self.chance.choice(self.trees.published)
        name = ref_of(tree)
        refresh = self.chance.random() < 0.1
        if self.job("pull", lambda: self.client.pull(name, refresh=refresh), ref=name) is None:
            return {}
        # Another element than the one that was required: the key protects all that carry it (AC-29).
        linked = Ref.parse(name)._replace(key=ref.key)
        if self.job("link", lambda: self.client.link(name, ref.key), ref=str(linked)) is None:
            return {}
        return {linked: tree}

    def look_around(self, session, promised):
        refs, self.why = sorted(promised), ""
        if not refs:
            return
        ref = self.chance.choice(refs)
        chance = self.chance.random()
        if chance < 0.35:
            self.job("extract", lambda: self.client.extract(ref), ref=str(ref))
        elif chance < 0.6:
            self.copy(session, promised, ref)
        elif chance < 0.75:
            self.job("push", lambda: self.client.push(ref), ref=str(ref))
        elif chance < 0.9:
            other = self.chance.choice(refs)
            self.job("diff", lambda: self.client.diff(ref, other), ref=str(ref))
            ref = other if other in session.lost else ref
        if self.why in _MISSES and not self.is_told_lost(session, ref):
            self.violation("refused", ref, f"{self.why}, in spite of session {session.id}")
        self.check(session, promised)

    def copy(self, session, promised, ref):
        """A private copy is what was made, every byte."""
        place = f"{self.fleet.folder}/out/{self.name}-{self.count}-{time.monotonic_ns()}"
        made = self.job("copy", lambda: self.client.extract(ref, destination=place), ref=str(ref))
        if made is not None and listing(place) != promised[ref].listing():
            self.violation("another content", ref, f"the copy at {place}")
        elif os.path.exists(place):
            shutil.rmtree(place)

    def check(self, session, promised):
        """Everything that was promised and is not told to be lost can be read."""
        for ref, tree in list(promised.items()):
            if ref in session.lost:
                self.journal.note("told lost", ref=str(ref))
                del promised[ref]
                continue
            trouble = self.fleet.reader.trouble(ref, tree.root)
            if trouble:
                del promised[ref]
                self.suspect(session, ref, tree, trouble)
            else:
                self.journal.note("read", ref=str(ref))

    def is_told_lost(self, session, ref):
        deadline = time.monotonic() + TOLD_S
        while ref not in session.lost and time.monotonic() < deadline:
            time.sleep(0.1)
        return ref in session.lost

    def suspect(self, session, ref, tree, first):
        deadline = time.monotonic() + TOLD_S
        while time.monotonic() < deadline:
            if ref in session.lost:
                self.journal.note("told lost", ref=str(ref))
                return
            if not self.fleet.reader.trouble(ref, tree.root):
                self.journal.note("read again", ref=str(ref), error=first)
                return
            time.sleep(0.1)
        last = self.fleet.reader.trouble(ref, tree.root)
        self.violation("broken promise", ref, f"{first}; then {last}; session {session.id}")

    def violation(self, kind, ref, text):
        self.journal.note("violation", kind=kind, ref=str(ref), text=text)
