"""Which processes there are, read from /proc."""

import os
import time


def parent_of(pid):
    """None for one that has ended, zombies included."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)


def descendants(pid):
    """Every living process below ``pid``, and itself."""
    parents = {int(name): parent_of(name) for name in os.listdir("/proc") if name.isdigit()}
    found = {pid} if parents.get(pid) is not None else set()
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def alive(pids):
    """Those that still run."""
    return {pid for pid in pids if parent_of(pid) is not None}


def until(condition, what, wait_s=60):
    """What the condition answers when it is true at last."""
    for _ in range(wait_s * 50):
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited in vain: {what}")
