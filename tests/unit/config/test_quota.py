import pytest
from hypothesis import given
from hypothesis import strategies as st

from caskeeper.config import CacheSettings, Limits, QuotaExpression, evaluate, limits
from caskeeper.config.quota import HEADROOM_BYTES, INFINITY
from caskeeper.errors import ConfigInvalid

GB = 10**9
GIB = 1024**3
WHERE = "f [line 2 column 9]"
NOTHING = QuotaExpression("0")


def cache(quota="infinity", **more):
    more.setdefault("reserved_disk_space", NOTHING)
    return CacheSettings(quota=QuotaExpression.parse(quota, WHERE), **more)


def opened(settings, *, total=1000 * GB, available=100 * GB, used=0):
    return evaluate(
        settings, total_bytes=total, available_bytes=available, used_bytes=used, cachedir="/the/cache"
    )


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("0", 0),
        ("12345", 12345),
        ("10G", 10 * GIB),
        ("1.5G", 3 * GIB // 2),
        ("5.", 5),
        ("50%", 500 * GB),
        ("0%", 0),
        ("100%", 1000 * GB),
        ("100.0%", 1000 * GB),
        ("12.5%", 125 * GB),
        ("5.%", 50 * GB),
        ("0.0000000001%", 1),
        ("infinity", 107 * GB),
    ],
)
def test_a_quota_resolves_on_the_volume(text, resolved):
    expression = QuotaExpression.parse(text)
    assert expression.resolve(total_bytes=1000 * GB, available_bytes=100 * GB, used_bytes=7 * GB) == resolved


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Infinity",
        "INFINITY",
        "inf",
        ".5G",
        "1g",
        "1GB",
        "1 G",
        "-1",
        "+1",
        "101%",
        "100.0001%",
        "%",
        ".5%",
        "5 %",
        "1G%",
        "50%%",
        "ten",
        "1.5.5",
        "1e9",
        "\u0663G",
        "10G\n",
        "9" * 40,
    ],
)
def test_what_is_no_quota_is_refused_with_examples(text):
    with pytest.raises(ConfigInvalid) as caught:
        QuotaExpression.parse(text, WHERE)
    assert repr(text) in caught.value.what
    assert caught.value.where == WHERE
    assert "bytes or a percentage of the full disk" in caught.value.way_out
    assert "800M" in caught.value.way_out
    assert caught.value.exit_code == 17


def test_the_place_of_a_quota_is_no_part_of_its_value():
    assert QuotaExpression.parse("1G", "here") == QuotaExpression.parse("1G", "there")


def test_the_specs_example_of_ten_gigabytes():
    assert opened(cache("10G")) == Limits(10 * GIB, 8_737_418_240, 4_368_709_120, 0)


def test_exactly_the_headroom_passes_and_leaves_nothing():
    assert opened(cache("2000000000")) == Limits(2_000_000_000, 0, 0, 0)


def test_exactly_what_the_disk_can_hold_passes():
    assert opened(cache("10G"), available=9 * GIB, used=GIB).quota_bytes == 10 * GIB


@pytest.mark.parametrize("quota", ["1999999999", "1G", "0", "0.1%"])
def test_less_than_two_gigabytes_is_refused(quota):
    with pytest.raises(ConfigInvalid, match="invalid, at least 2G is required") as caught:
        opened(cache(quota))
    assert caught.value.where == WHERE
    assert quota in caught.value.what


def test_a_quota_that_is_too_small_is_shown_pretty():
    with pytest.raises(ConfigInvalid, match=r"the quota 1073741824 \(1G\) of /the/cache is invalid"):
        opened(cache("1073741824"))


def test_infinity_on_an_almost_full_disk_is_refused():
    with pytest.raises(ConfigInvalid, match=r"infinity .*at least 2G is required.*free space"):
        opened(cache(), available=GB, used=GB - 1)
    assert opened(cache(), available=GB, used=GB).quota_bytes == 2 * GB


def test_more_than_the_disk_can_hold_is_refused_with_the_numbers():
    with pytest.raises(ConfigInvalid) as caught:
        opened(cache("10G"), available=8 * GIB, used=GIB)
    assert caught.value.what == (
        "there is not enough space in /the/cache for the quota 10G: 8G is available, the cache uses 1G"
    )
    assert caught.value.where == WHERE


