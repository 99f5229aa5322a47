"""``python -m worker.store.companion FD PID``: for the use of the owner, which has that process id."""

from __future__ import annotations

import sys

from worker.store.companion.process import main

main(int(sys.argv[1]), int(sys.argv[2]))
