"""What happened in a history: one JSON object a line, from every process that takes part."""

from __future__ import annotations

import json
import os
import time


class Journal:
    """``note`` appends in one write, so that lines of several processes do not mix. Usable from threads."""

    def __init__(self, path, actor):
        self.path = path
        self.actor = actor

    def by(self, actor):
        """The same journal for somebody else."""
        return Journal(self.path, actor)

    def note(self, event, **fields):
        line = json.dumps({"at": round(time.monotonic(), 4), "event": event, "actor": self.actor, **fields})
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)


def read_journal(path):
    """Every line, in the order in which they were written; one that a kill cut short is left out."""
    found = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found
