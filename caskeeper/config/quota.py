"""The quota: what it says (AC-38), and what it means on a volume (AC-39 to AC-41, interface section 4).

``infinity`` and percentages are resolved anew each time, because the volume changes underneath.
Where this departs from AC-41: ``reserved-disk-space`` limits the quota; the 2 GB minimum and the look
whether the quota fits on the disk apply only when no BuildStream 2 key is given (section 22).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.config.sizes import pretty_size, size_from
from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from caskeeper.config.settings import CacheSettings

#: AC-40: how far below the quota a cleanup begins (2 GB, decimal), unless `headroom` says otherwise.
HEADROOM_BYTES = 2_000_000_000

_PERCENT = re.compile(r"([0-9]{1,30})(?:\.([0-9]{0,30}))?%\Z")


def percentage(text: str) -> tuple[int, int] | None:
    """``12.5%`` as the exact fraction (numerator, denominator) of one; None unless it is 0 % to 100 %."""
    match = _PERCENT.match(text)
    if match is None:
        return None
    part = match.group(2) or ""
    numerator, denominator = int(match.group(1) + part), 100 * 10 ** len(part)
    return (numerator, denominator) if numerator <= denominator else None


@dataclass(frozen=True, slots=True)
class QuotaExpression:
    """A size, a percentage of the volume, or ``infinity``, as it was written and where."""

    text: str
    where: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str, where: str = "") -> QuotaExpression:
        """An expression that can be resolved. Raises ConfigInvalid with examples (AC-41.1)."""
        if text != "infinity" and percentage(text) is None and size_from(text) is None:
            raise ConfigInvalid(
                f"{text[:80]!r} is not a size of a cache",
                where,
                "give bytes or a percentage of the full disk, such as 800M, 10G, 1.5T, 50% or infinity",
            )
        return cls(text, where)

    @property
    def is_infinity(self) -> bool:
        return self.text == "infinity"

    @property
    def is_percentage(self) -> bool:
        return self.text.endswith("%")

    def resolve(self, *, total_bytes: int, available_bytes: int, used_bytes: int) -> int:
        """Bytes on this volume at this moment (AC-38)."""
        if self.is_infinity:
            return used_bytes + available_bytes
        fraction = percentage(self.text)
        if fraction is not None:
            return total_bytes * fraction[0] // fraction[1]
        size_bytes = size_from(self.text)
        assert size_bytes is not None  # parse let it through
        return size_bytes


#: The default: all that the volume has.
INFINITY = QuotaExpression("infinity")


class Limits(NamedTuple):
    """What holds at this moment.

    Nothing is written above ``quota_bytes``; a cleanup begins above ``high_bytes`` and ends at
    ``low_bytes``; ``reserved_disk_bytes`` of the volume stay free.
    """

    quota_bytes: int
    high_bytes: int
    low_bytes: int
    reserved_disk_bytes: int


def limits(cache: CacheSettings, *, total_bytes: int, available_bytes: int, used_bytes: int) -> Limits:
    """The limits on a volume in use. Never raises: a disk that fills up makes them smaller, not invalid.

    ``total_bytes`` and ``available_bytes`` (to unprivileged users) are the volume's, in units of
    f_frsize (AC-39); ``used_bytes`` is the cache's.
    """
    configured = cache.quota.resolve(
        total_bytes=total_bytes, available_bytes=available_bytes, used_bytes=used_bytes
    )
    reserved = cache.reserved_disk_space.resolve(
        total_bytes=total_bytes, available_bytes=available_bytes, used_bytes=used_bytes
    )
    quota = max(0, min(configured, used_bytes + available_bytes - reserved))
    high = max(0, quota - _headroom(cache, quota))
    return Limits(quota, high, int(high * cache.low_watermark), reserved)


def evaluate(
    cache: CacheSettings, *, total_bytes: int, available_bytes: int, used_bytes: int, cachedir: str
) -> Limits:
    """The limits of a cache that is about to be opened (AC-41).

    Raises ConfigInvalid, at the place of the quota, when it is too small or the disk cannot hold it.
    """
    configured = cache.quota.resolve(
        total_bytes=total_bytes, available_bytes=available_bytes, used_bytes=used_bytes
    )
    found = limits(cache, total_bytes=total_bytes, available_bytes=available_bytes, used_bytes=used_bytes)
    least = _least_quota(cache)
    if configured < least:
        raise ConfigInvalid(
            f"the quota {_named(cache.quota, configured)} of {cachedir} is invalid, "
            f"at least {pretty_size(least)} is required",
            cache.quota.where,
            "raise `cache: quota`" if not cache.quota.is_infinity else "free space on that disk",
        )
    if not cache.modern and configured > used_bytes + available_bytes:
        raise ConfigInvalid(
            f"there is not enough space in {cachedir} for the quota {cache.quota.text}: "
            f"{_available(cache.quota, available_bytes, total_bytes)} is available, "
            f"the cache uses {pretty_size(used_bytes)}",
            cache.quota.where,
            "lower `cache: quota` or free space on that disk",
        )
    if found.quota_bytes < least:
        raise ConfigInvalid(
            f"`reserved-disk-space` {cache.reserved_disk_space.text} leaves {pretty_size(found.quota_bytes)} "
            f"for {cachedir}, at least {pretty_size(least)} is required",
            cache.reserved_disk_space.where or cache.quota.where,
            "free space on that disk or lower `cache: reserved-disk-space`",
        )
    return found


def _headroom(cache: CacheSettings, quota_bytes: int) -> int:
    if cache.headroom_bytes is not None:
        return cache.headroom_bytes
    return min(HEADROOM_BYTES, quota_bytes // 10) if cache.modern else HEADROOM_BYTES


def _least_quota(cache: CacheSettings) -> int:
    """The headroom must fit into the quota, unless it follows the quota."""
    if cache.headroom_bytes is not None:
        return cache.headroom_bytes
    return 0 if cache.modern else HEADROOM_BYTES


def _named(quota: QuotaExpression, size_bytes: int) -> str:
    pretty = pretty_size(size_bytes)
    return pretty if pretty == quota.text else f"{quota.text} ({pretty})"


def _available(quota: QuotaExpression, available_bytes: int, total_bytes: int) -> str:
    if quota.is_percentage:
        return f"{100 * available_bytes / total_bytes if total_bytes else 0:.1f}% of total disk space"
    return pretty_size(available_bytes)
