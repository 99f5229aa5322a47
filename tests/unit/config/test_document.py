import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from caskeeper.config.document import MAX_DEPTH, MAX_FILE_BYTES, parse_document, read_document
from caskeeper.config.node import ListNode, MappingNode, Provenance, ScalarNode
from caskeeper.errors import ConfigInvalid


@pytest.fixture(params=["C", "Python"], autouse=True)
def parser(request, monkeypatch):
    if request.param == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.fail("this PyYAML has no C parser")
    return request.param


def at(text, *path):
    node = parse_document(text, "f")
    for step in path:
        node = node.members[step] if isinstance(node, MappingNode) else node.items[step]
    return node


@pytest.mark.parametrize(
    ("text", "path", "line", "column"),
    [
        ("a: 1\n", (), 1, 0),
        ("a: 1\n", ("a",), 1, 3),
        ("a:    1\n", ("a",), 1, 6),
        ("# first\n\na: b\n", ("a",), 3, 3),
        ("a:\n  b: c\n", ("a",), 2, 2),
        ("a:\n    # why\n\n    b: c\n", ("a",), 4, 4),
        ("a: {b: c}\n", ("a",), 1, 3),
        ("a:\n  {b: c}\n", ("a",), 2, 2),
        ("a: {b: c}\n", ("a", "b"), 1, 7),
        ("a: [x, yy]\n", ("a",), 1, 3),
        ("a: [x, yy]\n", ("a", 1), 1, 7),
        ("a:\n- x\n- yy\n", ("a", 1), 3, 2),
        ("a:\n  - b: 1\n    c: 2\n", ("a", 0), 2, 4),
        ("a:\n  - b: 1\n    c: 2\n", ("a", 0, "c"), 3, 7),
        ("a: 'quoted'\n", ("a",), 1, 3),
        ("é: ü\n", ("é",), 1, 3),
        ("a: &x {b: 1}\nc: *x\n", ("c", "b"), 1, 10),
        ("a: &x\n  b: 1\n", ("a",), 2, 2),
        ("a: |\n  text\n", ("a",), 1, 3),
    ],
)
def test_every_node_knows_its_place(text, path, line, column):
    assert at(text, *path).where == Provenance("f", line, column)


def test_a_place_counts_lines_from_one_and_columns_from_zero():
    assert str(Provenance("/etc/f.yaml", 3, 0)) == "/etc/f.yaml [line 3 column 0]"
    assert str(Provenance("/etc/f.yaml")) == "/etc/f.yaml"


@pytest.mark.parametrize(
    ("text", "value", "is_null"),
    [
        ("a: 1", "1", False),
        ("a: 0x10", "0x10", False),
        ("a: 1.50", "1.50", False),
        ("a: yes", "yes", False),
        ("a: 2019-01-01", "2019-01-01", False),
        ("a: '  spaced  '", "spaced", False),
        ("a: null", "", True),
        ("a: ~", "", True),
        ("a:", "", True),
        ("a: 'null'", "null", False),
        ('a: ""', "", False),
        ("a: !!str null", "null", False),
    ],
)
def test_scalars_are_stripped_text_and_null_is_only_the_plain_word(text, value, is_null):
    node = at(text, "a")
    assert isinstance(node, ScalarNode)
    assert (node.text, node.is_null) == (value, is_null)


def test_lists_and_mappings_keep_their_order():
    node = at("b: [2, 1, 3]\na: {}\n")
    assert list(node.members) == ["b", "a"]
    assert isinstance(node.members["b"], ListNode)
    assert [item.text for item in node.members["b"].items] == ["2", "1", "3"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_no_document_is_none(text):
    assert parse_document(text, "f") is None


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: b: c\n", 1, 4, "mapping values are not allowed"),
        ("a: 1\na: 2\n", 2, 0, "the key `a` stands here a second time"),
        ("a: {b: 1, b: 2}\n", 1, 10, "the key `b` stands here a second time"),
        ("a: 1\n---\nb: 2\n", 2, 0, "second document"),
        ("a: *x\n", 1, 3, "nothing is anchored as `x`"),
        ("a: &x {b: *x}\n", 1, 10, "nothing is anchored as `x`"),
        ("a: !include other\n", 1, 3, "the tag `!include`"),
        ("? [x]\n: y\n", 1, 2, "a key must be text"),
        ("a: 1\n~: 2\n", 2, 0, "a key must be text"),
        ("a: 1\nb: \x07x\n", 2, 3, "control character"),
        ("é: \x07\n", 1, 3, "control character"),
        ("a: " + "[" * 200_000, 1, 3 + MAX_DEPTH - 1, "nested deeper"),
        ("- " * 200_000 + "x", 1, 2 * MAX_DEPTH, "nested deeper"),
        ("a: \udcff\n", 1, 3, "UTF-8|control character"),
    ],
)
def test_malformed_text_is_refused_at_its_place(text, line, column, says):
    with pytest.raises(ConfigInvalid, match=says) as caught:
        parse_document(text, "f")
    assert caught.value.where == f"f [line {line} column {column}]"


def test_a_file_that_is_missing_is_told_from_one_that_is_empty(tmp_path):
    assert read_document(str(tmp_path / "none")) is None
    (tmp_path / "file").write_text("")
    assert read_document(str(tmp_path / "file")).members == {}
    assert read_document(str(tmp_path / "file" / "below")) is None


def test_a_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(str(tmp_path / "f")).members["a"].where.column == 3


@pytest.mark.parametrize(
    ("data", "place", "says"),
    [
        (b"a: \xff\n", " [line 1 column 3]", "not UTF-8"),
        ("é: ü\nb: ".encode() + b"\xc3(", " [line 2 column 3]", "not UTF-8"),
        (b"- a\n", " [line 1 column 0]", "a list"),
        (b"\n  word\n", " [line 2 column 2]", "text"),
        (b"#" * (MAX_FILE_BYTES + 1), "", "larger"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, data, place, says):
    file = tmp_path / "f.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigInvalid, match=says) as caught:
        read_document(str(file))
    assert caught.value.where == f"{file}{place}"


def test_a_folder_instead_of_a_file_is_refused(tmp_path):
    with pytest.raises(ConfigInvalid, match="Is a directory") as caught:
        read_document(str(tmp_path))
    assert caught.value.where == str(tmp_path)


@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{},&*!|>'\"#%~ \n\t?", max_size=60))
def test_any_text_gives_a_node_or_a_place(text):
    try:
        parse_document(text, "f")
    except ConfigInvalid as error:
        assert error.where.startswith("f")  # noqa: PT017 -- success is the other half of the claim
