import pytest

from caskeeper.config.document import parse_document
from caskeeper.config.node import read_bool, read_choice, read_mapping, read_text, refuse_unknown_keys
from caskeeper.errors import ConfigInvalid


def value(text):
    return parse_document(f"key: {text}\n", "f").members["key"]


@pytest.mark.parametrize(
    ("text", "expected"), [("word", "word"), ("'  a b '", "a b"), ("1", "1"), ("null", None), ("''", "")]
)
def test_text_is_read_stripped_and_null_is_none(text, expected):
    assert read_text(value(text), "key") == expected


def test_what_is_absent_takes_the_default():
    assert read_text(None, "key") is None
    assert read_mapping(None, "key") is None
    assert read_bool(None, "key", default=True) is True
    assert read_choice(None, "key", ("a", "b"), default="b") == "b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("True", True), ("'true'", True), ("false", False), ("False", False), ("~", None)],
)
def test_booleans_are_four_words(text, expected):
    for default in (True, False):
        found = read_bool(value(text), "key", default=default)
        assert found is (default if expected is None else expected)


@pytest.mark.parametrize("text", ["yes", "no", "on", "1", "0", "TRUE", "maybe", "''", "[true]", "{a: true}"])
def test_nothing_else_is_a_boolean(text):
    with pytest.raises(ConfigInvalid, match=r"`key` has the wrong type.*`true` or `false`") as caught:
        read_bool(value(text), "key", default=True)
    assert caught.value.where == "f [line 1 column 5]"


@pytest.mark.parametrize(("text", "found"), [("[a]", "a list"), ("{a: b}", "a mapping")])
def test_a_collection_is_no_text(text, found):
    with pytest.raises(ConfigInvalid, match=f"`key`.*give text instead of {found}") as caught:
        read_text(value(text), "key")
    assert caught.value.where == "f [line 1 column 5]"


@pytest.mark.parametrize(("text", "found"), [("[a]", "a list"), ("word", "'word'")])
def test_a_section_must_be_a_mapping(text, found):
    with pytest.raises(ConfigInvalid, match=f"give a mapping instead of {found}"):
        read_mapping(value(text), "key")


def test_a_choice_is_one_of_its_words():
    assert read_choice(value("a"), "key", ("a", "b"), default="b") == "a"
    with pytest.raises(ConfigInvalid, match=r"`key` cannot be 'c'.*one of a, b"):
        read_choice(value("c"), "key", ("a", "b"), default="b")


@pytest.mark.parametrize(
    ("key", "way_out"),
    [
        ("qouta", "did you mean `quota`?"),
        ("low_watermark", "did you mean `low-watermark`?"),
        ("zzz", "known here: `low-watermark`, `quota`"),
        ("cache-buildtree", "did you mean `cache-buildtrees`?"),
    ],
)
def test_an_unknown_key_is_refused_at_its_value_with_close_matches(key, way_out):
    mapping = parse_document(f"quota: 1\ncache-buildtrees: x\n{key}: [1]\n", "f")
    with pytest.raises(ConfigInvalid, match=f"unknown key `{key}` in `cache`") as caught:
        refuse_unknown_keys(
            mapping, ("quota", "low-watermark"), section="cache", ignored={"cache-buildtrees"}
        )
    assert caught.value.where == f"f [line 3 column {len(key) + 2}]"
    assert caught.value.way_out == way_out
