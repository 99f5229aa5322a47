"""`verify --sample`: a share is digits and a percent sign, and nothing that has to be guessed at."""

import pytest

from caskeeper.errors import InvalidRequest
from tasks.cli.verify import _percent


@pytest.mark.parametrize(
    ("text", "percent"), [("4%", 4.0), (" 4 % ", 4.0), ("0.5%", 0.5), ("100", 100.0), ("12.25%", 12.25)]
)
def test_a_share_of_the_objects(text, percent):
    assert _percent(text) == percent


WRONG = [
    "",
    "%",
    "nan",
    "nan%",
    "inf",
    "1e1%",
    "1e3%",
    "0",
    "0.0%",
    "101%",
    "-4%",
    "+4%",
    "1_0%",
    "4%%",
    ".5",
    "0x4",
]


@pytest.mark.parametrize("text", [*WRONG, "\u0664%", "\uff11%", "4\uff05", "4%\x00"])
def test_what_is_no_share_is_refused_with_what_one_is(text):
    with pytest.raises(InvalidRequest, match="is no share") as refused:
        _percent(text)
    assert refused.value.where == "argument --sample"
    assert "N%" in refused.value.way_out
