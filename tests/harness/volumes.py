"""Volumes for tests: a real one in a temporary folder, its operations, and one that fails on demand."""

import pytest

from caskeeper.errors import LeaseLost
from caskeeper.layout import Layout
from worker.store.blobs import StoreBlobs
from worker.store.format import new_format, prepare_folders, publish_format, stage_format
from worker.store.objects import Objects
from worker.store.staging import Staging
from worker.store.volume import Volume


class Dead(BaseException):
    """The process died at a change: no handler of the program sees anything else afterwards."""


class DyingVolume(Volume):
    """Dies at its n-th change, and stays dead."""

    def __init__(self, layout, *, at):
        super().__init__(layout)
        self.at = at
        self.changes = 0

    def _change(self, verb, *paths):
        self.changes += 1
        if self.changes >= self.at:
            raise Dead(verb, *paths)


class WatchedVolume(Volume):
    """Calls ``before(verb, *paths)`` first; what that does, another actor did at that moment."""

    def __init__(self, layout, before=None):
        super().__init__(layout)
        self.verbs = []
        self.before = before

    def _change(self, verb, *paths):
        self.verbs.append(verb)
        if self.before is not None:
            before, self.before = self.before, None  # the other actor's own changes do not wake it again
            try:
                before(verb, *paths)
            finally:
                self.before = self.before or before


def bare_volume(tmp_path, kind=Volume, **arguments):
    """The folders of a volume, without a FORMAT."""
    layout = Layout(tmp_path / "volume")
    Volume.make_root(layout)
    prepare_folders(Volume(layout))
    return kind(layout, **arguments)


def new_volume(tmp_path, kind=Volume, **arguments):
    """A volume as it is right after its creation."""
    volume = bare_volume(tmp_path, kind, **arguments)
    own = new_format(volume)._replace(volume_id="volume-1")  # as harness.coordination has it
    stage_format(volume, own)
    publish_format(volume, own)
    return volume


class Account:
    """What an operation spent and did not get back."""

    def __init__(self, limit_bytes=None):
        self.spent = 0
        self.limit_bytes = limit_bytes
        self.checks = 0
        self.stop_at = None

    def spend(self, size_bytes):
        from caskeeper.errors import CacheTooFull

        if self.limit_bytes is not None and self.spent + size_bytes > self.limit_bytes:
            raise CacheTooFull("the test's limit")
        self.spent += size_bytes

    def spend_at_hand(self, size_bytes):
        if self.limit_bytes is not None and self.spent + size_bytes > self.limit_bytes:
            return False
        self.spent += size_bytes
        return True

    def refund(self, size_bytes):
        self.spent -= size_bytes

    def check(self):
        from caskeeper.errors import Cancelled

        self.checks += 1
        if self.stop_at is not None and self.checks >= self.stop_at:
            raise Cancelled("the test's stop")


def begin(volume, operation_id="op", account=None):
    """A staging folder that has begun; what it spends goes to ``account``."""
    account = account or Account()
    staging = Staging(
        volume,
        operation_id,
        spend=account.spend,
        refund=account.refund,
        check=account.check,
        spend_at_hand=account.spend_at_hand,
    )
    staging.begin()
    return staging


def blobs_of(staging):
    """The BlobAccess of an operation."""
    return StoreBlobs(staging, Objects(staging.volume))


def fence(volume, operation_id="op"):
    """What a cleanup does to an operation whose lease is over; the path of what was its folder."""
    away = volume.layout.trash(f"fence-{operation_id}")
    volume.move_folder(volume.layout.operation(operation_id), away)
    return away


def ended_as_fenced():
    """An operation in it tells nobody that it is done: what it published may be evicted by then."""
    return pytest.raises(LeaseLost, match="taken for dead before it had ended")
