import pytest

from caskeeper.config import parse_size, pretty_size, pretty_sizes
from caskeeper.config.durations import parse_duration
from caskeeper.errors import ConfigInvalid, InvalidRequest


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1", 1),
        ("007", 7),
        ("1K", 1024),
        ("1M", 1024**2),
        ("10G", 10 * 1024**3),
        ("2T", 2 * 1024**4),
        ("5.", 5),
        ("5.K", 5 * 1024),
        ("1.5", 1),
        ("1.9999", 1),
        ("1.5G", 3 * 1024**3 // 2),
        ("0.1K", 102),
        ("0.3T", 3 * 1024**4 // 10),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_sizes_are_powers_of_1024_rounded_down(text, size_bytes):
    assert parse_size(text) == size_bytes


NO_SIZES = [
    "",
    " ",
    "K",
    ".5",
    "1k",
    "1KB",
    "1 K",
    "+1",
    "-1",
    "1e3",
    "1.2.3",
    "1P",
    "\u0661",
    "1\n",
    "50%",
    "infinity",
]


@pytest.mark.parametrize("text", [*NO_SIZES, "9" * 31, "1." + "9" * 5000])
def test_everything_else_is_no_size(text):
    with pytest.raises(ConfigInvalid, match="is not a size") as caught:
        parse_size(text, "f [line 1 column 2]")
    assert caught.value.where == "f [line 1 column 2]"
    assert "1.5G" in caught.value.way_out


def test_an_argument_that_is_no_size_is_an_invalid_request():
    with pytest.raises(InvalidRequest, match="'x' is not a size"):
        parse_size("x", "--to", error=InvalidRequest)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1K"),
        (1024**2 - 1, "1024K"),
        (1600, "2K"),
        (1024**2, "1M"),
        (10 * 1024**3, "10G"),
        (2_000_000_000, "2G"),
        (1024**4, "1T"),
        (2048 * 1024**4, "2048T"),
    ],
)
def test_pretty_sizes_are_whole_numbers_with_a_unit(size_bytes, text):
    assert pretty_size(size_bytes) == text


G = 1024**3


@pytest.mark.parametrize(
    ("sizes", "texts"),
    [
        ((2500 * 1024**2, 2 * G), ("2.4G", "2G")),
        ((2 * G + 40 * 1024**2, 2 * G), ("2.04G", "2G")),
        ((10 * G, 2 * G, 0), ("10G", "2G", "0B")),
        ((2 * G, 2 * G), ("2G", "2G")),
        ((2 * G, 2 * G - 4096), ("2G", "1.999996G")),
        ((2 * G + 1, 2 * G), ("2147483649B", "2147483648B")),
    ],
)
def test_different_sizes_of_one_sentence_look_different(sizes, texts):
    assert pretty_sizes(*sizes) == texts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60.0),
        ("60s", 60.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("10min", 600.0),
        ("6h", 21600.0),
        ("2d", 172800.0),
        ("10 min", 600.0),
        ("0", 0.0),
        ("5.", 5.0),
    ],
)
def test_durations_have_units_or_are_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "10m", "1w", "-1s", "+1", "1h30min", "1S", "inf", "nan", "1e3", "10\n", "9" * 13]
)
def test_everything_else_is_no_duration(text):
    with pytest.raises(ConfigInvalid, match=r"is not a duration.*10min") as caught:
        parse_duration(text, "f [line 1 column 2]")
    assert caught.value.where == "f [line 1 column 2]"
