"""Who else uses the cache in a history: an operator, and a crowd that asks for much at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness.histories_clients import Actor
from harness.histories_remote import ref_of

from caskeeper.client import Client


class Operator(Actor):
    """Cleans, counts, verifies and removes, through the queue like everybody else."""

    def __init__(self, name, fleet, journal, *, seed):
        super().__init__(name, fleet, journal, seed=seed)
        self.client = Client(fleet.settings)
        self.deck = []

    def turn(self):
        if not self.deck:
            self.deck = ["cleanup", "cleanup", "compute-size", "verify", "remove", "remove"]
            self.chance.shuffle(self.deck)
        verb = self.deck.pop()
        if verb == "cleanup":
            target = self.chance.choice([None, None, 0, 2_000_000])
            self.job("cleanup", lambda: self.client.cleanup(target_bytes=target))
        elif verb == "compute-size":
            self.job("compute-size", self.client.compute_size)
        elif verb == "verify":
            repair = self.chance.random() < 0.5
            found = self.job("verify", lambda: self.client.verify(repair=repair), repair=repair)
            if found is not None:
                self.journal.note("verified", repair=repair, found=found.to_json())
        else:
            refs = sorted(self.fleet.reader.refs())
            if refs:
                free = [ref for ref in refs if "/builder" not in ref]  # those of builds are mostly required
                ref = self.chance.choice(free if free and self.chance.random() < 0.7 else refs)
                self.job("remove", lambda: self.client.remove(ref), ref=ref)
        self.over.wait(self.chance.uniform(0.2, 1.0))


class Crowd(Actor):
    """Bursts of jobs about the same few refs, without a session: whatever comes of them, they all end."""

    def __init__(self, name, fleet, journal, *, seed, trees, sources):
        super().__init__(name, fleet, journal, seed=seed)
        self.client = Client(fleet.settings)
        self.trees, self.sources = trees, sources

    def turn(self):
        sent = [self.send() for _ in range(self.chance.randrange(4, 16))]
        with ThreadPoolExecutor(len(sent)) as waiting:  # one that is forgotten must not hold up the others
            for pair in filter(None, sent):
                waiting.submit(self.wait, *pair)
        self.over.wait(self.chance.uniform(0, 0.5))

    def send(self):
        # Few trees and few names: the same one is made, bound anew, read and removed by several at once.
        tree = self.chance.choice(self.trees.committed[:6])
        published = self.chance.choice(self.trees.published[:4])
        ref = f"hist/crowd{self.chance.randrange(2)}/{self.chance.randrange(3)}"
        name, source = ref_of(published), f"{self.sources}/{tree.name}"
        asks = {
            "commit": lambda: self.client.commit(source, ref, f"{ref}-twin"),
            "pull": lambda: self.client.pull(name),
            "link": lambda: self.client.link(name, f"crowd-{self.chance.randrange(3)}"),
            "extract": lambda: self.client.extract(self.chance.choice([ref, name])),
            "push": lambda: self.client.push(ref, f"{ref}-twin"),
            "push-directory": lambda: self.client.push_directory("hist", tree.root),
            "diff": lambda: self.client.diff(ref, name),
            "remove": lambda: self.client.remove(self.chance.choice([ref, f"{ref}-twin", name])),
        }
        verb = self.chance.choice([*asks, "commit", "pull"])
        return self.sent(verb, asks[verb])