def test_a_percentage_the_disk_cannot_hold_is_refused_in_percent():
    with pytest.raises(ConfigInvalid, match=r"for the quota 50%: 12.3% of total disk space is available"):
        opened(cache("50%"), available=123_400_000_000)


def test_a_missing_headroom_key_can_be_overridden_to_nothing():
    assert opened(cache("1M", headroom_bytes=0)) == Limits(1024**2, 1024**2, 1024**2 // 2, 0)


@pytest.mark.parametrize("modern", [True, False])
def test_a_given_headroom_must_fit_into_the_quota(modern):
    assert opened(cache("1M", headroom_bytes=1024**2, modern=modern)).high_bytes == 0
    with pytest.raises(ConfigInvalid, match="at least 1M is required"):
        opened(cache("1048575", headroom_bytes=1024**2, modern=modern))


@pytest.mark.parametrize(
    ("quota", "high"),
    [
        ("1000", 900),
        ("1M", 1024**2 - 1024**2 // 10),
        ("30000000000", 28 * GB),
        ("0", 0),
        ("20000000000", 18 * GB),
    ],
)
def test_with_buildstream_2_keys_there_is_no_minimum_and_headroom_is_at_most_a_tenth(quota, high):
    found = opened(cache(quota, modern=True, low_watermark=0.8))
    assert (found.high_bytes, found.low_bytes) == (high, int(high * 0.8))


def test_with_buildstream_2_keys_the_disk_limits_the_quota_instead_of_refusing_it():
    assert opened(cache("500G", modern=True), available=10 * GB, used=5 * GB).quota_bytes == 15 * GB


def test_reserved_disk_space_limits_the_quota():
    reserved = QuotaExpression("5%")
    found = opened(cache(reserved_disk_space=reserved), total=1000 * GB, available=100 * GB, used=20 * GB)
    assert found == Limits(70 * GB, 68 * GB, 34 * GB, 50 * GB)
    small = opened(cache("10G", reserved_disk_space=reserved), available=100 * GB)
    assert small.quota_bytes == 10 * GIB


def test_a_reserve_that_leaves_no_usable_cache_is_refused():
    with pytest.raises(ConfigInvalid, match="`reserved-disk-space` 99G leaves 0B for /the/cache") as caught:
        opened(cache("10G", reserved_disk_space=QuotaExpression("99G", "there")))
    assert caught.value.where == "there"


def test_infinity_follows_the_disk():
    settings = cache()
    before = limits(settings, total_bytes=100 * GB, available_bytes=50 * GB, used_bytes=10 * GB)
    others_wrote = limits(settings, total_bytes=100 * GB, available_bytes=20 * GB, used_bytes=10 * GB)
    assert (before.quota_bytes, others_wrote.quota_bytes) == (60 * GB, 30 * GB)


def test_a_running_cache_meets_no_error_when_the_disk_fills_up():
    settings = CacheSettings(quota=QuotaExpression("10G"))
    found = limits(settings, total_bytes=100 * GB, available_bytes=0, used_bytes=3 * GB)
    assert found == Limits(0, 0, 0, 5 * GB)


def test_the_defaults_are_half_of_all_with_five_percent_reserved():
    found = limits(CacheSettings(), total_bytes=100 * GB, available_bytes=100 * GB, used_bytes=0)
    assert found == Limits(95 * GB, 93 * GB, 93 * GB // 2, 5 * GB)
    assert CacheSettings().quota == INFINITY
    assert HEADROOM_BYTES == 2 * GB


sizes = st.integers(0, 10**15)


@given(
    quota=st.sampled_from(["infinity", "0", "1K", "3G", "50%", "99.9%", "100%", "5T"]),
    reserved=st.sampled_from(["0", "5%", "100%", "2G"]),
    headroom=st.none() | sizes,
    modern=st.booleans(),
    total=sizes,
    available=sizes,
    used=sizes,
)
def test_limits_are_ordered_and_leave_the_reserve_free(
    quota, reserved, headroom, modern, total, available, used
):
    settings = CacheSettings(
        quota=QuotaExpression.parse(quota),
        reserved_disk_space=QuotaExpression.parse(reserved),
        headroom_bytes=headroom,
        modern=modern,
    )
    found = limits(settings, total_bytes=total, available_bytes=available, used_bytes=used)
    assert 0 <= found.low_bytes <= found.high_bytes <= found.quota_bytes
    if found.quota_bytes:
        assert available - (found.quota_bytes - used) >= found.reserved_disk_bytes
