import pytest

from tasks.cli import wording


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0B"),
        (17, "17B"),
        (999, "999B"),
        (1024, "1.0K"),
        (4_718_592, "4.5M"),
        (120 * 1024**3, "120G"),
        (1023 * 1024, "1.0M"),
        (5000 * 1024**4, "5000T"),
    ],
)
def test_sizes_have_three_digits_or_so(size_bytes, text):
    assert wording.size(size_bytes) == text


def test_one_thing_is_singular_and_thousands_are_grouped():
    assert [wording.count(number, "file") for number in (0, 1, 5012)] == ["0 files", "1 file", "5,012 files"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.314, "0.31 s"), (12.4, "12 s"), (200, "3 min"), (9000, "2.5 h")]
)
def test_durations_are_rough(seconds, text):
    assert wording.duration(seconds) == text


def test_an_unknown_moment_is_a_dash():
    assert wording.moment(0) == "-"


def test_a_name_is_one_line_and_cannot_steer_a_terminal():
    assert wording.printable("été/日本 語") == "été/日本 語"
    assert wording.printable("a\nb\x1b[31m\udc80") == "a\\nb\\x1b[31m\\udc80"
