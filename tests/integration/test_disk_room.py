"""The disk and its inodes: what others take of them, and what is cleaned then (AC-37, AC-39, D-34)."""

import os
from dataclasses import replace

import pytest
from harness.fleet import Oracle, fleet, settings_for
from harness.quotas import KIB, assert_exact, clean, commit, commit_some, refs_of

from caskeeper.config import QuotaExpression
from caskeeper.contract import CleanupRequest
from caskeeper.errors import CacheTooFull, NoSpace


@pytest.fixture
def filled(tmp_path, valkey):
    """A volume with p/e0/k0 to p/e5/k5, about 400 KiB; services of its own afterwards."""
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 6)
    return tmp_path, valkey.url


class Inodes:
    """A file system whose free inodes follow what is really on the volume; others have taken the rest."""

    def __init__(self, services, *, free, total=1000):
        self._disk = services.volume.space()
        self._cas = f"{services.layout.root}/cas"
        self._total = total
        self._taken = total - free - self._files()
        services.volume.space = self.space

    def _files(self):
        return sum(len(files) for _folder, _folders, files in os.walk(self._cas))

    def space(self):
        free = self._total - self._taken - self._files()
        return self._disk._replace(inodes_total=self._total, inodes_free=free)


def test_few_inodes_are_made_more_by_a_cleanup_however_small_what_is_evicted_is(filled):
    folder, url = filled
    with fleet(folder, url) as services:
        Inodes(services, free=15)  # of 1000: below 20 a cleanup is wanted, at 40 it ends
        assert services.upkeep_wanted() == CleanupRequest()
        files = services.volume.space().inodes_free
        planned = [group.action for group in clean(services, dry_run=True).groups]
        done = clean(services, if_wanted=True)
        assert [group.action for group in done.groups] == planned
        assert services.volume.space().inodes_free > files
        assert_exact(services)


def test_below_the_last_inodes_a_write_waits_for_a_cleanup_and_then_succeeds(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 20, size=100)
        Inodes(services, free=5)
        commit(services, tmp_path, "p/new/k", 100)
        assert "p/new/k" in refs_of(services)
        assert "p/e19/k19" in refs_of(services)
        assert "p/e0/k0" not in refs_of(services)
        assert services.volume.space().inodes_free >= 40 - 5
        assert_exact(services)


def test_too_few_inodes_are_said_with_their_number_when_nothing_may_go(filled):
    folder, url = filled
    with fleet(folder, url) as services:
        services.coordination.sessions.open("build-1", life_s=600)
        services.coordination.sessions.require("build-1", [f"k{n}" for n in range(6)])
        Inodes(services, free=5)
        with pytest.raises(CacheTooFull, match="only 5 of 1000 inodes of the file system are free") as caught:
            commit(services, folder, "p/new/k", 100)
        assert "inodes" in caught.value.way_out
        assert services.status().cleanup_wanted == "only 5 of 1000 inodes of the file system are free"
        assert len(refs_of(services)) == 6


def test_d34_a_disk_that_others_fill_is_cleaned_also_without_a_quota(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit_some(services, tmp_path, 6)
        disk, before = services.volume.space(), services.space.used_bytes()
        settings = settings_for(tmp_path)
        reserve = QuotaExpression.parse("100M")
        services.space._settings = replace(
            settings, cache=replace(settings.cache, reserved_disk_space=reserve)
        )

        def space():
            freed = before - Oracle(services.layout.root).used_bytes()
            return disk._replace(available_bytes=100 * KIB * KIB - 100 * KIB + freed)

        services.volume.space = space
        assert services.upkeep_wanted() == CleanupRequest()
        clean(services, if_wanted=True)
        assert space().available_bytes >= 100 * KIB * KIB
        assert services.upkeep_wanted() is None
        assert_exact(services)


def test_on_a_disk_that_is_full_to_the_brim_the_ballast_makes_the_cleanup_possible(filled):
    folder, url = filled
    with fleet(folder, url) as services:
        assert os.path.exists(services.layout.ballast)
        disk = services.volume.space()
        there = lambda: os.path.exists(services.layout.ballast)  # noqa: E731 -- a look, three times
        looks = []

        def space():
            looks.append(there())
            return disk._replace(available_bytes=0 if looks[0] and there() else disk.available_bytes)

        def change(verb, *paths):
            if verb == "make_folder" and there():
                raise NoSpace("No space left on device", paths[0])

        services.volume.space = space
        services.volume._change = change
        assert clean(services, target_bytes=0).evicted_refs == 6
        assert there(), "it was taken back"
        assert_exact(services)
