"""A cleanup that may not take what was used least recently takes what comes next."""

import time

from harness.fleet import Oracle, fleet, write_tree

from caskeeper.artifact import Ref
from caskeeper.contract import CleanupRequest, CommitRequest
from worker.protocols import quiet

REFS = [f"p/e{number}/k" for number in range(3)]


def test_what_somebody_works_with_costs_the_next_one_its_place(tmp_path, valkey):
    """Its plan reckons with the first; the claim is met when it is to go."""
    with fleet(tmp_path, valkey.url) as services:
        for number, ref in enumerate(REFS):
            tree = write_tree(tmp_path / ref, {"file": bytes([number]) * 100_000})
            services.run(CommitRequest(path=tree, refs=(ref,)), quiet())
        time.sleep(0.02)
        used = services.coordination.usage.snapshot().used_bytes
        with services.desk.reader("extract", REFS[0], quiet()) as operation:
            operation.claim(services.maintenance.refs.read(Ref.parse(REFS[0])).roots)
            result = services.run(CleanupRequest(target_bytes=used - 50_000), quiet())
        assert result.used_after_bytes <= used - 50_000
        assert sorted(Oracle(services.layout.root).refs()) == [REFS[0], REFS[2]]
