"""Whether this process, on this host, may work on a volume: looked at once at every start.

The protocol needs one owner, times that read back as they were set, a create that never replaces, and a
clock that does not run backwards (safety.md section 2). Each failure says which, and the way out.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import ConfigInvalid, NoSpace, PermissionDenied, VolumeFailed
from worker.store.failures import failure
from worker.store.system_calls import MTIME_S
from worker.store.whole import broken_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.store.format import Format
    from worker.store.volume import Volume

log = logging.getLogger(__name__)

_SECOND_NS = 1_000_000_000
_LOOKS = 3
_MOMENT_S = 0.005


def accept(
    volume: Volume, volume_format: Format, *, clock_margin_s: float = 10.0, looks: bool = False
) -> None:
    """Take over what FORMAT prescribes, and examine user, file system and clock.

    Whoever only ``looks`` tries nothing: reading needs no room. Nor is a full disk a reason not to start,
    for who else would make room? Its file system was tried when the volume was made.

    Raises PermissionDenied for another user, ConfigInvalid for a file system that cannot, VolumeFailed
    for a clock that went back and for a symbolic link where a folder belongs.
    """
    check_owner(volume_format, volume.layout.format)
    # one rounding for all hosts, or their counters would disagree with the recount
    volume.block_bytes = volume_format.block_bytes
    if looks:
        return
    for broken in broken_folders(volume.layout):
        if broken.is_link:  # one that is missing stops what would remove, not who starts
            raise broken.error()
    # Looked at first: another process that starts at the same moment may touch it in between.
    seen_ns = _stat(volume.layout.format).st_atime_ns
    try:
        now_ns = check_file_system(volume)
    except NoSpace as full:
        log.warning("the disk is full, the file system is not tried", extra={"path": volume.layout.root})
        now_ns = _time_on_a_full_disk_ns(volume, full)
    _check_clock(volume, seen_ns, now_ns, clock_margin_s)


def check_owner(volume_format: Format, where: str) -> None:
    """One uid for all: another one can neither refresh nor link what is there."""
    uid = os.geteuid()
    if uid != volume_format.uid:
        raise PermissionDenied(
            f"the volume belongs to uid {volume_format.uid}, this process has uid {uid}",
            where,
            f"run everything that uses this volume as uid {volume_format.uid}",
        )


def check_file_system(volume: Volume) -> int:
    """Try what the protocol needs in a folder of its own; the volume's time in ns. Leaves nothing."""
    with _probe(volume) as (first, second):
        volume.stage(second, b"second")
        if volume.publish(second, first):
            raise ConfigInvalid(
                "this file system replaces a file where it must not",
                os.path.dirname(first),
                "use a local file system",
            )
        return _volume_time_ns(volume, first)


def can_link(volume: Volume) -> bool:
    """Whether a second name can be given to a file here; else everything that would be a link is a copy."""
    with _probe(volume) as (first, second):
        return volume.link(first, second)


@contextmanager
def _probe(volume: Volume) -> Iterator[tuple[str, str]]:
    """A file, and a free name beside it, in a folder of their own that goes with the block."""
    folder = f"{volume.layout.run}/probe.{secrets.token_hex(8)}"
    first, second = f"{folder}/1", f"{folder}/2"
    volume.make_folders(folder)
    try:
        volume.stage(first, b"first")
        yield first, second
    finally:
        volume.unlink(first)
        volume.unlink(second)
        volume.remove_folder(folder)


class Mount(NamedTuple):
    """Where a path lies: the kind of file system, and how it is mounted."""

    kind: str
    options: frozenset[str]

    @property
    def is_network(self) -> bool:
        """Other hosts may change what is there, and this one may not see it at once."""
        return _NETWORK.match(self.kind) is not None

    @property
    def most_links(self) -> int | None:
        """How many names one file may have; None: not known, or more than anybody needs."""
        return _MOST_LINKS.get(self.kind)


_NETWORK = re.compile(r"nfs|cifs|smb|9p|afs|ceph|lustre|gluster|gfs2|ocfs2|beegfs|fuse\.(?!fuse-overlayfs)")
_MOST_LINKS = {"ext2": 32_000, "ext3": 32_000, "ext4": 65_000, "btrfs": 65_535}
_ESCAPED = re.compile(r"\\([0-7]{3})")


def mount_of(path: str, *, table: str = "/proc/self/mountinfo") -> Mount | None:
    """The mount that a path lies on; None where the system does not tell."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    real, found, longest = os.path.realpath(path), None, -1
    for line in lines:
        own, _, kinds = line.partition(" - ")
        fields, (kind, *_rest) = own.split(" "), kinds.split(" ")
        point = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4])
        inside = real == point or real.startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= longest:  # a later one lies over an earlier one
            longest = len(point)
            options = {*fields[5].split(","), *kinds.split(" ")[-1].split(",")}
            found = Mount(kind, frozenset(options))
    return found


def _volume_time_ns(volume: Volume, path: str) -> int:
    for _ in range(_LOOKS):
        volume.touch(path)
        there = _stat(path)
        if there.st_mtime_ns != MTIME_S * _SECOND_NS:
            break
        if there.st_atime_ns % _SECOND_NS:
            return there.st_atime_ns
        time.sleep(_MOMENT_S)  # a whole second may come by chance, not so often in a row
    raise ConfigInvalid(
        "this file system does not keep the times of files exactly",
        volume.layout.root,
        "use one with inodes of 256 bytes or more, and without times of whole seconds",
    )


def _time_on_a_full_disk_ns(volume: Volume, full: NoSpace) -> int:
    """By a file whose age tells nothing. Raises ``full`` where there is none."""
    for place in (volume.layout.coordinator, volume.layout.ballast):
        if os.path.isfile(place) and not os.path.islink(place):
            return _volume_time_ns(volume, place)
    raise full


def _check_clock(volume: Volume, seen_ns: int, now_ns: int, margin_s: float) -> None:
    """FORMAT is touched at every start: its age is the latest time that is known to have been."""
    if now_ns + int(margin_s * _SECOND_NS) < seen_ns:
        raise VolumeFailed(
            f"its clock is {(seen_ns - now_ns) / _SECOND_NS:.0f} s behind what it was at an earlier start",
            volume.layout.root,
            "set the clock of the volume's host",
        )
    volume.touch(volume.layout.format)


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise failure(error, path) from error
