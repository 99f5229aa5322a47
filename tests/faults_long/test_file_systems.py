"""Real file systems, mounted from files: links that run out, times that are too coarse, disks that are full.

Needs root. What is shown here with real ones is shown in ``make test`` with their errors.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

import pytest
from harness.commands import Place
from harness.fleet import Oracle, fleet
from harness.safety_report import record
from harness.small_disk import every_verb_on

from caskeeper.contract import CleanupRequest, CommitRequest, ComputeSizeRequest, ExtractRequest
from caskeeper.errors import ConfigInvalid
from worker.protocols import quiet

MIB = 1024 * 1024
#: Names of one file in each of two trees: together more than ext4 has links for.
NAMES = 36_000
EXT4_LINKS = 65_000


@pytest.fixture(autouse=True)
def _root():
    assert os.geteuid() == 0, "only root may mount: run `make test-faults-long` as root"


@contextmanager
def mounted(folder, *words, size_bytes):
    """A new file system in a file, made with these words of mkfs.ext4; its path."""
    image, place = f"{folder}/image", f"{folder}/disk"
    with open(image, "wb") as file:
        file.truncate(size_bytes)
    os.mkdir(place)
    subprocess.run(["mkfs.ext4", "-q", "-F", *words, image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_r25_more_links_to_one_object_than_ext4_allows_are_made_by_copies(tmp_path, valkey):
    """Two checkouts of 36,000 names each for one content: 72,000, and 65,000 are allowed."""
    with (
        mounted(tmp_path, "-N", "200000", size_bytes=1024 * MIB) as place,
        fleet(place, valkey.url) as services,
    ):
        used = []
        for number in range(2):
            source = f"{place}/tree-{number}"
            os.makedirs(source)
            for name in range(NAMES):
                with open(f"{source}/{number}-{name}", "wb") as file:
                    file.write(b"the one content")
            services.run(CommitRequest(path=source, refs=(f"p/e{number}/k",)), quiet())
            path = services.run(ExtractRequest(ref=f"p/e{number}/k"), quiet()).path
            assert len(os.listdir(path)) == NAMES
            used.append((path, {os.stat(f"{path}/{name}").st_ino for name in os.listdir(path)}))
        oracle = Oracle(services.layout.root)
        links = max(
            os.stat(f"{above}/{name}").st_nlink
            for above, _folders, names in os.walk(services.layout.objects)
            for name in names
        )
        copies = sum(len(inodes) - 1 for _path, inodes in used)
        assert EXT4_LINKS - 1 <= links <= EXT4_LINKS
        assert links - 1 + copies >= 70_000
        counted = services.run(ComputeSizeRequest(), quiet())
        assert counted.used_bytes == counted.estimate_bytes == oracle.used_bytes()
        assert oracle.troubles() == []
        services.run(CleanupRequest(target_bytes=0), quiet())
        assert services.coordination.usage.snapshot().used_bytes == oracle.used_bytes() == 0
        record(
            "file systems",
            {"ext4, links to one object": {"asked for": 2 * NAMES, "links": links, "copies": copies}},
        )


def test_ext4_that_keeps_whole_seconds_is_refused_at_start_with_the_reason(tmp_path, valkey):
    with mounted(tmp_path, "-I", "128", size_bytes=64 * MIB) as place:
        with (
            pytest.raises(ConfigInvalid, match="does not keep the times of files exactly") as caught,
            fleet(place, valkey.url),
        ):
            raise AssertionError("it was accepted")
        assert "inodes of 256 bytes or more" in caught.value.way_out
        fleet_of = Place(tmp_path, valkey)
        fleet_of.config = fleet_of.configure(cachedir=f"{place}/cache")
        code, said = fleet_of.ask("worker")
        assert (code, said["error"]) == (17, "ConfigInvalid")
        assert "inodes of 256 bytes or more" in said["way_out"]
    record("file systems", {"ext4 with 128-byte inodes": "refused at start"})


@pytest.mark.parametrize("kind", ["there", "inodes"])
def test_a_real_ext4_that_somebody_fills_in_the_middle_of_a_verb_is_survived(tmp_path, kind):
    """Other than a tmpfs it needs room for names too: a rename into the trash can fail."""
    words = ("-N", "3000") if kind == "inodes" else ("-N", "20000")
    with mounted(tmp_path, "-m", "0", "-b", "1024", *words, size_bytes=32 * MIB) as place:
        told = every_verb_on(place, "inodes on disk" if kind == "inodes" else kind, points=4)
    points = sum(one["points"] for one in told.values())
    refused = sum(one["refused"] for one in told.values())
    name = f"ext4 filled up by its {'inodes' if kind == 'inodes' else 'size'}"
    record("file systems", {name: {"points": points, "refused": refused}})
    assert refused >= 10  # or it was never really full
