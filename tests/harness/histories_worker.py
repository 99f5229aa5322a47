"""A worker that shares even the small trees of a history with a companion; its words are the command's."""

from harness.companions import WORTH

from tasks.cli.main import main
from worker.store import parallel

for name, value in WORTH.items():
    setattr(parallel, name, value)

if __name__ == "__main__":
    main()
